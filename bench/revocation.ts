import { randomBytes } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { DataSource } from 'typeorm';
import { Database } from '../lib/database/database.js';
import { BlacklistEntity } from '../lib/revocation/blacklist.entity.js';
import { Blacklist } from '../lib/revocation/blacklist.js';
import { Clock } from '../lib/session/clock.js';

/** What a million ended sessions take: memory of the process, time to load on PostgreSQL. `node --expose-gc` */
const ENTRIES = Number(process.argv[2] ?? 1_000_000);
const SERVER = process.env.TEST_POSTGRES_URL ?? 'postgres://postgres@127.0.0.1:5432/test';
const MEGABYTE = 1024 * 1024;

interface Measured {
  readonly heap: number;
  readonly rss: number;
}

function memory(): Measured {
  if (!globalThis.gc) throw new Error('run it with node --expose-gc');
  for (let i = 0; i < 3; i++) globalThis.gc();
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: heapUsed / MEGABYTE, rss: rss / MEGABYTE };
}

async function timed(title: string, work: () => Promise<unknown>): Promise<void> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startedAt = performance.now();
  await work();
  const took = performance.now() - startedAt;
  delay.disable();
  console.log(
    `${title}: ${(took / 1000).toFixed(2)} s; the event loop stood still for ${Math.round(delay.max / 1e6)} ms at most`,
  );
}

async function fill(dataSource: DataSource): Promise<void> {
  await dataSource.query(
    `INSERT INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
     SELECT id, 'session', id, 'user ' || at, 'logout', now_ms - 60000, now_ms + 3600000
     FROM (SELECT gen_random_uuid()::text AS id, at, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
           FROM generate_series(1, $1::int) AS at) AS entries`,
    [ENTRIES],
  );
  await dataSource.query('ANALYZE session_blacklist');
}

async function measure(dataSource: DataSource): Promise<void> {
  const config = { pollInterval: 1000, overlap: 30_000, maxStaleness: 10_000, maxEntries: ENTRIES };
  const blacklist = new Blacklist(new Database(dataSource), config, new Clock());
  const before = memory();
  await timed('the first load', () => blacklist.poll());
  const after = memory();
  if (blacklist.size !== ENTRIES || !blacklist.isFresh()) throw new Error(`loaded ${blacklist.size}`);
  await timed('a poll that finds nothing', () => blacklist.poll());
  for (let poll = 2; poll < 60; poll++) await blacklist.poll();
  await timed('a poll that is a part of a full load', () => blacklist.poll());
  const show = ({ heap, rss }: Measured) => `heap ${heap.toFixed(1)} MB, RSS ${rss.toFixed(1)} MB`;
  console.log(`${ENTRIES} entries. Before: ${show(before)}. After: ${show(after)}`);
  console.log(`bytes an entry: ${Math.round(((after.heap - before.heap) * MEGABYTE) / ENTRIES)} of heap`);
  console.log(`the most that the process has had: RSS ${Math.round(process.resourceUsage().maxRSS / 1024)} MB`);
  await blacklist.stop();
}

const name = `ms_bench_${randomBytes(6).toString('hex')}`;
const server = await new DataSource({ type: 'postgres', url: SERVER }).initialize();
await server.query(`CREATE DATABASE ${name}`);
try {
  const url = SERVER.replace(/\/[^/]*$/, `/${name}`);
  const dataSource = await new DataSource({
    type: 'postgres',
    url,
    entities: [BlacklistEntity],
    synchronize: true,
  }).initialize();
  try {
    await fill(dataSource);
    await measure(dataSource);
  } finally {
    await dataSource.destroy();
  }
} finally {
  await server.query(`DROP DATABASE ${name} WITH (FORCE)`);
  await server.destroy();
}
