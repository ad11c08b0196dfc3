import type { DataSource } from 'typeorm';
import type { DatabaseName } from '../test/helpers/databases.js';
import { fillBlacklist, FilledSessions, settle } from '../test/helpers/fill.js';
import { accessesOf, isPlanned } from '../test/helpers/plans.js';
import type { GrowthOptions } from './growth-options.js';
import { startEngine } from './engine.js';
import { FilledTokens, type GrowthApp, inOwnDatabase, startGrowthApp, writeOut } from './growth-app.js';
import { operationsOn, type Subjects, type Use } from './growth-operations.js';
import { median, percentile, say, sayTarget, sayTitle, table, whole } from './report.js';

type Operations = ReadonlyMap<string, () => Use>;

/** How an operation finds its rows: a description, and the maximum number of rows that one of its statements reads. */
interface Plan {
  readonly access: string;
  readonly rows: number;
}

interface Bytes {
  readonly table: number;
  readonly indexes: number;
}

/** The measurements at one table size. */
interface SizeResult {
  readonly size: number;
  readonly bytes: Bytes;
  readonly buffer?: string;
  /** Plans by operation name. */
  readonly plans: ReadonlyMap<string, Plan>;
  /** Durations in milliseconds by operation name. */
  readonly times: ReadonlyMap<string, readonly number[]>;
}

const BLACKLIST_ENTRIES = 1000;
const WARM_UP = 50;
/** Below this size, a full scan is allowed, because it can be faster than an index. */
const MIN_PLANNED_ROWS = 10_000;
/** Maximum growth of an operation's median from the smallest size to the largest. */
const MAX_GROWTH = 1.25;

/** Measures each operation on tables of increasing size. */
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
        return { size, bytes, buffer, plans, times: await timesOf(operations, subjects, count) };
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
  await writeOut(dataSource);
  console.log(`${whole(rows)} sessions filled in, in ${whole((performance.now() - startedAt) / 1000)} s`);
  return filled;
}

/** Times the operations in turn, one at a time, so that a disturbance affects all of them alike. */
async function timesOf(operations: Operations, { app, filled }: Subjects, count: number): Promise<SizeResult['times']> {
  const times = new Map([...operations.keys()].map((name) => [name, [] as number[]]));
  for (let round = -Math.min(WARM_UP, count); round < count; round++) {
    // A process that polls knows the database's time to a millisecond. Ending the sessions of a user waits for its uncertainty.
    await app.poller.poll();
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
      if (filled.filling.rows >= MIN_PLANNED_ROWS && !found.every(({ byIndex }) => byIndex))
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

/** Statements that read the size of the server's buffer. */
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

/** Returns the size of the whole table. On MariaDB, the table is stored in the index of its primary key. */
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
  const missed = others.filter((name) => growth(name) > MAX_GROWTH);
  for (const name of [most, ...missed]) {
    const what = `median of "${name}" at ${whole(last.size)} sessions, relative to ${whole(first.size)}`;
    sayTarget(what, MAX_GROWTH, growth(name), 'at most');
  }
}

const milliseconds = (value: number) => value.toFixed(2);

function reportBytes(results: readonly SizeResult[]): void {
  const rows = results.map(({ size, bytes }) => [
    whole(size),
    ...[bytes.table + bytes.indexes, bytes.table, bytes.indexes].map((count) => whole(count / size)),
  ]);
  say(table(['sessions', 'bytes per session', 'in the table', 'in its indexes'], rows));
  const [{ buffer }] = results;
  if (buffer !== undefined) say(`The server buffers up to ${buffer} in its own memory, as configured.`);
}

/** Prints one line per operation, or several if the plan changes with the table size. */
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
  const head = ['operation', 'access', ...results.map(({ size }) => `rows of ${whole(size)}`)];
  say(table(head, [...lines.values()]));
}
