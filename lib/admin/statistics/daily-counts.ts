import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../../database/database.js';
import { SessionEntity } from '../../session/session.entity.js';
import type { EndReason, SessionEvents } from '../../session/events.js';
import { SessionDailyCountEntity } from './session-daily-count.entity.js';

/** What happened on one day, in UTC. */
export interface DayStatistics {
  /** `2026-11-24`. */
  readonly day: string;
  /** Logins, and whatever else begins a session, by type. */
  readonly logins: Readonly<Record<string, number>>;
  /** Endings, by reason. */
  readonly endings: Readonly<Partial<Record<EndReason, number>>>;
}

/** What `DailyCounts.figures` answers. */
export interface SessionStatistics {
  /** Sessions that have begun and not ended, by type; one that has expired counts until the cleanup has found it. */
  readonly active: Readonly<Record<string, number>>;
  /** The days on which anything happened, the latest first. */
  readonly days: readonly DayStatistics[];
}

type Count = Pick<SessionDailyCountEntity, 'day' | 'type' | 'kind' | 'amount'>;

const FLUSH_INTERVAL = 5000;
const DAY = 86_400_000;
const ENDED = 'ended:';

/**
 * How many sessions began and ended on each day. Noted in memory, and written in batches behind the answers: one short
 * transaction every five seconds in which anything happened. Off unless `dailyCounts` is set.
 *
 * What a process had noted when it was killed is lost, and a batch whose commit was not answered may count twice:
 * `recount` sets right how many are active.
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
    events.on('session.created', ({ session }) => this.note(session.type, 'created'));
    events.on('session.ended', ({ session, reason }) => this.note(session.type, `${ENDED}${reason}`));
  }

  /** @internal The sessions that are there before the first is counted. */
  async start(): Promise<void> {
    if (this.isOn) await this.flush();
  }

  /**
   * The figures, of what has been written: each process is at most five seconds behind.
   * @param options.days how many days back, today included. Default: 30
   * @throws UnavailableError
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
   * Counts the sessions themselves, once, and corrects how many are active by what is missing: it reads the whole index of
   * types. For after a crash, where the figure must be right; what other processes are just about to write is counted twice.
   * @throws UnavailableError
   */
  async recount(): Promise<void> {
    await this.flush();
    await this.exclusively((manager) => this.correct(manager));
  }

  /** @internal Writes what is noted. Called by a timer, and at shutdown. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.flushing = this.flushing.then(() => this.writeAll());
    return this.flushing;
  }

  /** @internal What was noted since the last flush, while the application was shutting down. */
  async flushLast(): Promise<void> {
    if (this.unwritten.size > 0 && this.database.dataSource.isInitialized) await this.flush();
  }

  private note(type: string, kind: string, amount = 1): void {
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
      this.logger.warn(`daily counts were not written, and will be tried again: ${(error as Error).message}`);
    }
  }

  private async write(manager: EntityManager, counts: readonly Count[]): Promise<void> {
    if (counts.length === 0) return;
    const none = counts.map((count) => ({ ...count, amount: 0 }));
    const insert = manager.createQueryBuilder().insert().into(SessionDailyCountEntity).values(none);
    await insert.orIgnore().updateEntity(false).execute();
    for (const { amount, ...key } of counts) await manager.increment(SessionDailyCountEntity, key, 'amount', amount);
  }

  /** Writes what is missing for the counts to come to the sessions that are there. @param noted what is about to be written */
  private async correct(manager: EntityManager, noted: readonly Count[] = []): Promise<void> {
    const rows = await manager
      .createQueryBuilder(SessionEntity, 'session')
      .select('session.type', 'type')
      .addSelect('COUNT(*)', 'amount')
      .groupBy('session.type')
      .getRawMany<{ type: string; amount: string | number }>();
    const there = new Map(rows.map(({ type, amount }) => [type, Number(amount)]));
    const counted = await this.countedActive(manager, noted);
    const types = new Set([...there.keys(), ...Object.keys(counted)]);
    const missing = [...types].map((type) => ({
      ...{ day: this.day(), type, kind: 'corrected' },
      amount: (there.get(type) ?? 0) - (counted[type] ?? 0),
    }));
    await this.write(
      manager,
      missing.filter(({ amount }) => amount !== 0),
    );
  }

  private async countedActive(manager: EntityManager, noted: readonly Count[] = []): Promise<Record<string, number>> {
    const sums = await manager
      .createQueryBuilder(SessionDailyCountEntity, 'count')
      .select('count.type', 'type')
      .addSelect('count.kind', 'kind')
      .addSelect('SUM(count.amount)', 'amount')
      .groupBy('count.type')
      .addGroupBy('count.kind')
      .getRawMany<{ type: string; kind: string; amount: string | number }>();
    const active: Record<string, number> = {};
    for (const { type, kind, amount } of [...sums, ...noted]) {
      active[type] = (active[type] ?? 0) + (kind.startsWith(ENDED) ? -Number(amount) : Number(amount));
    }
    return active;
  }

  /** One process at a time: the rows are few, and all processes write the same ones. */
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
    const figures = days.get(day) ?? { logins: {}, endings: {} };
    days.set(day, figures);
    const reason = kind.slice(ENDED.length) as EndReason;
    if (kind === 'created') figures.logins[type] = amount;
    else figures.endings[reason] = (figures.endings[reason] ?? 0) + amount;
  }
  return [...days].map(([day, figures]) => ({ day, ...figures }));
}
