import { parseArgs } from 'node:util';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { FilledSessions, settle } from '../test/helpers/fill.js';
import { StatementLog } from '../test/helpers/statement-log.js';
import { type BenchEngine, startEngine } from './engine.js';
import { FilledTokens, inOwnDatabase } from './growth-app.js';
import { wholeNumber } from './options.js';
import { percent, say, sayTarget, sayTitle, table, whole, writeReport } from './report.js';

/** The targets for `extendSession: 'every-refresh'`. */
const MIN_HOT = 0.95;
const MAX_WAL_BYTES = 450;
const MAX_INDEX_GROWTH = 1.2;
const CLIENTS = 16;
/** Refreshes between two looks at the log. The server removes old parts of it. */
const ROUND = 5000;
/** How many sessions begin and end. */
const LOGINS = 20_000;
/** The distance between two refreshed sessions: a prime, so that it has no common factor with the number of sessions. */
const STEP = 611_953;

const { values } = parseArgs({
  options: { sessions: { type: 'string', default: '100000' }, refreshes: { type: 'string', default: '100000' } },
});
const options = {
  sessions: wholeNumber('sessions', values.sessions, 1000),
  refreshes: wholeNumber('refreshes', values.refreshes, 1000),
};

async function measure(database: DataSourceOptions): Promise<void> {
  const policy = { refreshTokenLifetime: '31d', extendSession: 'every-refresh', reuseGrace: 0 } as const;
  const app = await startEngine(database, new StatementLog(), { policies: { LONG: policy, SHORT: policy } });
  try {
    const tokens = new FilledTokens();
    const filled = new FilledSessions(app.dataSource, { rows: options.sessions, kid: tokens.kid });
    await filled.fill();
    await settle(app.dataSource);
    await app.dataSource.query('CREATE EXTENSION pg_walinspect');
    await app.dataSource.query('CHECKPOINT');
    const before = await countersOf(app.dataSource);
    const refreshes = new Refreshes(app, filled, tokens);
    const wal = await walOf(app.dataSource, options.refreshes, (count) => refreshes.run(count));
    let after = await countersOf(app.dataSource);
    // An idle connection reports its last counts after ten seconds.
    for (let tries = 0; tries < 10 && after.updates - before.updates < options.refreshes; tries++)
      after = await countersOf(app.dataSource);
    report(before, after, wal);
    await measureLoginsAndEndings(app);
  } finally {
    await app.close();
  }
}

/** Measures what one login and one logout write, and the size of an entry. Each user logs in once. */
async function measureLoginsAndEndings({ sessions, dataSource }: BenchEngine): Promise<void> {
  const tokens: string[] = [];
  let users = 0;
  const logins = await walOf(dataSource, LOGINS, (count) =>
    inParallel(count, async () => {
      const { refresh } = await sessions.create(`login ${users++}`, { type: 'LONG' });
      tokens.push(refresh);
    }),
  );
  const endings = await walOf(dataSource, LOGINS, (count) =>
    inParallel(count, async () => sessions.logout(tokens.pop() as string)),
  );
  await settle(dataSource);
  const [{ size }] = await dataSource.query<[{ size: string }]>(
    "SELECT pg_total_relation_size('session_blacklist') AS size",
  );
  const rows = Object.entries({ login: logins, logout: endings }).map(([name, { bytes, pageImages }]) => [
    name,
    whole((bytes - pageImages) / LOGINS),
    whole(pageImages / LOGINS),
  ]);
  say(table(['operation', 'WAL bytes each', 'page images each'], rows));
  say(`bytes per entry of an ended session, with indexes: ${whole(Number(size) / LOGINS)}`);
}

/** Runs `work` in rounds, and returns what it wrote to the log. */
async function walOf(dataSource: DataSource, total: number, work: (count: number) => Promise<void>): Promise<Wal> {
  const wal = { bytes: 0, pageImages: 0 };
  for (let left = total; left > 0; left -= ROUND) {
    const from = await positionOf(dataSource);
    await work(Math.min(ROUND, left));
    const { bytes, pageImages } = await walBetween(dataSource, from, await positionOf(dataSource));
    wal.bytes += bytes;
    wal.pageImages += pageImages;
  }
  return wal;
}

