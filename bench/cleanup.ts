import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSourceOptions } from 'typeorm';
import type { DatabaseName } from '../test/helpers/databases.js';
import { FilledSessions, settle } from '../test/helpers/fill.js';
import { Child } from './child.js';
import type { CleanerQuestion } from './cleaner.js';
import type { GrowthOptions } from './growth-options.js';
import { type CleanedUp, cleanUp, FilledTokens, type GrowthApp, inOwnDatabase, startGrowthApp } from './growth-app.js';
import { percentile, say, sayTarget, sayTitle, table, whole } from './report.js';

const CLIENTS = 8;
/** Milliseconds between two refreshes of a client. */
const PACE = 20;
const MAX_SLOWDOWN = 1.5;

/** Runs the cleanup until no expired session is left. */
type Clean = () => Promise<CleanedUp>;

/** Compares the latency of refreshes during a cleanup by another process with their usual latency. */
export async function benchCleanup(name: DatabaseName, { expired, seconds }: GrowthOptions): Promise<void> {
  sayTitle(`Cleanup on ${name}`);
  await inOwnDatabase(name, async (database) => {
    const app = await startGrowthApp(database);
    try {
      await withCleaner(name, database, app, async (clean) => measure(app, clean, expired, seconds));
    } finally {
      await app.close();
    }
  });
}

/** Provides a process that cleans up. SQLite has only one connection, so there the cleanup runs in this process. */
async function withCleaner(
  name: DatabaseName,
  database: DataSourceOptions,
  app: GrowthApp,
  work: (clean: Clean) => Promise<void>,
): Promise<void> {
  if (name === 'sqlite') return work(() => cleanUp(app));
  const cleaner = await Child.start<CleanerQuestion, CleanedUp>('cleaner', [JSON.stringify(database)]);
  try {
    // Nothing has expired yet. This only makes sure that the process has started and is connected.
    await cleaner.ask('clean up');
    await work(() => cleaner.ask('clean up'));
  } finally {
    await cleaner.stop();
  }
}

async function measure(app: GrowthApp, clean: Clean, expired: number, seconds: number): Promise<void> {
  const tokens = new FilledTokens();
  const filled = new FilledSessions(app.dataSource, { rows: 2 * expired, kid: tokens.kid, expiredEvery: 2 });
  await filled.fill();
  await settle(app.dataSource);
  const load = new RefreshLoad(app, filled, tokens);
  await load.during(() => sleep(Math.min(seconds, 3) * 1000));
  const { latencies: before } = await load.during(() => sleep(seconds * 1000));
  const { latencies: meanwhile, result } = await load.during(clean);
  if (result.sessions !== expired)
    throw new Error(`expected the cleanup of ${expired} sessions, found ${result.sessions}`);
  report(before, meanwhile, result);
}

/** Refreshes sessions all over the table at a fixed pace, no matter how long each refresh takes. */
class RefreshLoad {
  private refreshed = 0;
  /** The newest tokens of the sessions that were refreshed, by their numbers. */
  private readonly newest = new Map<number, string>();

  constructor(
    private readonly app: GrowthApp,
    private readonly filled: FilledSessions,
    private readonly tokens: FilledTokens,
  ) {}

  /**
   * Refreshes until `work` is done.
   * @returns the latencies in milliseconds, each measured from the time at which the refresh was due
   */
  async during<T>(work: () => Promise<T>): Promise<{ latencies: number[]; result: T }> {
    const latencies: number[] = [];
    const end = new AbortController();
    const clients = Array.from({ length: CLIENTS }, (_, client) =>
      this.client((client * PACE) / CLIENTS, latencies, end.signal),
    );
    const working = work().finally(() => end.abort());
    const [result] = await Promise.all([working, ...clients]);
    return { latencies, result };
  }

  private async client(offset: number, latencies: number[], end: AbortSignal): Promise<void> {
    for (let due = performance.now() + offset; !end.aborted; due += PACE) {
      const early = due - performance.now();
      if (early > 0) await sleep(early);
      await this.refresh();
      latencies.push(performance.now() - due);
    }
  }

  private async refresh(): Promise<void> {
    const number = this.nextNumber();
    const row = this.filled.session(number);
    const presented = this.newest.get(number) ?? this.tokens.refresh(row);
    const { session, refresh } = await this.app.sessions.refresh(presented);
    if (session.id !== row.id) throw new Error('the refresh answered for another session');
    // Shortly after a rotation, a session keeps its token.
    this.newest.set(number, refresh ?? presented);
  }

  /** Returns the number of the next session to refresh. Odd numbers are live. If the cleanup is slow, they come again. */
  private nextNumber(): number {
    const live = this.filled.filling.rows / 2;
    return 2 * ((this.refreshed++ * STEP) % live) + 1;
  }
}

/** The distance between two refreshed sessions: a prime, so that it has no common factor with the number of sessions. */
const STEP = 611_953;

function report(before: readonly number[], meanwhile: readonly number[], { sessions, seconds }: CleanedUp): void {
  const line = (what: string, latencies: readonly number[]) => [
    what,
    whole(latencies.length),
    ...[50, 99].map((percent) => percentile(latencies, percent).toFixed(2)),
  ];
  const head = ['refreshes, in ms', 'count', 'median', 'p99'];
  say(table(head, [line('without a cleanup', before), line('during the cleanup', meanwhile)]));
  say(`${whole(sessions)} sessions in ${seconds.toFixed(1)} s: ${whole(sessions / seconds)} a second`);
  const ratio = percentile(meanwhile, 99) / percentile(before, 99);
  sayTarget('99th percentile during the cleanup, relative to without', MAX_SLOWDOWN, ratio, 'at most');
}
