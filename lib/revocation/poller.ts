import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Clock } from '../database/clock.js';
import type { Database } from '../database/database.js';
import type { Epochs } from '../database/epochs.js';
import { before } from '../database/deadline.js';
import { POLL_AGAIN } from '../engine/timing.js';
import { isWrongServer } from '../database/faults.js';
import { remedyOf } from '../database/permanent-faults.js';
import { OwnConnection } from '../database/own-connection.js';
import type { SendSql, Sql } from '../database/sql.js';
import type { ManagedKeys } from '../keys/managed-keys.js';
import type { RevocationConfig } from './options.js';
import { PolledEntries, type PollWindow } from './polled-entries.js';
import { type PolledState, READ_NEW, READ_PAGE, READ_STATE, READ_TIME } from './revocation-sql.js';
import { currentMoment, type RevokedSessions, type StoredRevocation } from './revoked-sessions.js';

/** What one poll has read. */
interface Answer {
  readonly state: PolledState;
  /** Entries that were written at `from` or later; undefined if memory knows them. */
  readonly found?: { readonly from: number; readonly entries: readonly Required<StoredRevocation>[] };
}

/** A row, and when this machine asked for it and had it, on the monotonic clock. */
interface TimedRow<Row> {
  readonly row: Row;
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** Writes endings again that a fail-over of the database has lost. */
export interface EndingsToRestore {
  restore(): Promise<void>;
}

/** A full load begins after this many polls. It finds entries that were committed too late for the overlap. */
const POLLS_PER_FULL_LOAD = 60;
/** The part of `maxStaleness` in which one poll may read pages for the filter. There can be any number of them. */
const LOAD_SHARE = 0.25;
/** Entries that a full load reads per statement: few enough not to strain the memory or block the event loop. */
const PAGE_SIZE = 10_000;
/**
 * Entries are recent if they were written at most this many intervals before the last poll. Most commits become visible within
 * that time. Each poll with news reads the recent entries again, so this also limits how often an entry is read.
 */
const RECENT_INTERVALS = 2;

/**
 * Reads four things from the database at each `pollInterval`: its time, its epoch, newly ended sessions, and signing keys. One poll
 * reads all of them, so `RevokedSessions.isUpToDate()` holds for all of them. The first statement also asks whether the server
 * is the primary. A standby answers, too, but with the state of some time ago.
 *
 * Invariant: after a successful poll, memory holds every entry that was committed before the poll began, unless it says that it
 * does not cover all of them. Commits become visible out of order, so each poll looks back by `overlap` from the start of the last
 * successful one, by the database's clock. A transaction that writes entries gives up well within the overlap. Full loads find
 * entries that are committed later anyway.
 *
 * The first statement only counts the entries in this window. If memory knows equally many (see `PolledEntries`), it knows all of
 * them. Otherwise the poll reads those that are recent, or all of the window if older ones are missing. The rows are read after they
 * were counted, so they include every entry that the count had found.
 */
export class Poller {
  private readonly logger = new Logger('MultiSession');
  /** Separate from the application's pool, which may be exhausted. */
  private readonly connection: OwnConnection;
  private timer?: NodeJS.Timeout;
  private polling?: Promise<void>;
  private stopped = false;
  private polls = 0;
  /** Whether the last poll that got an answer has reached a server that is not the primary. */
  private isWrongServer = false;
  /** The identity of the server that answered the last poll. */
  private polledServer?: string;
  private mayLackEndings = false;
  private readonly polled = new PolledEntries();
  private restoring?: Promise<void>;

  /**
   * @param lost is called when the server may have lost commits
   * @param keys Default: no managed keys are polled
   */
  constructor(
    private readonly database: Database,
    private readonly config: RevocationConfig,
    private readonly clock: Pick<Clock, 'learn'>,
    private readonly revoked: RevokedSessions,
    private readonly epochs: Pick<Epochs, 'isKnown' | 'learn' | 'load'>,
    private readonly lost: EndingsToRestore,
    private readonly keys?: Pick<ManagedKeys, 'poll'>,
  ) {
    this.connection = new OwnConnection(database, config.maxStaleness);
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
    await this.restoring;
    await this.connection.close();
  }

  /** Polls now, or joins the poll that is under way. */
  poll(): Promise<void> {
    this.polling ??= this.pollOnce().finally(() => (this.polling = undefined));
    return this.polling;
  }

  private schedule(): void {
    if (this.stopped) return;
    const { pollInterval } = this.config;
    const pause = this.isWrongServer ? Math.min(pollInterval, POLL_AGAIN) : pollInterval;
    this.timer = setTimeout(() => void this.pollAndLog().finally(() => this.schedule()), pause);
    this.timer.unref();
  }

  private async pollAndLog(): Promise<void> {
    const wasWrongServer = this.isWrongServer;
    try {
      await this.poll();
    } catch (error) {
      // Polls follow one another quickly then.
      if (wasWrongServer && this.isWrongServer) return;
      this.logger.warn(`the poll for ended sessions failed and will be retried: ${(error as Error).message}`);
    }
  }

  private async pollOnce(): Promise<void> {
    const startedAt = currentMoment();
    const window = this.nextWindow();
    const { state, found } = await this.ask((send, manager) => this.readAll(send, manager, window));
    const { now: databaseTime, identity: server } = state;
    this.isWrongServer = false;
    this.database.resume();
    // The first process on a database creates the epoch.
    if (!this.epochs.isKnown) await this.epochs.load();
    if (found) {
      this.revoked.addPolled(found.entries);
      this.polled.replace(found.from, found.entries);
    }
    // The statement reads one entry more than there may be, so that a poll notices what it leaves out.
    if (found && found.entries.length > this.config.maxEntries) this.revoked.markGap();
    if (!this.revoked.isCovering) this.polled.clear();
    if (this.isFullLoadDue) await this.beginFullLoad(databaseTime);
    await this.continueFullLoad(databaseTime, startedAt.monotonic + this.config.maxStaleness * LOAD_SHARE);
    this.polls++;
    this.revoked.markPolled(startedAt, databaseTime);
    this.compare(server);
  }

