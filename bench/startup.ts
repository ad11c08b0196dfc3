import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDatabase, selectedDatabases, type TestDatabase } from '../test/helpers/databases.js';
import { Child } from './child.js';
import type { BenchOptions } from './options.js';
import type { Undisturbed } from './others.js';
import { reportSizes } from './package-size.js';
import { median, percent, say, sayTitle, spread, table, whole } from './report.js';
import { inRounds } from './rounds.js';
import { startSessionApp } from './session-app.js';
import type { AdapterName, Started, Variant } from './startup-app.js';

/** An application that is started repeatedly. */
interface Contestant {
  readonly variant: Variant;
  readonly adapter: AdapterName;
  /** Undefined if the application uses no database. */
  readonly database?: TestDatabase;
}

/** Measurements of a start, in milliseconds and bytes. */
interface Measurement {
  listening: number;
  processor: number;
  rss: number;
  heap: number;
}

type Results = readonly Undisturbed<Measurement>[];

const LABELS: Record<Variant, string> = {
  empty: 'an empty application',
  typeorm: 'with TypeORM',
  peers: "with TypeORM and the library's other peers",
  library: 'with this library',
};

/** Measures what the library adds to an application's start, memory and `node_modules`. */
export async function benchStartup(options: BenchOptions): Promise<void> {
  const databases: TestDatabase[] = [];
  try {
    for (const name of selectedDatabases()) {
      if (name === 'sqlite') databases.push(sqliteFile());
      if (name === 'postgres') databases.push(await createDatabase(name));
    }
    for (const database of databases) await makeTables(database);
    for (const adapter of ['express', 'fastify'] as const) await benchAdapter(adapter, databases, options);
  } finally {
    for (const database of databases) await database.drop();
  }
  reportSizes();
}

/** Creates SQLite in a file. The tests use SQLite in memory, which other processes cannot share. */
function sqliteFile(): TestDatabase {
  const folder = mkdtempSync(join(tmpdir(), 'multi-session-bench-'));
  return {
    name: 'sqlite',
    options: { type: 'better-sqlite3', database: join(folder, 'startup.sqlite') },
    drop: () => Promise.resolve(rmSync(folder, { recursive: true })),
  };
}

/** Creates the tables once, as migrations do, so that the time for TypeORM's `synchronize` is not measured. */
async function makeTables({ options }: TestDatabase): Promise<void> {
  const app = await startSessionApp(options, {});
  await app.close();
}

async function benchAdapter(
  adapter: AdapterName,
  databases: readonly TestDatabase[],
  options: BenchOptions,
): Promise<void> {
  const contestants: Contestant[] = [
    { variant: 'empty', adapter },
    ...databases.flatMap((database) =>
      (['typeorm', 'peers', 'library'] as const).map((variant) => ({ variant, adapter, database })),
    ),
  ];
  sayTitle(`Start-up on ${adapter}`);
  // Warms up the file system cache.
  await start(contestants[contestants.length - 1]);
  const measures = contestants.map((contestant) => () => start(contestant));
  const results = await inRounds(measures, options);
  report(contestants, results);
}

async function start({ variant, adapter, database }: Contestant): Promise<Measurement> {
  const args = [variant, adapter, JSON.stringify(database?.options ?? {})];
  const spawnedAt = performance.timeOrigin + performance.now();
  const child = await Child.start<object, Started>('startup-app', args);
  try {
    const { listeningAt, processorTime, rss, heap } = await child.ask({});
    return { listening: listeningAt - spawnedAt, processor: processorTime / 1000, rss, heap };
  } finally {
    await child.stop();
  }
}

function report(contestants: readonly Contestant[], results: readonly Results[]): void {
  const head = ['', 'listening ms', 'spread', 'processor ms', 'RSS MB', 'heap MB', 'others'];
  const rows = contestants.map((contestant, at) => {
    const of = (value: (result: Measurement) => number) => median(results[at].map(({ result }) => value(result)));
    return [
      label(contestant),
      whole(of(({ listening }) => listening)),
      percent(spread(results[at].map(({ result }) => result.listening))),
      whole(of(({ processor }) => processor)),
      megabytes(of(({ rss }) => rss)),
      megabytes(of(({ heap }) => heap)),
      median(results[at].map(({ others }) => others)).toFixed(2),
    ];
  });
  say(table(head, rows));
  reportAdded(contestants, results);
}

function reportAdded(contestants: readonly Contestant[], results: readonly Results[]): void {
  const rows = contestants.flatMap(({ variant, database }, at) => {
    if (variant !== 'library') return [];
    const others = contestants.filter(
      (other) => other.variant !== 'library' && (other.database ?? database) === database,
    );
    return others.map((other) => {
      const [before, after] = [results[contestants.indexOf(other)], results[at]];
      return [`${database?.name}, to ${LABELS[other.variant].replace(/^with/, 'one with')}`, ...added(before, after)];
    });
  });
  say('What this library adds:');
  say(table(['', 'listening ms', 'processor ms', 'RSS MB', 'heap MB'], rows));
}

/** Returns the medians of the differences within each round. */
function added(before: Results, after: Results): string[] {
  const of = (value: (result: Measurement) => number) =>
    median(after.map(({ result }, round) => value(result) - value(before[round].result)));
  return [
    whole(of(({ listening }) => listening)),
    whole(of(({ processor }) => processor)),
    megabytes(of(({ rss }) => rss)),
    megabytes(of(({ heap }) => heap)),
  ];
}

const label = ({ variant, database }: Contestant) => LABELS[variant] + (database ? `, ${database.name}` : '');
const megabytes = (bytes: number): string => (bytes / 1024 ** 2).toFixed(1);
