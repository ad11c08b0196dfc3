import { Logger } from '@nestjs/common';
import { type EntityManager, type EntityTarget, LessThanOrEqual, type SelectQueryBuilder } from 'typeorm';
import type { Database } from '../database/database.js';
import { OwnConnection } from '../database/own-connection.js';
import { BlacklistEntity } from './blacklist.entity.js';
import { PushedRevocations } from './pushed-revocations.js';
import { entryValues, insertEntries } from './revocation-sql.js';
import type { RevocationConfig } from './options.js';
import type { RevokedSession } from './revoked-session.js';

/** The database's clock, as this process knows it. */
interface DatabaseClock {
  now(): number;
  learn(databaseTime: number, sentAt: number, answeredAt: number): void;
}

/** What else is read in the same poll, over the same connection, so that `isFresh` holds for it too. */
export interface PolledBeside {
  readonly entity: EntityTarget<object>;
  poll(manager: EntityManager): Promise<unknown>;
}

type EntryKind = BlacklistEntity['kind'];
type NewEntry = Pick<BlacklistEntity, 'id' | 'sessionId' | 'userId' | 'reason' | 'expiresAt'>;

const POLLS_PER_FULL_LOAD = 60;
const INSERT_CHUNK = 100;
/** What a full load reads at a time, so that neither memory nor the event loop feels a long list. */
const LOAD_CHUNK = 10_000;

/**
 * The sessions ended so recently that an access token of theirs may still be unexpired: stored in a table, held whole in
 * memory, kept in step with the other processes by a poll.
 *
 * Invariant: an entry that was committed is known here at most one poll interval after its commit, or `isFresh()` says no.
 * A poll looks back `overlap` beyond the begin of the last one, by the database's own time on both sides, since commits can
 * be seen out of order; a transaction that writes entries takes less than that, and a full load now and then finds the rest.
 * A push only hastens this: nothing relies on it.
 */
export class Blacklist {
  private readonly logger = new Logger('MultiSession');
  private readonly entries = new Map<string, number>();
  private listener: (revoked: RevokedSession) => void = () => undefined;
  /** The polls have a connection to rely on, whatever the application's pool is doing. */
  private readonly ownConnection: OwnConnection;
  private readonly pushed: PushedRevocations;
  private timer?: NodeJS.Timeout;
  private polling?: Promise<void>;
  private stopped = false;
  private polls = 0;
  private loaded = false;
  /** Whether there has been room for all entries since the last full load. */
  private whole = false;
  private overflows = 0;
  /** The full load that is under way: the last id that it has seen, and how often there had been no room when it began. */
  private fullLoad?: { last: string; overflows: number };
  /** The database's time at the begin of the last poll that succeeded. */
  private seenUntil = 0;
  private freshSince = -Infinity;
  private freshSinceWall = -Infinity;

  constructor(
    private readonly database: Database,
    private readonly config: RevocationConfig,
    private readonly clock: DatabaseClock,
    private readonly besides: readonly PolledBeside[] = [],
  ) {
    const entities = [BlacklistEntity, ...besides.map(({ entity }) => entity)];
    this.ownConnection = new OwnConnection(database, entities, config.maxStaleness);
    this.pushed = new PushedRevocations(database, config, () => clock.now());
  }

  /** How many ended sessions are held in memory. */
  get size(): number {
    return this.entries.size;
  }

  /** How old what is held may be, in milliseconds: since the begin of the last poll that succeeded. Infinity before it. */
  get lag(): number {
    return performance.now() - this.freshSince;
  }

  /** Whether the session has ended. To be relied on while `isFresh()`. */
  has(sessionId: string): boolean {
    return this.entries.has(sessionId);
  }

  /** Whether `has` can be relied on: the last poll is recent enough, and there is room for all entries. */
  isFresh(): boolean {
    return this.whole && this.isUpToDate();
  }

  /**
   * Whether the last poll is recent enough. Both clocks are asked: the monotonic one stands still while a virtual machine is
   * suspended, and the wall clock can be set back.
   */
  isUpToDate(): boolean {
    const { maxStaleness } = this.config;
    return performance.now() - this.freshSince < maxStaleness && Date.now() - this.freshSinceWall < maxStaleness;
  }

