import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../../database/database.js';
import { SessionEntity } from '../../session/session.entity.js';
import type { EndReason, SessionEvents } from '../../session/events.js';
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

type Count = Pick<SessionDailyCountEntity, 'day' | 'type' | 'kind' | 'amount'>;

/** How long the first count of a batch stays in memory before the batch is written, in milliseconds. */
const FLUSH_INTERVAL = 5000;
const DAY = 86_400_000;
const ENDED = 'ended:';

/**
 * Counts the sessions that start and end on each day. The option `dailyCounts` turns it on.
 *
 * Each process collects counts in memory and writes them in batches: one short transaction, at most every five seconds. A
 * killed process loses the counts in memory. If the database does not confirm a commit, the batch may be counted twice.
 * `recount` then corrects the number of active sessions.
 */
export class DailyCounts {
  private readonly logger = new Logger('MultiSession');
  private unwritten = new Map<string, Count>();
  private timer?: NodeJS.Timeout;
  private flushing: Promise<void> = Promise.resolve();
  private isSeeded = false;

  constructor(
    private readonly database: Database,
    events: SessionEvents,
    private readonly isOn: boolean,
    private readonly now: () => number,
  ) {
    if (!isOn) return;
    events.on('session.created', ({ session }) => this.count(session.type, 'created'));
    events.on('session.ended', ({ session, reason }) => this.count(session.type, `${ENDED}${reason}`));
  }

  /** @internal Counts the sessions that existed before counting was turned on. */
  async start(): Promise<void> {
    if (this.isOn) await this.flush();
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
   * the number must be exact. It scans the whole index on the session type. If other processes have unwritten counts, these
   * are counted twice.
   * @throws UnavailableError if the database cannot be reached
   */
  async recount(): Promise<void> {
    await this.flush();
    await this.exclusively((manager) => this.correct(manager));
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
    const batch = [...this.unwritten.values()];
    if (!this.isOn || (batch.length === 0 && this.isSeeded)) return;
    this.unwritten = new Map();
    try {
      await this.exclusively(async (manager) => {
        if (!this.isSeeded && !(await manager.existsBy(SessionDailyCountEntity, {})))
          await this.correct(manager, batch);
        await this.write(manager, batch);
      });
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

  /**
   * Writes corrections, so that the counts add up to the sessions in the table.
   * @param unwritten counts that the same transaction writes afterwards
   */
  private async correct(manager: EntityManager, unwritten: readonly Count[] = []): Promise<void> {
    const rows = await manager
      .createQueryBuilder(SessionEntity, 'session')
      .select('session.type', 'type')
      .addSelect('COUNT(*)', 'amount')
      .groupBy('session.type')
      .getRawMany<{ type: string; amount: string | number }>();
    const existing = new Map(rows.map(({ type, amount }) => [type, Number(amount)]));
    const counted = await this.countedActive(manager, unwritten);
    const types = new Set([...existing.keys(), ...Object.keys(counted)]);
    const missing = [...types].map((type) => ({
      ...{ day: this.day(), type, kind: 'corrected' },
      amount: (existing.get(type) ?? 0) - (counted[type] ?? 0),
    }));
    await this.write(
      manager,
      missing.filter(({ amount }) => amount !== 0),
    );
  }

  private async countedActive(
    manager: EntityManager,
    unwritten: readonly Count[] = [],
  ): Promise<Record<string, number>> {
    const sums = await manager
      .createQueryBuilder(SessionDailyCountEntity, 'count')
      .select('count.type', 'type')
      .addSelect('count.kind', 'kind')
      .addSelect('SUM(count.amount)', 'amount')
      .groupBy('count.type')
      .addGroupBy('count.kind')
      .getRawMany<{ type: string; kind: string; amount: string | number }>();
    const active: Record<string, number> = {};
    for (const { type, kind, amount } of [...sums, ...unwritten]) {
      active[type] = (active[type] ?? 0) + (kind.startsWith(ENDED) ? -Number(amount) : Number(amount));
    }
    return active;
  }

  /** Runs `work` in a transaction that only one process can have at a time, because all of them write the same few rows. */
  private async exclusively(work: (manager: EntityManager) => Promise<void>): Promise<void> {
    await this.database.transaction({ name: 'daily-counts' }, work);
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
