import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Clock } from '../database/clock.js';
import type { Database } from '../database/database.js';
import { before } from '../database/deadline.js';
import { OwnConnection } from '../database/own-connection.js';
import type { ManagedKeys } from '../keys/managed-keys.js';
import { SigningKeyEntity } from '../keys/signing-key.entity.js';
import { BlacklistEntity } from './blacklist.entity.js';
import type { RevocationConfig } from './options.js';
import type { RevocationTable } from './revocation-table.js';
import type { RevokedSession } from './revoked-session.js';
import { currentMoment, type RevokedSessions } from './revoked-sessions.js';

/** The time and the entries that one poll has read. */
interface Answer {
  /** The database's time when the poll began, in milliseconds since 1970. */
  readonly databaseTime: number;
  readonly entries: readonly RevokedSession[];
}

/** A full load begins after this many polls. It finds entries that were committed too late for the overlap. */
const POLLS_PER_FULL_LOAD = 60;
/** Entries that a full load reads per statement: few enough not to strain the memory or block the event loop. */
const PAGE_SIZE = 10_000;

/**
 * Reads three things from the database at each `pollInterval`: its time, newly ended sessions, and signing keys. One poll reads
 * all three, so `RevokedSessions.isUpToDate()` holds for all three.
 *
 * Invariant: after a successful poll, memory holds every entry that was committed before the poll began. Commits become visible
 * out of order, so each poll looks back by `overlap` from the start of the last successful one, by the database's clock. A
 * transaction that writes entries gives up well within the overlap. Full loads find entries that are committed later anyway.
 */
export class Poller {
  private readonly logger = new Logger('MultiSession');
  /** Separate from the application's pool, which may be exhausted. */
  private readonly connection: OwnConnection;
  private timer?: NodeJS.Timeout;
  private polling?: Promise<void>;
  private stopped = false;
  private polls = 0;
  /** The database's time at the start of the last successful poll. */
  private readUntil = 0;

  /** @param keys Default: no managed keys are polled. */
  constructor(
    private readonly database: Database,
    private readonly config: RevocationConfig,
    private readonly clock: Pick<Clock, 'learn'>,
    private readonly table: RevocationTable,
    private readonly revoked: RevokedSessions,
    private readonly keys?: Pick<ManagedKeys, 'poll'>,
  ) {
    this.connection = new OwnConnection(database, [BlacklistEntity, SigningKeyEntity], config.maxStaleness);
  }

  /** Polls once, then at each interval. If the database is unavailable, requests read their rows until a poll succeeds. */
  async start(): Promise<void> {
    await this.pollAndLog();
    this.schedule();
  }

  /** Stops polling. Waits for a poll that is under way, then closes the connection. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.polling?.catch(() => undefined);
    await this.connection.close();
  }

  /** Polls now, or joins the poll that is under way. */
  poll(): Promise<void> {
    this.polling ??= this.pollOnce().finally(() => (this.polling = undefined));
    return this.polling;
  }

  private schedule(): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => void this.pollAndLog().finally(() => this.schedule()), this.config.pollInterval);
    this.timer.unref();
  }

  private async pollAndLog(): Promise<void> {
    try {
      await this.poll();
    } catch (error) {
      this.logger.warn(`the poll for ended sessions failed and will be retried: ${(error as Error).message}`);
    }
  }

  private async pollOnce(): Promise<void> {
    const startedAt = currentMoment();
    const { databaseTime, entries } = await this.ask((manager) => this.readAll(manager));
    this.revoked.addPolled(entries);
    if (this.isFullLoadDue) await this.beginFullLoad(databaseTime);
    await this.continueFullLoad(databaseTime);
    this.polls++;
    this.readUntil = databaseTime;
    this.revoked.markPolled(startedAt);
  }

  /** Reads everything that a poll needs, one statement after the other on one connection. */
  private async readAll(manager: EntityManager): Promise<Answer> {
    const databaseTime = await this.readTime(manager);
    const entries = await this.readNewEntries(manager, databaseTime);
    await this.keys?.poll(manager);
    return { databaseTime, entries };
  }

  private async readTime(manager: EntityManager): Promise<number> {
    const sentAt = performance.now();
    const [{ now }] = await manager.query<[{ now: string | number }]>(`SELECT ${this.database.now} AS now`);
    this.clock.learn(Number(now), sentAt, performance.now());
    return Number(now);
  }

  private async readNewEntries(manager: EntityManager, now: number): Promise<RevokedSession[]> {
    // The first poll is a full load.
    if (!this.revoked.isLoaded) return [];
    const { overlap, maxEntries } = this.config;
    return this.table.readNew(manager, this.readUntil - overlap, now, maxEntries + 1);
  }

  private get isFullLoadDue(): boolean {
    if (!this.revoked.isLoaded) return true;
    return this.polls % POLLS_PER_FULL_LOAD === 0 && this.revoked.fullLoadPosition === undefined;
  }

  private async beginFullLoad(now: number): Promise<void> {
    this.revoked.removeExpired(now - this.config.overlap);
    this.revoked.beginFullLoad(await this.ask((manager) => this.table.count(manager, now)));
  }

  /**
   * Reads the next page of a full load. One page per poll is enough while memory is complete, and a long list then does not delay
   * the polls. If memory is incomplete, it reads all pages, because until then each request has to read its row.
   */
  private async continueFullLoad(now: number): Promise<void> {
    const readsOnePage = this.revoked.isComplete;
    for (;;) {
      const position = this.revoked.fullLoadPosition;
      if (position === undefined) return;
      const page = await this.ask((manager) => this.table.readPage(manager, position, now, PAGE_SIZE));
      this.revoked.addPage(page, page.length < PAGE_SIZE);
      if (readsOnePage) return;
    }
  }

  /**
   * Reads with a time limit of `maxStaleness`. A statement that hangs must not stop the polls: after a failure the connection is
   * closed, and the next poll opens another.
   */
  private async ask<T>(read: (manager: EntityManager) => Promise<T>): Promise<T> {
    try {
      return await before(performance.now() + this.config.maxStaleness, () => this.read(read));
    } catch (error) {
      void this.connection.close();
      throw error;
    }
  }

  private read<T>(read: (manager: EntityManager) => Promise<T>): Promise<T> {
    // SQLite has one connection for everything. `run` waits for its turn: otherwise a poll would see uncommitted entries.
    return this.database.kind === 'sqlite' ? this.database.run(read) : this.connection.run(read);
  }
}