  /** Called once for each ended session that this process learns of, by its own doing, by a push or by a poll. */
  onRevoked(listener: (revoked: RevokedSession) => void): void {
    this.listener = listener;
  }

  /** Loads everything, then polls. A database that is away only makes the first requests read their rows. */
  async start(): Promise<void> {
    this.pushed.start((revoked) => this.add(revoked));
    await this.poll().catch((error: unknown) =>
      this.logger.warn(`the blacklist could not be loaded: ${(error as Error).message}`),
    );
    this.schedule();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.pushed.stop();
    await this.polling?.catch(() => undefined);
    await this.ownConnection.close();
  }

  /**
   * Writes entries within the transaction that ends their sessions, as its last statement. `createdAt` is the database's
   * own time, so that the clock of the process that writes is of no account.
   */
  async record(manager: EntityManager, kind: EntryKind, entries: readonly NewEntry[]): Promise<void> {
    for (let at = 0; at < entries.length; at += INSERT_CHUNK) {
      const chunk = entries.slice(at, at + INSERT_CHUNK);
      await this.database.execute(insertEntries(chunk.length), entryValues(kind, chunk), manager);
    }
  }

  /** Whether entries are pushed within the transaction that writes them. */
  get isPushedWithin(): boolean {
    return this.pushed.isWithinTransactions;
  }

  /** Tells other processes of entries that were not written by `record`, at the transaction's commit. */
  async publishWithin(manager: EntityManager, revoked: readonly RevokedSession[]): Promise<void> {
    await this.pushed.publishWithin(manager, revoked);
  }

  /** After the commit: known on this process at once, and told to the others where there is a push. */
  announce(revoked: readonly RevokedSession[]): void {
    for (const entry of revoked) this.add(entry);
    this.pushed.publish(revoked);
  }

  /** Known on this process at once. It can only refuse. */
  add(revoked: RevokedSession): void {
    if (this.entries.has(revoked.sessionId)) return;
    this.hold(revoked);
    this.listener(revoked);
  }

  /** One poll now; a second call while one is under way waits for that one. */
  poll(): Promise<void> {
    this.polling ??= this.pollOnce().finally(() => (this.polling = undefined));
    return this.polling;
  }

  /** Deletes up to `limit` entries that refuse nothing any more. @returns how many */
  async deleteExpired(manager: EntityManager, limit: number): Promise<number> {
    const before = new Date(this.clock.now() - this.config.overlap);
    const rows = await manager.find(BlacklistEntity, {
      select: { id: true },
      where: { expiresAt: LessThanOrEqual(before) },
      order: { expiresAt: 'ASC' },
      take: limit,
    });
    if (rows.length === 0) return 0;
    const { affected } = await manager.delete(BlacklistEntity, rows.map((row) => row.id).sort());
    return affected ?? rows.length;
  }

