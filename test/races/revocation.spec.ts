import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { openProxy, type Proxy } from '../contract/proxy.js';
import { type Cluster, type ClusterProcess, startCluster, type Tokens } from '../helpers/cluster.js';
import { type DatabaseName, selectedDatabases, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { REDIS_URL } from '../helpers/redis.js';
import { waitUntil } from './race.js';

const ENDINGS = 20;
const LANES = 4;
const PROBE_EVERY = 15;
/** What a poll, its answer and a busy machine may take on top of the interval, in milliseconds. */
const TOLERANCE = 500;
const SECOND = 1000;

const POLICIES = { FREE: { refreshTokenLifetime: '1h' } } as const;
const isServer = (name: DatabaseName) => name !== 'sqlite' && name !== 'sqljs';

/** Measures how long each other process accepts the access token after the answer to `destroy`, in milliseconds. */
async function delaysOfOneEnding([one, ...others]: readonly ClusterProcess[]): Promise<number[]> {
  const { access, session_id } = await one.loggedIn('grace', 'FREE');
  for (const other of others) expect((await other.me(access)).status).toBe(200);
  expect((await one.destroy(access, session_id)).status).toBe(200);
  const endedAt = performance.now();
  return Promise.all(
    others.map(async (other) => {
      while ((await other.me(access)).status !== 401) await sleep(PROBE_EVERY);
      return performance.now() - endedAt;
    }),
  );
}

/** Measures the delays of many endings, some of them in parallel. Sorted. */
async function delays(processes: readonly ClusterProcess[]): Promise<number[]> {
  const lane = async (at: number) => {
    // Spreads the endings over the time between two polls.
    await sleep(at * 170);
    const seen: number[] = [];
    for (let ending = 0; ending < ENDINGS / LANES; ending++) seen.push(...(await delaysOfOneEnding(processes)));
    return seen;
  };
  const lanes = await Promise.all(Array.from({ length: LANES }, (_, at) => lane(at)));
  return lanes.flat().sort((a, b) => a - b);
}

const median = (sorted: readonly number[]): number => sorted[Math.floor(sorted.length / 2)];

function report(title: string, sorted: readonly number[]): void {
  const milliseconds = (value: number) => `${Math.round(value)} ms`;
  const [middle, longest] = [median(sorted), sorted[sorted.length - 1]].map(milliseconds);
  process.stdout.write(`${title}: ${sorted.length} delays, median ${middle}, longest ${longest}\n`);
}

onEachDatabase((name) => {
  let cluster: Cluster;
  const proxies: Proxy[] = [];

  const proxied = async (url: string): Promise<{ proxy: Proxy; url: string }> => {
    const proxy = await openProxy({ name, options: { url } } as unknown as TestDatabase);
    proxies.push(proxy);
    return { proxy, url: (proxy.database.options as { url: string }).url };
  };
  const started = async (...given: Parameters<typeof startCluster>) => {
    cluster = await startCluster(...given);
    await cluster.addUsers(['grace']);
  };
  afterAll(async () => {
    for (const proxy of proxies) await proxy.close();
  });

  describe('by poll', () => {
    const MAX_STALENESS = 2000;

    beforeAll(() => {
      const revocation = { pollInterval: '1s', maxStaleness: '2s' } as const;
      return started(name, { revocation, policies: POLICIES }, () => [{}, {}, {}, {}]);
    });
    afterAll(() => cluster?.stop());

    test('an ended session is refused on three other processes within one interval', async () => {
      const seen = await delays(cluster.processes);
      report(`${name}, poll every second`, seen);
      expect(seen).toHaveLength(ENDINGS * 3);
      expect(seen[seen.length - 1]).toBeLessThan(SECOND + TOLERANCE);
    });

    test('a process that was frozen refuses, from its first answer on, exactly the sessions that ended meanwhile', async () => {
      const [one, , , frozen] = cluster.processes;
      const [ended, living] = [await loggedIn(one, 5), await loggedIn(one, 5)];
      for (const { access } of [...ended, ...living]) expect((await frozen.me(access)).status).toBe(200);
      frozen.app.child.kill('SIGSTOP');
      for (const { access, session_id } of ended) expect((await one.destroy(access, session_id)).status).toBe(200);
      // These requests wait for it, and it serves them before any of its polls can be answered.
      const asked = [...ended, ...living].map(({ access }) => frozen.me(access));
      await sleep(MAX_STALENESS + 500);
      frozen.app.child.kill('SIGCONT');
      const answers = await Promise.all(asked);
      expect(answers.map(({ status }) => status)).toEqual([...ended.map(() => 401), ...living.map(() => 200)]);
    });

    test('a process that has just started refuses sessions that ended before its start', async () => {
      const [one] = cluster.processes;
      const [ended] = await loggedIn(one, 1);
      const starting = cluster.start();
      await one.destroy(ended.access, ended.session_id);
      const [living] = await loggedIn(one, 1);
      const fresh = await starting;
      try {
        expect((await fresh.me(ended.access)).status).toBe(401);
        expect((await fresh.me(living.access)).status).toBe(200);
      } finally {
        await fresh.stop();
      }
    });

    if (isServer(name)) {
      test('a process without its database answers from memory, then 503, never 401, and recovers', async () => {
        const [one] = cluster.processes;
        const { proxy, url } = await proxied(urlOf(cluster.dataSource));
        const cutOff = await cluster.start({ DATABASE_URL: url });
        const [ended, living] = await loggedIn(one, 2);
        for (const { access } of [ended, living]) expect((await cutOff.me(access)).status).toBe(200);
        proxy.cut();
        await one.destroy(ended.access, ended.session_id);
        expect((await cutOff.me(living.access)).status).toBe(200);
        await sleep(MAX_STALENESS + 100);
        for (const { access } of [ended, living]) {
          const answer = await fetch(`${cutOff.app.url}/api/me`, { headers: { authorization: `Bearer ${access}` } });
          expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, expect.stringMatching(/^\d+$/)]);
        }
        proxy.mend();
        await waitUntil(async () => (await cutOff.me(living.access)).status === 200);
        expect((await cutOff.me(ended.access)).status).toBe(401);
        await cutOff.stop();
      });
    }

    test('a process that can read rows but cannot poll decides by the rows', async () => {
      const [one, other] = cluster.processes;
      const [ended, living] = await loggedIn(one, 2);
      await cluster.dataSource.query('ALTER TABLE session_blacklist RENAME TO away');
      try {
        await sleep(MAX_STALENESS + 100);
        await cluster.dataSource.query(`DELETE FROM user_session WHERE id = '${ended.session_id}'`);
        expect((await other.me(ended.access)).status).toBe(401);
        expect((await other.me(living.access)).status).toBe(200);
      } finally {
        await cluster.dataSource.query('ALTER TABLE away RENAME TO session_blacklist');
      }
    });
  });

  if (isServer(name)) {
    describe('by push', () => {
      const INTERVAL = 3 * SECOND;
      const SELDOM = { pollInterval: '3s', maxStaleness: '10s' } as const;
      afterEach(() => cluster?.stop());

      const expectAtOnce = async (title: string) => {
        const seen = await delays(cluster.processes);
        report(title, seen);
        expect(seen).toHaveLength(ENDINGS * 3);
        // With polls only, half of all delays would be longer.
        expect(seen[seen.length - 1]).toBeLessThan(INTERVAL / 2);
      };

      if (name === 'postgres') {
        test('PostgreSQL refuses an ended session on three other processes at once', async () => {
          const revocation = { ...SELDOM, push: 'postgres' } as const;
          await started(name, { revocation, policies: POLICIES }, () => [{}, {}, {}, {}]);
          await waitUntilPushed(cluster);
          await expectAtOnce('postgres, LISTEN and NOTIFY');
        });
      }

      // One database is enough, since Redis does not depend on it.
      if (name === selectedDatabases().findLast(isServer)) {
        test('Redis refuses an ended session on three other processes at once; a lost message costs one interval', async () => {
          const way = await proxied(REDIS_URL);
          const others = { REDIS_URL };
          await started(name, { revocation: SELDOM, policies: POLICIES }, () => [
            { REDIS_URL: way.url },
            others,
            others,
            others,
          ]);
          await waitUntilPushed(cluster);
          await expectAtOnce(`${name}, Redis`);

          way.proxy.cut();
          const seen = (await delaysOfOneEnding(cluster.processes)).sort((a, b) => a - b);
          report(`${name}, Redis cut off, poll every three seconds`, seen);
          expect(seen[0]).toBeGreaterThan(0);
          expect(seen[seen.length - 1]).toBeLessThan(INTERVAL + TOLERANCE);
        });
      }
    });
  }
});

/** Waits until all pushes work: they connect in the background. */
async function waitUntilPushed({ processes }: Cluster): Promise<void> {
  await waitUntil(async () => Math.max(...(await delaysOfOneEnding(processes))) < SECOND);
}

async function loggedIn(process: ClusterProcess, count: number): Promise<Tokens[]> {
  return Promise.all(Array.from({ length: count }, () => process.loggedIn('grace', 'FREE')));
}

function urlOf({ options }: DataSource): string {
  return (options as { url: string }).url;
}
