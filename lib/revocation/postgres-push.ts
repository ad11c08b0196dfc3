import { createHash } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import { OwnConnection } from '../database/own-connection.js';
import { MultiSessionConfigurationError } from '../errors.js';

/** The methods of a `pg` client that we use. */
interface Client extends EventEmitter {
  query(query: { text: string; query_timeout: number }): Promise<unknown>;
}

/** All in milliseconds. */
const ANSWER_TIMEOUT = 10_000;
const HEARTBEAT_INTERVAL = 10_000;
const MIN_PAUSE = 100;
const MAX_PAUSE = 10_000;

/**
 * The push `'postgres'`. It sends NOTIFY in the transaction that writes the entries, and listens on a connection of its own, which
 * it reopens whenever it is lost. A proxy that pools by transaction supports NOTIFY, but not LISTEN.
 */
export class PostgresPush {
  private readonly logger = new Logger('MultiSession');
  private readonly connection: OwnConnection;
  private readonly stopping = new AbortController();
  private listening?: Promise<void>;
  private hasWarned = false;

  /** @throws MultiSessionConfigurationError if the database is not PostgreSQL */
  constructor(private readonly database: Database) {
    const { type } = database.dataSource.options;
    if (type !== 'postgres') {
      throw new MultiSessionConfigurationError([
        `revocation.push: 'postgres' needs PostgreSQL, but the database is ${type}; leave the option out, or use another push such as redisPush`,
      ]);
    }
    this.connection = new OwnConnection(database, ANSWER_TIMEOUT);
  }

  /** Listens until `stop`, and connects in the background. */
  start(receive: (message: string) => void): void {
    this.listening = this.keepListening(receive);
  }

  /** Sends a message when this transaction commits. */
  async publish(transaction: EntityManager, message: string): Promise<void> {
    await transaction.query('SELECT pg_notify($1, $2)', [this.channel, message]);
  }

  /** Sends a message in a transaction of its own. */
  async publishAlone(message: string): Promise<void> {
    await this.database.run((manager) => this.publish(manager, message));
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.listening;
  }

  private async keepListening(receive: (message: string) => void): Promise<void> {
    const { signal } = this.stopping;
    let pause = MIN_PAUSE;
    while (!signal.aborted) {
      const startedAt = performance.now();
      await this.listenUntilLost(receive).catch((error: unknown) => this.warnOnce(error));
      await this.connection.close();
      const lasted = performance.now() - startedAt;
      pause = lasted > MAX_PAUSE ? MIN_PAUSE : Math.min(pause * 2, MAX_PAUSE);
      // The pause is random, so that the processes do not all reconnect at once when the database is back.
      await waitUnlessAborted(pause * (0.5 + Math.random()), signal);
    }
  }

  private async listenUntilLost(receive: (message: string) => void): Promise<void> {
    const client = (await this.connection.hold()) as Client;
    const lost = new AbortController();
    client.on('error', (error) => this.warnOnce(error));
    client.on('end', () => lost.abort());
    client.on('notification', ({ payload }: { payload?: string }) => receive(payload ?? ''));
    await this.ask(client, `LISTEN ${this.channel}`);
    this.hasWarned = false;
    const over = AbortSignal.any([lost.signal, this.stopping.signal]);
    // A firewall may silently drop an idle connection. We only notice when a query gets no answer.
    while (await waitUnlessAborted(HEARTBEAT_INTERVAL, over)) await this.ask(client, 'SELECT 1');
    if (lost.signal.aborted) throw new Error('the connection was lost');
  }

  private ask(client: Client, text: string): Promise<unknown> {
    return client.query({ text, query_timeout: ANSWER_TIMEOUT });
  }

  private warnOnce(error: unknown): void {
    if (this.hasWarned || this.stopping.signal.aborted) return;
    this.hasWarned = true;
    const { message } = error as Error;
    this.logger.warn(
      `LISTEN failed and will be retried; until it succeeds, this process learns of ended sessions by polling: ${message}`,
    );
  }

  /**
   * The channel's name, derived from the schema and the table prefix. All applications in a database share its channels, and
   * those with separate tables must not receive each other's messages.
   */
  private get channel(): string {
    const { dataSource } = this.database;
    const { schema, searchSchema } = dataSource.driver as { schema?: string; searchSchema?: string };
    const tables = JSON.stringify([schema ?? searchSchema, dataSource.options.entityPrefix ?? '']);
    return `ms_${createHash('sha256').update(tables).digest('hex').slice(0, 32)}`;
  }
}

/**
 * Waits without keeping the process alive.
 * @param duration in milliseconds
 * @returns false if the signal was aborted first
 */
async function waitUnlessAborted(duration: number, signal: AbortSignal): Promise<boolean> {
  return sleep(duration, true, { signal, ref: false }).catch(() => false);
}