/** Calls `work` `count` times, from all clients. */
async function inParallel(count: number, work: () => Promise<unknown>): Promise<void> {
  let left = count;
  const client = async () => {
    while (left-- > 0) await work();
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}

/** Refreshes sessions all over the table, with the newest token of each. */
class Refreshes {
  private readonly newest = new Map<number, string>();
  private refreshed = 0;

  constructor(
    private readonly app: BenchEngine,
    private readonly filled: FilledSessions,
    private readonly tokens: FilledTokens,
  ) {}

  run(count: number): Promise<void> {
    return inParallel(count, () => this.refresh((this.refreshed++ * STEP) % options.sessions));
  }

  private async refresh(number: number): Promise<void> {
    const presented = this.newest.get(number) ?? this.tokens.refresh(this.filled.session(number));
    const { refresh } = await this.app.sessions.refresh(presented);
    if (refresh === undefined || refresh === presented) throw new Error('the refresh did not rotate the token');
    this.newest.set(number, refresh);
  }
}

interface Counters {
  readonly updates: number;
  readonly hot: number;
  readonly tableBytes: number;
  readonly indexBytes: number;
}

async function countersOf(dataSource: DataSource): Promise<Counters> {
  // Each connection reports its counts with a delay of a second.
  await dataSource.query('SELECT pg_sleep(2)');
  const [row] = await dataSource.query<[Record<keyof Counters, string>]>(`
    SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot, pg_table_size(relid) AS "tableBytes",
      pg_indexes_size(relid) AS "indexBytes"
    FROM pg_stat_user_tables WHERE relname = 'user_session'`);
  return {
    updates: Number(row.updates),
    hot: Number(row.hot),
    tableBytes: Number(row.tableBytes),
    indexBytes: Number(row.indexBytes),
  };
}

/** Returns the end of the write-ahead log. */
async function positionOf(dataSource: DataSource): Promise<string> {
  const [{ position }] = await dataSource.query<[{ position: string }]>(
    'SELECT pg_current_wal_flush_lsn() AS position',
  );
  return position;
}

interface Wal {
  readonly bytes: number;
  /** The part for images of whole pages: one for each page that is changed for the first time after a checkpoint. */
  readonly pageImages: number;
}

/** Returns what the transactions of this database wrote to the log, which it shares with others. */
async function walBetween(dataSource: DataSource, from: string, until: string): Promise<Wal> {
  const [row] = await dataSource.query<[Record<keyof Wal, string>]>(
    `WITH records AS MATERIALIZED (
        SELECT xid, record_length, fpi_length, COALESCE(block_ref LIKE '%/' || oid || '/%', false) AS is_own
        FROM pg_get_wal_records_info($1, $2), pg_database WHERE datname = current_database()
      ), own AS (SELECT DISTINCT xid FROM records WHERE is_own AND xid <> '0')
     SELECT sum(record_length) AS bytes, sum(fpi_length) AS "pageImages" FROM records
     WHERE is_own OR xid IN (SELECT xid FROM own)`,
    [from, until],
  );
  return { bytes: Number(row.bytes), pageImages: Number(row.pageImages) };
}

function report(before: Counters, after: Counters, wal: Wal): void {
  const updates = after.updates - before.updates;
  if (updates !== options.refreshes) throw new Error(`${updates} updates, expected ${options.refreshes}`);
  const hot = (after.hot - before.hot) / updates;
  const walBytes = (wal.bytes - wal.pageImages) / updates;
  const indexGrowth = after.indexBytes / before.indexBytes;
  const row = [
    whole(updates),
    percent(hot),
    whole(walBytes),
    whole(wal.pageImages / updates),
    (after.tableBytes / before.tableBytes).toFixed(2),
    indexGrowth.toFixed(2),
  ];
  const head = ['refreshes', 'HOT', 'WAL bytes each', 'page images each', 'growth of the table', 'of the indexes'];
  say(table(head, [row]));
  sayTarget('part of the refreshes that touch no index', MIN_HOT, hot);
  sayTarget('bytes of WAL per refresh, without page images', MAX_WAL_BYTES, walBytes, 'at most');
  sayTarget('growth of the indexes', MAX_INDEX_GROWTH, indexGrowth, 'at most');
}

sayTitle('What a refresh writes on PostgreSQL, if each refresh rotates and extends');
await inOwnDatabase('postgres', measure);
writeReport('writes', options);
