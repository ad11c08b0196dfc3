import 'reflect-metadata';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type RevocationPush, SessionService, UnavailableError } from 'nestjs-multisession';
import { redisPush } from 'nestjs-multisession/redis';
import { createClient } from 'redis';
import { newFolder, optionsOf, PostgresServer } from '../test/clusters/postgres-pair.js';
import { newChannel, REDIS_URL } from '../test/helpers/redis.js';
import { until } from '../test/helpers/until.js';
import { Child } from './child.js';
import type { Heard, ListenersQuestion } from './fan-out-listeners.js';
import { wholeNumber } from './options.js';
import { percentile, say, sayTitle, table, writeReport } from './report.js';
import { serverTime } from './server-time.js';
import { multiSessionImports } from './session-app.js';

const POOL = 10;
/** How long the last listener may take to hear of the last ending, in milliseconds. */
const LIMIT = 60_000;

const { values } = parseArgs({
  options: {
    listeners: { type: 'string', default: '1,10,100,1000' },
    rate: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '20' },
  },
});
const options = {
  /** How many connections listen. Each stands for a process, and one more belongs to the process that ends the sessions. */
  listeners: values.listeners.split(',').map((count) => wholeNumber('listeners', count, 1)),
  rate: wholeNumber('rate', values.rate, 1),
  seconds: wholeNumber('seconds', values.seconds, 1),
};

/** A server that passes on which sessions have ended. */
interface Broker {
  readonly push: RevocationPush | 'postgres';
  readonly url: string;
  /** The channel of the library's messages. */
  readonly channel: () => Promise<string>;
  /** CPU time that the server has used, in milliseconds. */
  readonly serverTime: () => Promise<number>;
}

/** Measures how long an ending takes, and when the last listener hears of it, for growing numbers of listeners. */
async function measure(database: PostgresServer, broker: Broker): Promise<void> {
  @Module({
    imports: multiSessionImports(
      optionsOf(database.port, { poolSize: POOL }),
      {},
      { revocation: { push: broker.push } },
    ),
  })
  class AppModule {}
  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error', 'warn'] });
  const sessions = app.get(SessionService);
  const listeners = await Child.start<ListenersQuestion, Heard>('fan-out-listeners', [
    JSON.stringify([broker.url, await broker.channel()]),
  ]);
  const rows: string[][] = [];
  for (const open of options.listeners) {
    const ids: string[] = [];
    for (let at = 0; at < options.rate * options.seconds; at++)
      ids.push((await sessions.create(`user ${at}`, { type: 'LONG' })).session.id);
    await listeners.ask({ open });
    const before = await broker.serverTime();
    const endings = await endAtPace(sessions, ids);
    let last: ReadonlyMap<string, number> = new Map();
    const all = async () => {
      last = new Map(await listeners.ask({ heardBy: open }));
      return endings.every(({ id }) => last.has(id));
    };
    await until(all, LIMIT);
    const spent = ((await broker.serverTime()) - before) / ids.length;
    const took = endings.map(({ begun, ended }) => ended - begun);
    const delays = endings.map(({ id, begun }) => (last.get(id) as number) - begun);
    const cells = [percentile(took, 50), percentile(took, 99), percentile(delays, 50), percentile(delays, 99), spent];
    rows.push([String(open), ...cells.map((value) => value.toFixed(1)), String(ids.length - endings.length)]);
  }
  await listeners.stop();
  await app.close();
  const head = ['listeners', 'ending, median ms', 'p99', 'last heard, median ms', 'p99', 'server CPU, ms', 'got 503'];
  say(table(head, rows));
}

/** In milliseconds since 1970. */
interface Ending {
  readonly id: string;
  readonly begun: number;
  readonly ended: number;
}

/** Ends sessions at a fixed pace, however long each of them takes. Returns those that did not get 503. */
async function endAtPace(sessions: SessionService, ids: readonly string[]): Promise<Ending[]> {
  const now = () => performance.timeOrigin + performance.now();
  const start = performance.now();
  const running: Promise<Ending[]>[] = [];
  const end = async (id: string) => {
    const begun = now();
    try {
      await sessions.destroy(id);
      return [{ id, begun, ended: now() }];
    } catch (error) {
      if (error instanceof UnavailableError) return [];
      throw error;
    }
  };
  for (const [at, id] of ids.entries()) {
    const early = start + (at * 1000) / options.rate - performance.now();
    if (early > 0) await sleep(early);
    running.push(end(id));
  }
  return (await Promise.all(running)).flat();
}

/** The time of a Redis server, in milliseconds. */
async function redisTime(client: ReturnType<typeof createClient>): Promise<number> {
  const info = await client.info('cpu');
  const of = (name: string) => Number(new RegExp(`${name}:([\\d.]+)`).exec(info)?.[1]);
  return (of('used_cpu_user') + of('used_cpu_sys')) * 1000;
}

const folder = await newFolder();
const settings = [`max_connections = ${Math.max(...options.listeners) + POOL + 20}`, 'fsync = on'];
const database = await PostgresServer.primary(folder, settings);
const redis = createClient({ url: REDIS_URL });
try {
  sayTitle(`NOTIFY of PostgreSQL, ${options.rate} endings a second`);
  await measure(database, {
    push: 'postgres',
    url: database.options.url,
    channel: async () => {
      const sql = `SELECT substr(query, 8) AS channel FROM pg_stat_activity WHERE query LIKE 'LISTEN %'`;
      let found: { channel: string }[] = [];
      await until(async () => (found = await database.query<typeof found>(sql)).length > 0, LIMIT);
      return found[0].channel;
    },
    serverTime: () => Promise.resolve(serverTime('postgres') / 1000),
  });
  await redis.connect();
  const channel = newChannel();
  sayTitle(`Redis, ${options.rate} endings a second`);
  await measure(database, {
    push: redisPush({ url: REDIS_URL, channel }),
    url: REDIS_URL,
    channel: () => Promise.resolve(channel),
    serverTime: () => redisTime(redis as ReturnType<typeof createClient>),
  });
} finally {
  redis.destroy();
  await database.kill();
  rmSync(folder, { recursive: true, force: true });
}
writeReport('fan-out', options);
