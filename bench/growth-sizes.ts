import type { DataSource } from 'typeorm';
import type { DatabaseName } from '../test/helpers/databases.js';
import { fillBlacklist, FilledSessions, settle } from '../test/helpers/fill.js';
import { accessesOf, isPlanned } from '../test/helpers/plans.js';
import type { GrowthOptions } from './growth-options.js';
import { startEngine } from './engine.js';
import { FilledTokens, type GrowthApp, inOwnDatabase, startGrowthApp } from './growth-app.js';
import { operationsOn, type Subjects, type Use } from './growth-operations.js';
import { median, percentile, say, sayTarget, sayTitle, table, whole } from './report.js';

type Operations = ReadonlyMap<string, () => Use>;

/** How an operation comes to its rows: in words, and how many rows a statement of it looked at, at most. */
interface Plan {
  readonly access: string;
  readonly rows: number;
}

interface Bytes {
  readonly table: number;
  readonly indexes: number;
}

/** What was seen at one size. */
interface SizeResult {
  readonly size: number;
  readonly bytes: Bytes;
  readonly buffer?: string;
  /** By the operation's name. */
  readonly plans: ReadonlyMap<string, Plan>;
  /** Milliseconds, by the operation's name. */
  readonly times: ReadonlyMap<string, readonly number[]>;
}

const BLACKLIST_ENTRIES = 1000;
const WARM_UP = 50;
/** A smaller table may be read from one end to the other: it takes less than going by an index. */
const LEAST_PLANNED = 10_000;
/** What the median of no operation may grow by, from the smallest size to the largest. */
const MOST_GROWTH = 2;

/** What each operation takes among ever more sessions. */
export async function benchSizes(name: DatabaseName, { sizes, operations }: GrowthOptions): Promise<void> {
  sayTitle(`Growth on ${name}`);
  const results: SizeResult[] = [];
  for (const size of sizes) results.push(await measureSize(name, size, operations));
  reportTimes(results);
  reportBytes(results);
  reportPlans(results);
}

async function measureSize(name: DatabaseName, size: number, count: number): Promise<SizeResult> {
  return inOwnDatabase(name, async (database) => {
    const app = await startGrowthApp(database);
    try {
      const tokens = new FilledTokens();
      const filled = await fill(app, size, tokens.kid);
      const [bytes, buffer] = [await bytesOf(app.dataSource), await bufferOf(app.dataSource)];
      // Its first poll loads the filled table.
      const polling = await startEngine(database, app.log, { policies: { LONG: { refreshTokenLifetime: '31d' } } });
      try {
        const subjects = { app, filled, tokens, polling };
        const operations = operationsOn(subjects);
        const plans = await plansOf(operations, subjects);
        return { size, bytes, buffer, plans, times: await timesOf(operations, filled, count) };
      } finally {
        await polling.close();
      }
    } finally {
      await app.close();
    }
  });
}

async function fill({ dataSource }: GrowthApp, rows: number, kid: string): Promise<FilledSessions> {
  const startedAt = performance.now();
  const filled = new FilledSessions(dataSource, { rows, kid });
  await filled.fill();
  await fillBlacklist(dataSource, { entries: BLACKLIST_ENTRIES });
  await settle(dataSource);
  console.log(`${whole(rows)} sessions filled in, in ${whole((performance.now() - startedAt) / 1000)} s`);
  return filled;
}

/** One of each in turn, one at a time: what disturbs, disturbs all of them. */
async function timesOf(operations: Operations, filled: FilledSessions, count: number): Promise<SizeResult['times']> {
  const times = new Map([...operations.keys()].map((name) => [name, [] as number[]]));
  for (let round = -Math.min(WARM_UP, count); round < count; round++) {
    for (const [name, draw] of operations) {
      const use = draw();
      const startedAt = performance.now();
      const check = await use.run();
      const took = performance.now() - startedAt;
      await check();
      if (use.changes !== undefined) await filled.restore(use.changes);
      if (round >= 0) times.get(name)?.push(took);
    }
  }
  return times;
}

