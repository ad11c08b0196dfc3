import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Issued, LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { Tally } from '../helpers/tally.js';
import { until } from '../helpers/until.js';
import { optionsOf, type PostgresPair, startPair } from './postgres-pair.js';
import { openSwitchProxy, type SwitchProxy } from './switch-proxy.js';

const POLL = 200;
const MAX_STALENESS = 2000;
const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: `${POLL}ms`, maxStaleness: `${MAX_STALENESS}ms` },
  policies: {
    // A fail-over loses at most one rotation of each session.
    FREE: { refreshTokenLifetime: '1d', reuseGrace: '5m' },
    CHECKED: { refreshTokenLifetime: '1d', reuseGrace: '5m', accessCheck: 'session' },
  },
};
const TYPES = ['FREE', 'CHECKED'] as const;
/** Clients that refresh and use their access tokens all the time. */
const CLIENTS = 20;

/**
 * Two PostgreSQL servers, with asynchronous replication and an address that moves at a fail-over. The tests are steps of one
 * story.
 */
let pair: PostgresPair;
let proxies: SwitchProxy[];
let processes: LibraryProcess[];
/** Processes of which the address leads to the standby for a while. */
let lagging: LibraryProcess;
let other: LibraryProcess;

beforeAll(async () => {
  pair = await startPair();
  proxies = [await openSwitchProxy(pair.primary.port), await openSwitchProxy(pair.primary.port)];
  processes = [];
  for (const { port } of proxies) {
    const database = optionsOf(port, { poolSize: 5 });
    processes.push(await LibraryProcess.start({ database, options: OPTIONS, migrate: processes.length === 0 }));
  }
  [other, lagging] = processes;
});
afterAll(async () => {
  await Promise.all(processes?.map((process) => process.kill()) ?? []);
  await Promise.all(proxies?.map((proxy) => proxy.close()) ?? []);
  await pair?.remove();
});

const verdictOf = async (process: LibraryProcess, { access }: Issued) =>
  outcomeOf(await process.ask('verify', { access }));
const refreshed = async (process: LibraryProcess, { refresh }: Issued) =>
  outcomeOf(await process.ask('refresh', { refresh: refresh as string }));

test('a standby that lags answers neither yes nor 401: 503, until the address leads to the primary again', async () => {
  const live: Issued[] = [];
  const ended: Issued[] = [];
  for (const type of TYPES) {
    live.push(await other.do('login', { user: 'alice', type }));
    ended.push(await other.do('login', { user: 'bob', type }));
  }
  await pair.primary.caughtUp();
  await pair.standby.query('SELECT pg_wal_replay_pause()');
  const later = await other.do('login', { user: 'carol', type: 'FREE' });
  proxies[1].switchTo(pair.standby.port);
  for (const { refresh } of ended) await other.do('logout', { refresh: refresh as string });
  const endedAt = performance.now();
  const tally = new Tally();
  while (performance.now() - endedAt < 2 * MAX_STALENESS) {
    for (const login of ended) {
      const askedAt = performance.now();
      const outcome = await verdictOf(lagging, login);
      if (askedAt - endedAt > POLL + 1000) tally.add(`ended: ${outcome}`);
    }
    for (const login of live) tally.add(`live: ${await verdictOf(lagging, login)}`);
    // The standby has never heard of this one.
    tally.add(`later: ${await refreshed(lagging, later)}`);
    await sleep(20);
  }
  console.log(`a lagging standby: ${String(tally)}`);
  expect(tally.names.filter((name) => /^ended: (?!503)/.test(name))).toEqual([]);
  expect(tally.names.filter((name) => !/: (200|503 unavailable)$/.test(name))).toEqual([]);
  expect(tally.names).toContain('live: 503 unavailable');

  proxies[1].switchTo(pair.primary.port);
  const mendedAt = performance.now();
  await until(async () => (await verdictOf(lagging, live[0])) === '200', 30_000);
  console.log(`believed the primary again after ${Math.round(performance.now() - mendedAt)} ms`);
  for (const login of live) expect(await verdictOf(lagging, login)).toBe('200');
  for (const login of ended) expect(await verdictOf(lagging, login)).toBe('401 token_not_valid');
  expect(await refreshed(lagging, later)).toBe('200');
  await pair.standby.query('SELECT pg_wal_replay_resume()');
}, 60_000);

test('a fail-over that loses commits: endings hold, nobody else is logged out, and nothing needs a repair', async () => {
  const clients: Issued[] = [];
  for (let at = 0; at < CLIENTS; at++)
    clients.push(await processes[at % 2].do('login', { user: `client ${at}`, type: TYPES[at % 2] }));
  const ended = await other.do('login', { user: 'dave', type: 'FREE' });
  const rotating = await other.do('login', { user: 'erin', type: 'FREE' });
  await pair.primary.caughtUp();
  await pair.standby.cutOff(pair.primary);

  // The standby has neither of these commits.
  await other.do('logout', { refresh: ended.refresh as string });
  const rotated = await other.do('refresh', { refresh: rotating.refresh as string });
  await until(async () => (await verdictOf(lagging, ended)) === '401 token_not_valid');

  let isOver = false;
  const tally = new Tally();
  const recovered = new Map<number, number>();
  const behaving = clients.map(async (first, at) => {
    let held = first;
    while (!isOver) {
      const process = processes[at % 2];
      const answer = await process.ask('refresh', { refresh: held.refresh as string });
      tally.add(`refresh: ${outcomeOf(answer)}`);
      if (answer.status === 200) held = { ...held, ...(answer.body as Issued) };
      tally.add(`verify: ${await verdictOf(process, held)}`);
      if (answer.status === 200 && !recovered.has(at)) recovered.set(at, performance.now());
      await sleep(25);
    }
    return held;
  });
  await until(() => recovered.size === CLIENTS);
  await pair.primary.kill();
  await pair.standby.promote();
  recovered.clear();
  const promotedAt = performance.now();
  for (const proxy of proxies) proxy.switchTo(pair.standby.port);

  for (const process of processes)
    expect(await refreshed(process, ended)).toMatch(/^(401 session_not_found|503 unavailable)$/);
  await until(() => recovered.size === CLIENTS || tally.names.some((name) => name.includes('401')));
  const took = Math.max(...recovered.values()) - promotedAt;
  const count = async (sql: string) => Number((await pair.standby.query<[{ n: string }]>(sql))[0].n);
  await until(async () => (await count(`SELECT count(*) AS n FROM user_session WHERE user_id = 'dave'`)) === 0);
  isOver = true;
  const held = await Promise.all(behaving);
  console.log(`a fail-over, recovered after ${Math.round(took)} ms: ${String(tally)}`);

  expect(tally.names.filter((name) => !/: (200|503 unavailable)$/.test(name))).toEqual([]);
  for (const process of processes) {
    expect(await refreshed(process, ended)).toBe('401 session_not_found');
    expect(await verdictOf(process, ended)).toBe('401 token_not_valid');
  }
  expect(await count(`SELECT count(*) AS n FROM session_blacklist WHERE session_id = '${ended.sessionId}'`)).toBe(1);
  expect(await refreshed(lagging, rotated)).toBe('200');
  for (const login of held) expect(await verdictOf(other, login)).toBe('200');
  // A process that starts now knows only the table.
  const database = optionsOf(proxies[0].port, { poolSize: 2 });
  processes.push(await LibraryProcess.start({ database, options: OPTIONS }));
  expect(await verdictOf(processes[2], ended)).toBe('401 token_not_valid');
}, 120_000);