  /** If this is another server than before, or if it has restarted, it may lack endings that memory holds. */
  private compare(server: string): void {
    this.mayLackEndings ||= this.polledServer !== undefined && this.polledServer !== server;
    this.polledServer = server;
    if (!this.mayLackEndings || this.restoring) return;
    const restored = () => {
      if (this.polledServer === server) this.mayLackEndings = false;
    };
    const failed = (error: Error) =>
      this.logger.warn(`endings that the database may have lost could not be written again yet: ${error.message}`);
    this.restoring = this.lost
      .restore()
      .then(restored, failed)
      .finally(() => (this.restoring = undefined));
  }

  /** The first poll is a full load, so its window is empty. */
  private nextWindow(): PollWindow {
    const { polledUntil, isLoaded } = this.revoked;
    if (!isLoaded) return { since: Number.MAX_SAFE_INTEGER, recent: Number.MAX_SAFE_INTEGER };
    const since = polledUntil - this.config.overlap;
    return { since, recent: Math.max(since, polledUntil - RECENT_INTERVALS * this.config.pollInterval) };
  }

  /** Reads everything that a poll needs, one statement after the other on one connection. */
  private async readAll(send: SendSql, manager: EntityManager, window: PollWindow): Promise<Answer> {
    const state = await this.epochs.learn(() => this.readState(send, manager, window));
    // Another server, or one that has restarted, may have lost commits.
    if (state.identity !== this.polledServer) this.polled.clear();
    const from = this.polled.unknownSince(window, state);
    const values = { now: state.now, limit: this.config.maxEntries + 1 };
    const found = from === undefined ? undefined : { from, entries: await send(READ_NEW, { from, ...values }) };
    // Read the epoch first: a key is used only if it was made under the current one.
    await this.keys?.poll(manager);
    return { state, ...(found && { found }) };
  }

  private async readState(send: SendSql, manager: EntityManager, window: PollWindow): Promise<PolledState> {
    try {
      let answer = await timed(send, READ_STATE, window);
      if (await this.database.server.mustReadAgain(manager, answer.row)) answer = await timed(send, READ_STATE, window);
      this.learnTime(answer);
      return answer.row;
    } catch (error) {
      // A table or a right is missing. To find that too, a request needs the time.
      if (remedyOf(error, this.database.kind) !== undefined) this.learnTime(await timed(send, READ_TIME, {}));
      throw error;
    }
  }

  private learnTime({ row, sentAt, answeredAt }: TimedRow<Pick<PolledState, 'now'>>): void {
    this.clock.learn(row.now, sentAt, answeredAt);
  }

  private get isFullLoadDue(): boolean {
    if (!this.revoked.isLoaded) return true;
    return this.polls % POLLS_PER_FULL_LOAD === 0 && this.revoked.fullLoadPosition === undefined;
  }

  private async beginFullLoad(now: number): Promise<void> {
    this.revoked.removeExpired(now - this.config.overlap);
    const [{ newer: count }] = await this.ask((send) => send(READ_STATE, { since: 0, recent: 0 }));
    this.revoked.beginFullLoad(count, true);
  }

  /**
   * Reads the next page of a full load. One page per poll is enough while memory covers all entries, and a long list then does not
   * delay the polls. Otherwise it reads all pages, because until then each request has to read its row.
   * @param until when to go on at the next poll if there may be more entries than `maxEntries`, on the monotonic clock
   */
  private async continueFullLoad(now: number, until: number): Promise<void> {
    const readsOnePage = this.revoked.isCovering;
    for (;;) {
      const position = this.revoked.fullLoadPosition;
      if (position === undefined) return;
      const page = await this.ask((send) => send(READ_PAGE, { after: position, now, limit: PAGE_SIZE }));
      this.revoked.addPage(page, page.length < PAGE_SIZE ? undefined : page[page.length - 1].sessionId);
      if (readsOnePage || (this.revoked.isFilterLoad && performance.now() >= until)) return;
    }
  }

  /**
   * Reads with a time limit of `maxStaleness`. A statement that hangs must not stop the polls: after a failure the connection is
   * closed, and the next poll opens another.
   */
  private async ask<T>(read: (send: SendSql, manager: EntityManager) => Promise<T>): Promise<T> {
    const { database, connection, config } = this;
    const readOn = (manager: EntityManager) =>
      read((sql, values) => database.queryWithin(config.maxStaleness, sql, values, manager), manager);
    // SQLite has one connection for everything. `run` waits for its turn: otherwise a poll would see uncommitted entries.
    const run = () => (database.kind === 'sqlite' ? database : connection).run(readOn);
    try {
      return await before(performance.now() + config.maxStaleness, run);
    } catch (error) {
      void this.connection.close();
      this.polled.clear();
      if (isWrongServer(error)) this.distrustServer((error as Error).message);
      throw error;
    }
  }

  /** Neither memory nor rows can be relied on from now on, until a poll succeeds. */
  private distrustServer(reason: string): void {
    this.isWrongServer = true;
    this.revoked.distrust();
    this.database.suspend(reason);
  }
}

/** Sends a statement that returns one row. */
async function timed<V extends Readonly<Record<keyof V, number | string>>, Row extends object>(
  send: SendSql,
  sql: Sql<V, Row>,
  values: V,
): Promise<TimedRow<Row>> {
  const sentAt = performance.now();
  const [row] = await send(sql, values);
  return { row, sentAt, answeredAt: performance.now() };
}
