import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { DataSourceOptions } from 'typeorm';
import { type Issued, LibraryProcess } from '../helpers/library-process.js';
import { Tally } from '../helpers/tally.js';
import { until } from '../helpers/until.js';
import { type GaleraCluster, type GaleraNode, startGalera } from './galera.js';
import { openSwitchProxy, type SwitchProxy } from './switch-proxy.js';
import { expectTold, refreshed, TYPES, verdictOf, visited } from './visitors.js';

const MAX_STALENESS = 2000;
const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: '200ms', maxStaleness: `${MAX_STALENESS}ms` },
  policies: {
    FREE: { refreshTokenLifetime: '1d' },
    CHECKED: { refreshTokenLifetime: '1d', accessCheck: 'session' },
  },
};

/** Three nodes. One process uses the first node, the other the last one, which loses the rest of the cluster. */
let galera: GaleraCluster;
let lost: GaleraNode;
let proxies: SwitchProxy[];
let processes: LibraryProcess[];
let staying: LibraryProcess;
let affected: LibraryProcess;

const portOf = ({ options }: GaleraNode) => Number(new URL(options.url).port);

beforeAll(async () => {
  galera = await startGalera();
  lost = galera.nodes[2];
  proxies = [];
  processes = [];
  for (const node of [galera.nodes[0], lost]) {
    const proxy = await openSwitchProxy(portOf(node));
    proxies.push(proxy);
    const url = node.options.url.replace(/:\d+\//, `:${proxy.port}/`);
    const database = { ...node.options, url, poolSize: 12 } as DataSourceOptions;
    processes.push(await LibraryProcess.start({ database, options: OPTIONS, migrate: processes.length === 0 }));
  }
  [staying, affected] = processes;
});
afterAll(async () => {
  await Promise.all(processes?.map((process) => process.kill()) ?? []);
  await Promise.all(proxies?.map((proxy) => proxy.close()) ?? []);
  await galera?.remove();
});

/** Asks until the answer is 200. The rest of the cluster takes some seconds to go on without a node. */
const insist = (ask: () => Promise<string>) => until(async () => (await ask()) === '200');

/**
 * Cuts the node off. Sessions that end meanwhile on the other nodes are refused by the affected process, or answered 503.
 * @returns sessions that have ended on the other nodes
 */
async function cutOff(): Promise<Issued[]> {
  const leaving: Issued[] = [];
  for (const type of TYPES) leaving.push(await affected.do('login', { user: 'leaving', type }));
  const refreshing = await staying.do('login', { user: 'refreshing', type: 'FREE' });
  await lost.cutOff();
  await insist(() => refreshed(staying, refreshing));
  for (const { refresh } of leaving) await staying.do('logout', { refresh: refresh as string });
  const endedAt = performance.now();

  const tally = new Tally();
  while (performance.now() - endedAt < 2 * MAX_STALENESS) {
    const isKnown = performance.now() - endedAt > MAX_STALENESS;
    for (const session of leaving)
      tally.add(`${isKnown ? 'later' : 'at first'}: ${await verdictOf(affected, session)}`);
    await sleep(20);
  }
  console.log(`without its cluster: ${String(tally)}`);
  // It has lost the cluster for seconds, so the process has noticed, and no longer goes by what it remembers.
  tally.expect({ 'at first: 200': false, 'at first: 503 unavailable': false, 'later: 503 unavailable': true });
  expect(await refreshed(affected, leaving[0])).toBe('503 unavailable');
  return leaving;
}

test('a node that is cut off answers 503, and needs no repair when it finds the others again', async () => {
  let leaving: Issued[] = [];
  const told = await visited(processes, async (visitors, isEach) => {
    const before = visitors.map(({ unavailable }) => unavailable);
    leaving = await cutOff();
    await isEach((visitor) => visitor.process === staying || visitor.unavailable > before[visitors.indexOf(visitor)]);
    // The rest of the cluster goes on.
    const visits = visitors.map((visitor) => visitor.visits);
    await isEach((visitor) => visitor.process === affected || visitor.visits > visits[visitors.indexOf(visitor)]);
    await lost.rejoin();
    const rejoinedAt = performance.now();
    await insist(() => affected.ask('login', { user: 'first', type: 'FREE' }).then(({ status }) => String(status)));
    console.log(`works again ${Math.round(performance.now() - rejoinedAt)} ms after the node`);
  });
  for (const process of processes) await expectTold(process, { ...told, ended: [...told.ended, ...leaving] });
  for (const session of told.live) expect(await refreshed(affected, session)).toBe('200');
}, 150_000);

test('a process whose address moves to another node goes on there', async () => {
  let leaving: Issued[] = [];
  const told = await visited(processes, async () => {
    leaving = await cutOff();
    proxies[1].switchTo(portOf(galera.nodes[1]));
    const movedAt = performance.now();
    await insist(() => affected.ask('login', { user: 'second', type: 'FREE' }).then(({ status }) => String(status)));
    console.log(`works again ${Math.round(performance.now() - movedAt)} ms after the address has moved`);
  });
  for (const process of processes) await expectTold(process, { ...told, ended: [...told.ended, ...leaving] });
  await lost.rejoin();
  proxies[1].switchTo(portOf(lost));
  await insist(() => refreshed(affected, told.live[0]));
  for (const process of processes) await expectTold(process, { ...told, ended: [...told.ended, ...leaving] });
}, 150_000);

test('no process logged an error of its own', () => {
  const own = processes.map(({ printed }) => printed.split('\n').filter((line) => !/the database failed/.test(line)));
  expect(own.flat().filter((line) => line !== '')).toEqual([]);
});
