import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database, Read } from '../../database/database.js';
import { before } from '../../database/deadline.js';
import { Job, type JobTurn } from '../../database/job.js';
import type { EndReason, SessionEvents } from '../../session/events.js';
import { COUNT_TYPES, SCAN_PAGE } from '../../session/scan-sql.js';
import { SessionDailyCountEntity } from './session-daily-count.entity.js';

/** The logins and endings of one day. */
export interface DayStatistics {
  /** In UTC, such as `2026-11-24`. */
  readonly day: string;
  /** Started sessions, by type. */
  readonly logins: Readonly<Record<string, number>>;
  /** Ended sessions, by reason. */
  readonly endings: Readonly<Partial<Record<EndReason, number>>>;
}

/** The answer of `DailyCounts.statistics`. */
export interface SessionStatistics {
  /** Active sessions, by type. An expired session counts until the cleanup deletes it. */
  readonly active: Readonly<Record<string, number>>;
  /** The days on which sessions started or ended, the latest first. */
  readonly days: readonly DayStatistics[];
}

/** What the job's row remembers. Null if no process has counted, or only one of a version that remembers nothing. */
interface CorrectionState {
  /** How often the counts were corrected. A correction is written only if no other one has been since it was computed. */
  readonly corrections: number;
  /** Whether the sessions that existed before counting was turned on are still to be counted. */
  readonly isDue: boolean;
}

type Count = Pick<SessionDailyCountEntity, 'day' | 'type' | 'kind' | 'amount'>;

/** How long the first count of a batch stays in memory before the batch is written, in milliseconds. */
const FLUSH_INTERVAL = 5000;
/** How long the start of the application waits until existing sessions are counted, in milliseconds. */
const START_WAIT = 2000;
/** No process keeps a turn: each of them takes over for one transaction. */
const NO_LEASE = 0;
const DAY = 86_400_000;
const ENDED = 'ended:';

/**
 * Counts the sessions that start and end on each day. The option `dailyCounts` turns it on.
 *
 * Each process collects counts in memory and writes them in batches: one short transaction, at most every five seconds. A
 * killed process loses the counts in memory. If the database does not confirm a commit, the batch may be counted twice.
 * `recount` then corrects the number of active sessions.
 *
 * A correction compares the sessions and the counts in one snapshot of the database, which it reads page by page without a
 * lock. Then it adds the difference. Whatever has been counted in the meantime therefore stays right.
 */
export class DailyCounts {
  private readonly logger = new Logger('MultiSession');
  private unwritten = new Map<string, Count>();
  private timer?: NodeJS.Timeout;
  private flushing: Promise<void> = Promise.resolve();
  private isSeeded = false;
  private stopped = false;
  private readonly job: Job;

  /** @param pageSize how many sessions one statement counts. Default: `SCAN_PAGE` */
  constructor(
    private readonly database: Database,
    events: SessionEvents,
    private readonly isOn: boolean,
    private readonly now: () => number,
    private readonly pageSize = SCAN_PAGE,
  ) {
    this.job = new Job(database, 'daily-counts', NO_LEASE);
    if (!isOn) return;
    events.on('session.created', ({ session }) => this.count(session.type, 'created'));
    events.on('session.ended', ({ session, reason }) => this.count(session.type, `${ENDED}${reason}`));
  }

  /**
   * @internal Counts the sessions that existed before counting was turned on. If they are many, it goes on in the background.
   * Sessions that begin or end meanwhile in the same moment as the snapshot may then be counted wrongly.
   */
  async start(): Promise<void> {
    if (!this.isOn) return;
    await before(performance.now() + START_WAIT, () => this.flush()).catch(() => undefined);
  }

