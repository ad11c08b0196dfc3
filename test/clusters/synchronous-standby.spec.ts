import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Issued, LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { Tally } from '../helpers/tally.js';
import { until } from '../helpers/until.js';
import { optionsOf, type PostgresPair, startPair } from './postgres-pair.js';
import { openSwitchProxy, type SwitchProxy } from './switch-proxy.js';
import { ANSWER_LIMIT, expectTold, refreshed, TYPES, verdictOf, visited } from './visitors.js';

const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: '200ms', maxStaleness: '10s' },
  policies: {
    FREE: { refreshTokenLifetime: '1d' },
    CHECKED: { refreshTokenLifetime: '1d', accessCheck: 'session' },
  },
};
/** Of each process that the visitors use. Fewer connections than clients whose writes hang. */
const POOL = 5;

/** A primary whose commits wait for the standby. The tests are steps of one story. */
let pair: PostgresPair;
let proxy: SwitchProxy;
/** Two with visitors, and one whose pool has connections left. */
let processes: LibraryProcess[];
let quiet: LibraryProcess;

const startProcess = (poolSize: number, migrate = false) =>
  LibraryProcess.start({ database: optionsOf(proxy.port, { poolSize }), options: OPTIONS, migrate });

beforeAll(async () => {
  pair = await startPair();
  await pair.primary.followSynchronously();
  proxy = await openSwitchProxy(pair.primary.port);
  processes = [];
  for (const poolSize of [POOL, POOL, 3 * POOL]) processes.push(await startProcess(poolSize, processes.length === 0));
  quiet = processes[2];
});
afterAll(async () => {
  await Promise.all(processes?.map((process) => process.kill()) ?? []);
  await proxy?.close();
  await pair?.remove();
});

test('a frozen standby: writes are answered 503, guarded requests go on, and thawing it mends everything', async () => {
  const looking: Issued[] = [];
  for (const type of TYPES) looking.push(await quiet.do('login', { user: 'alice', type }));
  const refreshing = await quiet.do('login', { user: 'bob', type: 'FREE' });
  const leaving = await quiet.do('login', { user: 'carol', type: 'FREE' });

  const guarded = new Tally();
  const told = await visited(processes, async (visitors, isEach) => {
    await pair.standby.freeze();
    const before = visitors.map(({ unavailable }) => unavailable);
    await until(async () => (await pair.primary.waitingCommits()) >= POOL);
    const askedAt = performance.now();
    const waits: number[] = [];
    const writes = [
      quiet.ask('login', { user: 'dave', type: 'FREE' }),
      quiet.ask('refresh', { refresh: refreshing.refresh as string }),
      quiet.ask('logout', { refresh: leaving.refresh as string }),
    ].map(async (answer) => {
      const outcome = outcomeOf(await answer);
      waits.push(performance.now() - askedAt);
      return outcome;
    });
    let isOver = false;
    const look = async (process: LibraryProcess, at: number) => {
      while (!isOver) {
        const begunAt = performance.now();
        const outcome = await verdictOf(process, looking[at]);
        waits.push(performance.now() - begunAt);
        guarded.add(`${process === quiet ? 'free pool' : 'full pool'}, ${TYPES[at]}: ${outcome}`);
        await sleep(50);
      }
    };
    const watching = processes.flatMap((process) => looking.map((_, at) => look(process, at)));
    expect(await Promise.all(writes)).toEqual(Array(3).fill('503 unavailable'));
    await isEach((visitor) => visitor.unavailable > before[visitors.indexOf(visitor)]);
    isOver = true;
    await Promise.all(watching);
    console.log(
      `${Math.round(Math.max(...waits))} ms at most, ${await pair.primary.waitingCommits()} commits wait: ${String(guarded)}`,
    );
    for (const wait of waits) expect(wait).toBeLessThan(ANSWER_LIMIT);
    guarded.expect({
      'free pool, FREE: 200': true,
      'free pool, CHECKED: 200': true,
      'full pool, FREE: 200': true,
      'full pool, CHECKED: 200': false,
      'full pool, CHECKED: 503 unavailable': false,
    });
    await pair.standby.thaw();
  });

  // What was not answered took place: a login, a rotation and a logout.
  expect(await quiet.do('list', { user: 'dave' })).toHaveLength(1);
  expect(await refreshed(quiet, refreshing)).toBe('200');
  await until(async () => (await verdictOf(quiet, leaving)) === '401 token_not_valid');
  for (const process of processes) {
    expect(await refreshed(process, leaving)).toBe('401 session_not_found');
    await expectTold(process, { ...told, live: [...told.live, ...looking] });
  }
  for (const session of told.live) expect(await refreshed(quiet, session)).toBe('200');
}, 150_000);

test('a fail-over to the synchronous standby loses nothing that was answered', async () => {
  for (const process of processes) await process.do('takeEvents', {});
  const told = await visited(processes, async () => {
    // The standby does not get these commits any more, so none of them may be answered.
    await pair.standby.cutOff(pair.primary);
    await until(async () => (await pair.primary.waitingCommits()) >= POOL);
    await pair.primary.killAll();
    await pair.standby.promote();
    proxy.switchTo(pair.standby.port);
  });
  // This one remembers nothing.
  processes.push(await startProcess(POOL));
  for (const process of processes) await expectTold(process, told);
  for (const session of told.live) expect(await refreshed(processes[3], session)).toBe('200');

  const events = (await Promise.all(processes.map((process) => process.do('takeEvents', {})))).flat();
  const repairs = events.filter(({ name, reason }) => /reused|recovered/.test(name) || reason === 'failover');
  expect(repairs).toEqual([]);
}, 120_000);
