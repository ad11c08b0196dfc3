import { setTimeout as sleep } from 'node:timers/promises';
import { MULTI_SESSION_ENTITIES } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { createDatabase, selectedDatabases, type TestDatabase } from '../test/helpers/databases.js';
import { Child } from './child.js';
import type { Load, LoadResult } from './load.js';
import type { BenchOptions } from './options.js';
import type { Undisturbed } from './others.js';
import { median, percent, say, sayTitle, spread, table, whole } from './report.js';
import { type LoadGenerator, type Measurement, measureRequests } from './requests.js';
import type { PollAnswer, RevocationAnswer, RevocationQuestion, StartAnswer } from './revocation-server.js';
import { inRounds } from './rounds.js';

type Server = Child<RevocationQuestion, RevocationAnswer>;
type Rounds<R> = readonly Undisturbed<R>[];

/** A database that contains ended sessions. */
interface Filled {
  readonly entries: number;
  readonly database: TestDatabase;
}

/** The library's default. Idle polls are measured at a shorter interval: otherwise 180 of them would take three minutes. */
const POLL_INTERVAL = '1s';
const MEGABYTE = 1024 * 1024;

/** Measures what ended sessions in memory cost a process: start, memory, guard and polls. */
export async function benchRevocation(options: BenchOptions): Promise<void> {
  sayTitle('Ended sessions in memory, on PostgreSQL');
  if (!selectedDatabases().includes('postgres')) {
    say('Skipped: TEST_DATABASES does not name postgres.');
    return;
  }
  const filled: Filled[] = [];
  try {
    for (const entries of sizes(options)) filled.push(await fill(entries));
    // The three parts share the time for waiting.
    const share = { ...options, patience: Math.floor(options.patience / 3) };
    reportStart(
      filled,
      await inRounds(
        filled.map((each) => () => measureStart(each)),
        share,
      ),
    );
    reportGuard(filled, await measureGuards(filled, share));
    reportPolls(
      filled,
      await inRounds(
        filled.map((each) => () => measurePolls(each, options)),
        { ...share, rounds: 1 },
      ),
    );
  } finally {
    for (const { database } of filled) await database.drop();
  }
}

/** Returns the numbers of entries to measure. */
function sizes({ isTrial }: BenchOptions): readonly number[] {
  return isTrial ? [0, 1000, 10_000] : [0, 1000, 100_000, 1_000_000];
}

async function fill(entries: number): Promise<Filled> {
  const database = await createDatabase('postgres');
  const dataSource = await new DataSource({
    ...database.options,
    entities: [...MULTI_SESSION_ENTITIES],
    synchronize: true,
  }).initialize();
  await dataSource.query(
    `INSERT INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
     SELECT id, 'session', id, 'user ' || at, 'logout', now_ms - 60000, now_ms + 3600000
     FROM (SELECT gen_random_uuid()::text AS id, at, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
           FROM generate_series(1, $1::int) AS at) AS entries`,
    [entries],
  );
  // Otherwise autovacuum would run in the middle of a measurement.
  await dataSource.query('VACUUM ANALYZE session_blacklist');
  await dataSource.destroy();
  return { entries, database };
}

function startServer({ database }: Filled, pollInterval: string): Promise<Server> {
  return Child.start('revocation-server', [JSON.stringify(database.options), pollInterval], ['--expose-gc']);
}

async function measureStart(filled: Filled): Promise<StartAnswer> {
  const server = await startServer(filled, POLL_INTERVAL);
  const answer = await server.ask('start');
  await server.stop();
  return answer;
}

async function measurePolls(filled: Filled, { isTrial }: BenchOptions): Promise<PollAnswer> {
  const server = await startServer(filled, isTrial ? '10ms' : '50ms');
  const answer = await server.ask('polls');
  await server.stop();
  return answer;
}

async function measureGuards(filled: readonly Filled[], options: BenchOptions): Promise<Rounds<Measurement>[]> {
  const generator: LoadGenerator = await Child.start<Load, LoadResult>('load');
  const servers: Server[] = [];
  try {
    const measures: (() => Promise<Measurement>)[] = [];
    for (const each of filled) {
      const server = await startServer(each, POLL_INTERVAL);
      servers.push(server);
      const { url, userId, credentials } = await server.ask('callers');
      const load = { url, credentials, expectBody: JSON.stringify({ user_id: userId }), seconds: options.seconds };
      measures.push(() => measureRequests(server, generator, load));
    }
    return await inRounds(measures, options);
  } finally {
    // Let requests of the load generator finish first.
    await sleep(1000);
    await Promise.all([generator, ...servers].map((child) => child.stop()));
  }
}

const medianOf = <R>(rounds: Rounds<R>, value: (result: R) => number): number =>
  median(rounds.map(({ result }) => value(result)));

/** Returns the median of the differences or ratios within each round. */
function medianBeside<R>(rounds: Rounds<R>, others: Rounds<R>, compare: (result: R, other: R) => number): number {
  return median(rounds.map(({ result }, round) => compare(result, others[round].result)));
}

function reportStart(filled: readonly Filled[], starts: readonly Rounds<StartAnswer>[]): void {
  const rows = filled.map(({ entries }, at) => {
    const [rounds, empty] = [starts[at], starts[0]];
    const bytes = medianBeside(rounds, empty, (start, other) => start.heap - other.heap) / entries;
    return [
      whole(entries),
      whole(medianOf(rounds, ({ startUp }) => startUp)),
      whole(medianBeside(rounds, empty, (start, other) => start.startUp - other.startUp)),
      medianOf(rounds, ({ stall }) => stall).toFixed(1),
      (medianOf(rounds, ({ heap }) => heap) / MEGABYTE).toFixed(1),
      entries === 0 ? '' : whole(bytes),
      whole(medianOf(rounds, ({ peakMemory }) => peakMemory) / MEGABYTE),
    ];
  });
  const head = ['entries', 'start ms', 'added ms', 'stall ms', 'heap MB', 'bytes per entry', 'peak RSS MB'];
  say(table(head, rows));
}

function reportGuard(filled: readonly Filled[], rates: readonly Rounds<Measurement>[]): void {
  const rows = filled.map(({ entries }, at) => [
    whole(entries),
    whole(medianOf(rates[at], ({ rate }) => rate)),
    percent(spread(rates[at].map(({ result }) => result.rate))),
    medianBeside(rates[at], rates[0], (result, other) => result.rate / other.rate).toFixed(2),
    medianOf(rates[at], ({ cost }) => cost).toFixed(1),
    median(rates[at].map(({ others }) => others)).toFixed(2),
  ]);
  say(table(['entries', 'requests/s', 'spread', 'vs 0', 'server µs', 'others'], rows));
}

function reportPolls(filled: readonly Filled[], polls: readonly Rounds<PollAnswer>[]): void {
  const rows = filled.map(({ entries }, at) => {
    const cost = medianOf(polls[at], (poll) => poll.cost);
    return [
      whole(entries),
      whole(cost),
      `${(cost / 10_000).toFixed(2)} %`,
      medianOf(polls[at], ({ statements }) => statements).toFixed(1),
    ];
  });
  say(table(['entries', 'µs per poll', 'of a core, at one per second', 'statements per poll'], rows));
}
