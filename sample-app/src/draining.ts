import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

/** For requests that are on their way while the signal comes, in milliseconds. */
const GRACE = 250;
/** No client may hold up the exit for longer, in milliseconds. */
const LIMIT = 10_000;

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
  private draining = false;

  constructor(private readonly adapterHost: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    this.server.on('connection', (connection) => {
      this.connections.add(connection);
      connection.once('close', () => this.connections.delete(connection));
    });
    this.server.prependListener('request', (_, response) => {
      if (this.draining) response.setHeader('Connection', 'close');
      this.unanswered.add(response);
      response.once('close', () => this.unanswered.delete(response));
    });
  }

  async onModuleDestroy(): Promise<void> {
    this.draining = true;
    for (const response of this.unanswered) if (!response.headersSent) response.setHeader('Connection', 'close');
    await sleep(GRACE);
    await arrived();
    this.server.close();
    const giveUp = performance.now() + LIMIT;
    do {
      await sleep(10);
      await arrived();
    } while (this.unanswered.size > 0 && performance.now() < giveUp);
    for (const connection of this.connections) connection.end(() => connection.destroy());
  }

  private get server(): Server {
    return this.adapterHost.httpAdapter.getHttpServer() as Server;
  }
}

/**
 * Settles when what has arrived at this process by now has been read. A process that was not running for a while wakes with
 * its timers, and reads its sockets only after them: first new connections, then, a turn later, what was sent on these.
 */
async function arrived(): Promise<void> {
  for (let turns = 0; turns < 3; turns++) await turn();
}
