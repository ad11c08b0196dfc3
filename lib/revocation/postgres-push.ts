import { createHash } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import { OwnConnection } from '../database/own-connection.js';
import { MultiSessionConfigurationError } from '../errors.js';

/** The part of the driver's client that is used here. */
interface Client extends EventEmitter {
  query(query: { text: string; query_timeout: number }): Promise<unknown>;
}

const ANSWER_TIMEOUT = 10_000;
const HEARTBEAT = 10_000;
const [SHORTEST_PAUSE, LONGEST_PAUSE] = [100, 10_000];

/**
 * NOTIFY within the transaction that writes, LISTEN on a connection of its own, which is opened again whenever it is lost.
 * A proxy that pools by transaction carries the one and not the other.
 */
export class PostgresPush {
  private readonly logger = new Logger('MultiSession');
  private readonly connection: OwnConnection;
  private readonly stopping = new AbortController();
  private listening?: Promise<void>;
  private warned = false;

  /** @throws MultiSessionConfigurationError where the database is another */
  constructor(private readonly database: Database) {
    if (database.dataSource.options.type !== 'postgres') {
      throw new MultiSessionConfigurationError([
        "revocation.push: is 'postgres', and the database is not PostgreSQL; leave it out, or give another push",
      ]);
    }
    this.connection = new OwnConnection(database, [], ANSWER_TIMEOUT);
  }

  start(receive: (message: string) => void): void {
    this.listening = this.keepListening(receive);
  }

  async publish(manager: EntityManager, message: string): Promise<void> {
    await manager.query('SELECT pg_notify($1, $2)', [this.channel, message]);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.listening;
  }

  private async keepListening(receive: (message: string) => void): Promise<void> {
    const { signal } = this.stopping;
    let pause = SHORTEST_PAUSE;
    while (!signal.aborted) {
      const startedAt = performance.now();
      await this.listenUntilLost(receive).catch((error: unknown) => this.warnOnce(error));
      await this.connection.close();
      pause = performance.now() - startedAt > LONGEST_PAUSE ? SHORTEST_PAUSE : Math.min(pause * 2, LONGEST_PAUSE);
      // Not all processes at once, when the database comes back.
      await passed(pause * (0.5 + Math.random()), signal);
    }
  }

  private async listenUntilLost(receive: (message: string) => void): Promise<void> {
    const client = (await this.connection.hold()) as Client;
    const lost = new AbortController();
    client.on('error', (error) => this.warnOnce(error));
    client.on('end', () => lost.abort());
    client.on('notification', ({ payload }: { payload?: string }) => receive(payload ?? ''));
    await this.ask(client, `LISTEN ${this.channel}`);
    this.warned = false;
    const over = AbortSignal.any([lost.signal, this.stopping.signal]);
    // A connection that a firewall has dropped in silence would wait for ever.
    while (await passed(HEARTBEAT, over)) await this.ask(client, 'SELECT 1');
    if (lost.signal.aborted) throw new Error('the connection was lost');
  }

  private ask(client: Client, text: string): Promise<unknown> {
    return client.query({ text, query_timeout: ANSWER_TIMEOUT });
  }

  private warnOnce(error: unknown): void {
    if (this.warned || this.stopping.signal.aborted) return;
    this.warned = true;
    this.logger.warn(`ended sessions are told by the polls alone: LISTEN failed: ${(error as Error).message}`);
  }

  /** Another for each application in the database: a channel is the database's own, so what differs is where the tables are. */
  private get channel(): string {
    const { dataSource } = this.database;
    const { schema, searchSchema } = dataSource.driver as { schema?: string; searchSchema?: string };
    const tables = JSON.stringify([schema ?? searchSchema, dataSource.options.entityPrefix ?? '']);
    return `ms_${createHash('sha256').update(tables).digest('hex').slice(0, 32)}`;
  }
}

/** Waits, and keeps no process alive for it. @returns false where the signal came before */
async function passed(span: number, signal: AbortSignal): Promise<boolean> {
  return sleep(span, true, { signal, ref: false }).catch(() => false);
}