  private schedule(): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => {
      this.poll()
        .catch((error: unknown) => this.logger.warn(`the blacklist could not be polled: ${(error as Error).message}`))
        .finally(() => this.schedule());
    }, this.config.pollInterval);
    this.timer.unref();
  }

  private async pollOnce(): Promise<void> {
    const [startedAt, startedAtWall] = [performance.now(), Date.now()];
    const full = !this.loaded || (this.polls % POLLS_PER_FULL_LOAD === 0 && !this.fullLoad);
    const since = this.seenUntil - this.config.overlap;
    const read = async (manager: EntityManager) => {
      const databaseTime = await this.readDatabaseTime(manager);
      const entries = this.loaded ? await this.readEntries(manager, since, databaseTime) : [];
      for (const beside of this.besides) await beside.poll(manager);
      return { databaseTime, entries };
    };
    const { databaseTime, entries } = await this.ask(read);
    this.take(entries);
    if (full) await this.beginFullLoad(databaseTime);
    await this.goOnLoading(databaseTime);
    this.polls++;
    this.loaded = true;
    this.seenUntil = databaseTime;
    this.freshSince = startedAt;
    this.freshSinceWall = startedAtWall;
  }

  /** Looks at every entry, unless there are more than there is room for: then the memory is not whole, and not relied on. */
  private async beginFullLoad(now: number): Promise<void> {
    this.forgetExpired(now);
    const count = await this.ask((manager) => this.unexpired(manager, now).getCount());
    if (count > this.config.maxEntries) this.overflow();
    else this.fullLoad = { last: '', overflows: this.overflows };
  }

  /** One page at each poll, so that a long list delays none; all of them while the memory is not relied on. */
  private async goOnLoading(now: number): Promise<void> {
    while (this.fullLoad) {
      const { fullLoad, whole } = this;
      const page = await this.ask((manager) => this.readPage(manager, fullLoad.last, now));
      this.take(page);
      if (this.overflows !== fullLoad.overflows) this.fullLoad = undefined;
      else if (page.length === LOAD_CHUNK) fullLoad.last = page[page.length - 1].sessionId;
      else [this.fullLoad, this.whole] = [undefined, true];
      if (whole) return;
    }
  }

  private hold({ sessionId, expiresAt }: RevokedSession): void {
    if (this.entries.size >= this.config.maxEntries) {
      // Whatever is forgotten, the rest is not to be relied on: so all of it goes, which is quick.
      this.entries.clear();
      this.overflow();
    }
    this.entries.set(sessionId, expiresAt);
  }

  private overflow(): void {
    this.overflows++;
    if (this.whole || !this.loaded) {
      this.logger.warn(
        `more than ${this.config.maxEntries} sessions have just ended (revocation.maxEntries): until there are fewer, each request reads its session's row`,
      );
    }
    this.whole = false;
  }

  private ask<T>(read: (manager: EntityManager) => Promise<T>): Promise<T> {
    return this.withTimeout(() => this.onConnection(read));
  }

  private onConnection<T>(read: (manager: EntityManager) => Promise<T>): Promise<T> {
    // SQLite has one connection: reading on it in turn, or a transaction not yet committed would be seen.
    return this.database.kind === 'sqlite' ? this.database.run(read) : this.ownConnection.run(read);
  }

  private async readDatabaseTime(manager: EntityManager): Promise<number> {
    const sentAt = performance.now();
    const [{ now }] = await manager.query<[{ now: string | number }]>(`SELECT ${this.database.now} AS now`);
    this.clock.learn(Number(now), sentAt, performance.now());
    return Number(now);
  }

  private readEntries(manager: EntityManager, since: number, now: number): Promise<RevokedSession[]> {
    // Without an order, for which the database might walk through another index.
    return this.unexpired(manager, now)
      .andWhere('entry.createdAt >= :since', { since })
      .limit(this.config.maxEntries + 1)
      .getRawMany<RevokedSession>();
  }

  private readPage(manager: EntityManager, last: string, now: number): Promise<RevokedSession[]> {
    return this.unexpired(manager, now)
      .andWhere('entry.id > :last', { last })
      .orderBy('entry.id')
      .limit(LOAD_CHUNK)
      .getRawMany<RevokedSession>();
  }

  private unexpired(manager: EntityManager, now: number): SelectQueryBuilder<BlacklistEntity> {
    return manager
      .createQueryBuilder(BlacklistEntity, 'entry')
      .select('entry.id', 'sessionId')
      .addSelect('entry.userId', 'userId')
      .addSelect('entry.reason', 'reason')
      .addSelect('entry.expiresAt', 'expiresAt')
      .where("entry.kind = 'session' AND entry.expiresAt > :now", { now });
  }

  private take(entries: readonly RevokedSession[]): void {
    for (const entry of entries) {
      const revoked = { ...entry, expiresAt: Number(entry.expiresAt) };
      // What the first load finds was told of by the processes that were there.
      if (this.loaded) this.add(revoked);
      else this.hold(revoked);
    }
  }

  private forgetExpired(now: number): void {
    for (const [sessionId, expiresAt] of this.entries) {
      if (expiresAt < now - this.config.overlap) this.entries.delete(sessionId);
    }
  }

  /** A statement that hangs must not stop the polling: its connection is given up and the next poll makes another. */
  private async withTimeout<T>(work: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      const { maxStaleness } = this.config;
      timer = setTimeout(() => reject(new Error(`no answer in ${maxStaleness} ms`)), maxStaleness);
      timer.unref();
    });
    try {
      return await Promise.race([work(), timeout]);
    } catch (error) {
      void this.ownConnection.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}
