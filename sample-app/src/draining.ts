import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

/** Milliseconds to wait for requests that were sent before the signal. */
const GRACE = 250;
/** Milliseconds after which the server stops accepting connections, even if requests keep arriving. */
const ARRIVALS_LIMIT = 2000;
/** Milliseconds after which the process exits, even if a client is slow. Docker kills after ten seconds. */
const LIMIT = 8000;

/**
 * Answers every request before the application closes. Without it, Node would close a keep-alive connection on which a request is
 * arriving, and would wait for idle connections.
 *
 * It runs in `onModuleDestroy`, before all other shutdown hooks, because the answers still need the rest of the application.
 */
@Injectable()
export class Draining implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly connections = new Set<Socket>();
  private readonly unanswered = new Set<ServerResponse>();
  /** The number of connections and requests so far. */
  private arrivals = 0;
  private draining = false;

  constructor(private readonly adapterHost: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    this.server.on('connection', (connection) => {
      this.arrivals++;
      this.connections.add(connection);
      connection.once('close', () => this.connections.delete(connection));
    });
    this.server.prependListener('request', (_, response) => {
      this.arrivals++;
      if (this.draining) response.setHeader('Connection', 'close');
      this.unanswered.add(response);
      response.once('close', () => this.unanswered.delete(response));
    });
  }

  async onModuleDestroy(): Promise<void> {
    const begun = performance.now();
    this.draining = true;
    for (const response of this.unanswered) if (!response.headersSent) response.setHeader('Connection', 'close');
    await sleep(GRACE);
    await this.nothingArrives(begun + ARRIVALS_LIMIT);
    this.server.close();
    while (this.unanswered.size > 0 && performance.now() < begun + LIMIT) {
      await sleep(10);
      await this.nothingArrives(begun + LIMIT);
    }
    for (const connection of this.connections) connection.end(() => connection.destroy());
  }

  /**
   * Resolves after a turn of the event loop in which nothing arrived. A fixed wait is not enough: Node accepts one connection
   * per turn and reads from it in a later one, so requests may have been queued for any time.
   */
  private async nothingArrives(giveUp: number): Promise<void> {
    let before: number;
    do {
      before = this.arrivals;
      await turn();
    } while (this.arrivals > before && performance.now() < giveUp);
  }

  private get server(): Server {
    return this.adapterHost.httpAdapter.getHttpServer() as Server;
  }
}
