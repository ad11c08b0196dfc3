import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

/** For requests that are on their way while the signal comes, in milliseconds. */
const GRACE = 250;
/** For how long new requests may go on arriving before the door is shut on them, in milliseconds. */
const ARRIVALS_LIMIT = 2000;
/** No client may hold up the exit for longer, in milliseconds. Docker kills after ten seconds. */
const LIMIT = 8000;

/**
 * Has every request answered before the application closes. Node alone would close kept-alive connections under requests
 * that are just arriving, and would wait for those on which none ever comes.
 *
 * It acts in `onModuleDestroy`, before all other hooks of the shutdown, so that everything is still there for the answers.
 */
@Injectable()
export class Draining implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly connections = new Set<Socket>();
  private readonly unanswered = new Set<ServerResponse>();
  /** How many connections and requests there have been. */
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
   * Settles after a turn of the event loop that brought nothing. Node takes one new connection in a turn, and what is sent on
   * it in a later one, so that requests may have been waiting for longer than any time that could be set here.
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