  /** @internal Stops counting existing sessions, which the next start repeats, and writes the counts in memory. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.flush();
  }

  /**
   * Reads the statistics. Counts of the last five seconds may be missing.
   * @param options.days how many days to go back, including today. Default: 30
   * @throws UnavailableError if the database cannot be reached
   */
  async statistics(options: { days?: number } = {}): Promise<SessionStatistics> {
    const since = this.day((options.days ?? 30) - 1);
    return this.database.run(async (manager) => {
      const counts = await manager
        .createQueryBuilder(SessionDailyCountEntity, 'count')
        .where('count.day >= :since', { since })
        .orderBy('count.day', 'DESC')
        .getMany();
      return { active: await this.countedActive(manager), days: byDay(counts) };
    });
  }

  /**
   * Counts the sessions in the table and corrects the number of active sessions by the difference. Call it after a crash if
   * the number must be exact. It reads all sessions, page by page, and this process writes no counts meanwhile. If other
   * processes have unwritten counts, these are counted twice.
   * @throws UnavailableError if the database cannot be reached
   */
  async recount(): Promise<void> {
    await this.flush();
    const correcting = this.flushing.then(() => this.correct());
    this.flushing = correcting.catch(() => undefined);
    await correcting;
  }

  /** @internal Writes the counts in memory. It runs on a timer and at shutdown. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.flushing = this.flushing.then(() => this.writeAll());
    return this.flushing;
  }

  /** @internal Writes the counts that were added during the shutdown. */
  async flushLast(): Promise<void> {
    this.stopped = true;
    await this.flushing;
    if (this.unwritten.size > 0 && this.database.dataSource.isInitialized) await this.flush();
  }

  private count(type: string, kind: string, amount = 1): void {
    this.add({ day: this.day(), type, kind, amount });
    this.timer ??= setTimeout(() => void this.flush(), FLUSH_INTERVAL).unref();
  }

  private add(count: Count): void {
    const key = JSON.stringify([count.day, count.type, count.kind]);
    this.unwritten.set(key, { ...count, amount: count.amount + (this.unwritten.get(key)?.amount ?? 0) });
  }

  private async writeAll(): Promise<void> {
    let batch = [...this.unwritten.values()];
    if (!this.isOn || (batch.length === 0 && this.isSeeded)) return;
    this.unwritten = new Map();
    try {
      const isDue = await this.exclusively(async (manager, turn) => {
        const due = !this.isSeeded && (await this.isCorrectionDue(manager, turn));
        await this.write(manager, batch);
        return due;
      });
      batch = [];
      if (isDue) await this.correct();
      this.isSeeded = true;
    } catch (error) {
      for (const count of batch) this.add(count);
      this.timer ??= setTimeout(() => void this.flush(), FLUSH_INTERVAL).unref();
      this.logger.warn(`daily counts could not be written, and will be retried: ${(error as Error).message}`);
    }
  }

  private async write(manager: EntityManager, counts: readonly Count[]): Promise<void> {
    if (counts.length === 0) return;
    const none = counts.map((count) => ({ ...count, amount: 0 }));
    const insert = manager.createQueryBuilder().insert().into(SessionDailyCountEntity).values(none);
    await insert.orIgnore().updateEntity(false).execute();
    for (const { amount, ...key } of counts) await manager.increment(SessionDailyCountEntity, key, 'amount', amount);
  }

  /** Whether nothing was counted yet, or a process has begun to count the existing sessions and was stopped. */
  private async isCorrectionDue(manager: EntityManager, turn: JobTurn): Promise<boolean> {
    if (stateOf(turn)?.isDue) return true;
    if (await manager.existsBy(SessionDailyCountEntity, {})) return false;
    await turn.save({ corrections: correctionsOf(turn), isDue: true } satisfies CorrectionState);
    return true;
  }

  /**
   * Writes corrections, so that the counts add up to the sessions in the table. Does nothing if another process has done so in
   * the meantime.
   */
  private async correct(): Promise<void> {
    const corrections = correctionsOf({ state: await this.job.read() });
    const differences = await this.database.snapshot((manager, read) => this.differences(manager, read));
    if (!differences) return;
    await this.exclusively(async (manager, turn) => {
      if (correctionsOf(turn) !== corrections) return;
      await this.write(manager, differences);
      await turn.save({ corrections: corrections + 1, isDue: false } satisfies CorrectionState);
    });
  }