async function plansOf(operations: Operations, { app, filled }: Subjects): Promise<SizeResult['plans']> {
  const plans = new Map<string, Plan>();
  for (const [name, draw] of operations) {
    const use = draw();
    const { statements, result: check } = await app.log.during(() => use.run());
    await check();
    const accesses = [];
    for (const statement of statements.filter(isPlanned)) {
      const found = await accessesOf(app.dataSource, statement);
      if (filled.filling.rows >= LEAST_PLANNED && !found.every(({ byIndex }) => byIndex))
        throw new Error(`${name} reads a whole table: ${statement.query}: ${found.map(({ text }) => text).join()}`);
      accesses.push(...found);
    }
    const access = [...new Set(accesses.map(({ text }) => text))].join('; ');
    plans.set(name, { access, rows: Math.max(0, ...accesses.map(({ rows }) => rows ?? NaN)) });
    if (use.changes !== undefined) await filled.restore(use.changes);
  }
  return plans;
}

// ─── Bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const BYTES: Partial<Record<string, string>> = {
  postgres: `SELECT pg_table_size('user_session') AS "table", pg_indexes_size('user_session') AS indexes`,
  mariadb: `SELECT data_length AS "table", index_length AS indexes FROM information_schema.tables
            WHERE table_schema = database() AND table_name = 'user_session'`.replaceAll('"', '`'),
  'better-sqlite3': `SELECT sum(CASE WHEN name = 'user_session' THEN pgsize END) AS "table",
                       sum(CASE WHEN name <> 'user_session' THEN pgsize END) AS indexes
                     FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = 'user_session')`,
};

/** How much the server holds in its memory. */
const BUFFER: Partial<Record<string, string>> = {
  postgres: "SELECT current_setting('shared_buffers') AS buffer",
  mariadb: "SELECT concat(@@innodb_buffer_pool_size DIV 1048576, 'MB') AS buffer",
};

async function bufferOf(dataSource: DataSource): Promise<string | undefined> {
  const statement = BUFFER[dataSource.options.type];
  if (statement === undefined) return undefined;
  const [{ buffer }] = await dataSource.query<[{ buffer: string }]>(statement);
  return buffer;
}

/** Of all sessions together. On MariaDB the table is the index of its primary key. */
async function bytesOf(dataSource: DataSource): Promise<Bytes> {
  const [row] = await dataSource.query<[Record<keyof Bytes, unknown>]>(BYTES[dataSource.options.type] ?? '');
  return { table: Number(row.table), indexes: Number(row.indexes) };
}

// ─── Reporting ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function reportTimes(results: readonly SizeResult[]): void {
  const [first, last] = [results[0], results[results.length - 1]];
  const operations = [...first.times.keys()];
  const of = ({ times }: SizeResult, name: string) => times.get(name) ?? [];
  const growth = (name: string) => median(of(last, name)) / median(of(first, name));
  const head = results.flatMap(({ size }) => [`${whole(size)}: median`, 'p99']);
  const rows = operations.map((name) => [
    name,
    ...results.flatMap((result) => [median(of(result, name)), percentile(of(result, name), 99)].map(milliseconds)),
    growth(name).toFixed(2),
  ]);
  say(table(['operation, in ms', ...head, 'growth'], rows));
  const [most, ...others] = operations.sort((a, b) => growth(b) - growth(a));
  const missed = others.filter((name) => growth(name) > MOST_GROWTH);
  for (const name of [most, ...missed]) {
    const what = `the median of «${name}», at ${whole(last.size)} sessions of that at ${whole(first.size)}`;
    sayTarget(what, MOST_GROWTH, growth(name), 'at most');
  }
}

const milliseconds = (value: number) => value.toFixed(2);

function reportBytes(results: readonly SizeResult[]): void {
  const rows = results.map(({ size, bytes }) => [
    whole(size),
    ...[bytes.table + bytes.indexes, bytes.table, bytes.indexes].map((count) => whole(count / size)),
  ]);
  say(table(['sessions', 'bytes of each', 'in the table', 'in its indexes'], rows));
  const [{ buffer }] = results;
  if (buffer !== undefined) say(`The server holds ${buffer} of it in its own memory (its setting).`);
}

/** A line for each way of an operation to its rows: one, unless it changes with the size. */
function reportPlans(results: readonly SizeResult[]): void {
  const lines = new Map<string, string[]>();
  results.forEach(({ plans }, at) => {
    for (const [name, { access, rows }] of plans) {
      const key = JSON.stringify([name, access]);
      const line = lines.get(key) ?? [name, access, ...results.map(() => '')];
      line[2 + at] = Number.isNaN(rows) ? '?' : whole(rows);
      lines.set(key, line);
    }
  });
  const head = ['operation', 'goes by', ...results.map(({ size }) => `rows of ${whole(size)}`)];
  say(table(head, [...lines.values()]));
}
