import type { Server, ServerResponse } from 'node:http';
import { Server as TcpServer, type Socket } from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

/** Milliseconds without a new connection after which the server stops listening. */
const QUIET = 250;
/** Milliseconds after which the server stops listening, even if connections keep arriving. */
const ARRIVALS_LIMIT = 2000;
/** Whether the connections are those of a proxy, which keeps them for the requests of many clients. */
const BEHIND_PROXY = Number(process.env.TRUST_PROXY ?? 0) > 0;
/**
 * Milliseconds for which idle connections stay open, because a request may be on its way. A proxy must close them earlier: see
 * `keepalive_timeout` in nginx.conf.
 */
const IDLE = BEHIND_PROXY ? 3000 : 250;
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
  /** The numbers of connections and requests so far. */
  private readonly arrivals = { connections: 0, requests: 0 };
  private draining = false;

  constructor(private readonly adapterHost: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    this.server.on('connection', (connection) => {
      this.arrivals.connections++;
      this.connections.add(connection);
      connection.once('close', () => this.connections.delete(connection));
    });
    this.server.prependListener('request', (_, response) => {
      this.arrivals.requests++;
      if (this.draining) response.setHeader('Connection', 'close');
      this.unanswered.add(response);
      response.once('close', () => this.unanswered.delete(response));
    });
  }

  async onModuleDestroy(): Promise<void> {
    const begun = performance.now();
    // The system resets connections that Node has not accepted. So answers do not close the connections of a proxy yet: while it has
    // enough of them, it opens no new ones. Without a proxy, clients are to use another process at once.
    if (!BEHIND_PROXY) this.closeWithAnswers();
    let before: number;
    do {
      before = this.arrivals.connections;
      await sleep(QUIET);
      await this.nothingArrives('connections', begun + ARRIVALS_LIMIT);
    } while (this.arrivals.connections > before && performance.now() < begun + ARRIVALS_LIMIT);
    // The method of the HTTP server would also close idle connections.
    TcpServer.prototype.close.call(this.server);
    this.closeWithAnswers();
    const idleUntil = performance.now() + IDLE;
    while (this.isInUse(idleUntil) && performance.now() < begun + LIMIT) {
      await sleep(10);
      await this.nothingArrives('requests', begun + LIMIT);
    }
    for (const connection of this.connections) connection.end(() => connection.destroy());
  }

  private closeWithAnswers(): void {
    this.draining = true;
    for (const response of this.unanswered) if (!response.headersSent) response.setHeader('Connection', 'close');
  }

  /** Whether a request is unanswered, or may still be on its way. */
  private isInUse(idleUntil: number): boolean {
    return this.unanswered.size > 0 || (this.connections.size > 0 && performance.now() < idleUntil);
  }

  /**
   * Resolves after a turn of the event loop in which nothing arrived. A fixed wait is not enough: Node accepts one connection
   * per turn and reads from it in a later one, so requests may have been queued for any time.
   */
  private async nothingArrives(kind: 'connections' | 'requests', giveUp: number): Promise<void> {
    let before: number;
    do {
      before = this.arrivals[kind];
      await turn();
    } while (this.arrivals[kind] > before && performance.now() < giveUp);
  }

  private get server(): Server {
    return this.adapterHost.httpAdapter.getHttpServer() as Server;
  }
}