  /** Returns by how much the counts are too low in a snapshot. Undefined if the process stops. */
  private async differences(manager: EntityManager, read: Read): Promise<Count[] | undefined> {
    const counted = await read(() => this.countedActive(manager));
    const existing = await this.countSessions(manager, read, [...this.unwritten.values()]);
    if (!existing) return undefined;
    const types = new Set([...existing.keys(), ...Object.keys(counted)]);
    return [...types]
      .map((type) => ({
        ...{ day: this.day(), type, kind: 'corrected' },
        amount: (existing.get(type) ?? 0) - (counted[type] ?? 0),
      }))
      .filter(({ amount }) => amount !== 0);
  }

  /**
   * Counts the sessions by type.
   * @param unwritten counts of these sessions that are written later
   * @returns undefined if the process stops
   */
  private async countSessions(
    manager: EntityManager,
    read: Read,
    unwritten: readonly Count[],
  ): Promise<Map<string, number> | undefined> {
    const existing = new Map(Object.entries(activeOf(unwritten)).map(([type, amount]) => [type, -amount]));
    for (let after = ''; ;) {
      if (this.stopped) return undefined;
      const startedAt = performance.now();
      const page = await read(() => this.database.query(COUNT_TYPES, { after, limit: this.pageSize }, manager));
      if (page.length === 0) return existing;
      for (const { type, amount, lastId } of page) {
        existing.set(type, (existing.get(type) ?? 0) + amount);
        if (lastId > after) after = lastId;
      }
      // Leave half of the time to requests. SQLite has one connection, on which they wait until the end.
      if (this.database.kind !== 'sqlite') await sleep(performance.now() - startedAt);
    }
  }

  private async countedActive(manager: EntityManager): Promise<Record<string, number>> {
    const sums = await manager
      .createQueryBuilder(SessionDailyCountEntity, 'count')
      .select('count.type', 'type')
      .addSelect('count.kind', 'kind')
      .addSelect('SUM(count.amount)', 'amount')
      .groupBy('count.type')
      .addGroupBy('count.kind')
      .getRawMany<{ type: string; kind: string; amount: string | number }>();
    return activeOf(sums);
  }

  /** Runs `work` in a transaction that only one process can have at a time, because all of them write the same few rows. */
  private exclusively<T>(work: (manager: EntityManager, turn: JobTurn) => Promise<T>): Promise<T> {
    return this.job.takeOver(work);
  }

  private day(ago = 0): string {
    return new Date(this.now() - ago * DAY).toISOString().slice(0, 10);
  }
}

function byDay(counts: readonly Count[]): DayStatistics[] {
  const days = new Map<string, { logins: Record<string, number>; endings: Partial<Record<EndReason, number>> }>();
  for (const { day, type, kind, amount } of counts) {
    if (kind === 'corrected') continue;
    const statistics = days.get(day) ?? { logins: {}, endings: {} };
    days.set(day, statistics);
    const reason = kind.slice(ENDED.length) as EndReason;
    if (kind === 'created') statistics.logins[type] = amount;
    else statistics.endings[reason] = (statistics.endings[reason] ?? 0) + amount;
  }
  return [...days].map(([day, statistics]) => ({ day, ...statistics }));
}

/** Adds up counts to the number of active sessions, by type. */
function activeOf(counts: readonly { type: string; kind: string; amount: string | number }[]): Record<string, number> {
  const active: Record<string, number> = {};
  for (const { type, kind, amount } of counts)
    active[type] = (active[type] ?? 0) + (kind.startsWith(ENDED) ? -Number(amount) : Number(amount));
  return active;
}

function stateOf({ state }: Pick<JobTurn, 'state'>): CorrectionState | null {
  return state as unknown as CorrectionState | null;
}

function correctionsOf(turn: Pick<JobTurn, 'state'>): number {
  return stateOf(turn)?.corrections ?? 0;
}
