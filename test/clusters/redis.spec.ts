import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { newChannel } from '../helpers/redis.js';
import { LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { until } from '../helpers/until.js';
import { type RedisServer, type RedisServers, startRedisCluster, startSentinels } from './redis-cluster.js';

/** The processes poll so rarely that only the push can tell them of an ending. */
const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: '1h', maxStaleness: '2h' },
  policies: { FREE: { refreshTokenLifetime: '1d' } },
};
const PATIENCE = 60_000;

describe.each([
  ['sentinel', startSentinels],
  ['cluster', startRedisCluster],
] as const)('a push over Redis with a %s', (kind, startServers) => {
  let redis: RedisServers;
  let begunAt: number;
  const processes: LibraryProcess[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'redis-push-'));
  /** What fails is mended after each test. */
  const failed: RedisServer[] = [];

  beforeAll(async () => {
    redis = await startServers();
    begunAt = performance.now();
    const channel = newChannel();
    const database = { type: 'better-sqlite3' as const, database: join(folder, 'test.sqlite') };
    for (const migrate of [true, false]) {
      const { ports, name } = redis;
      processes.push(
        await LibraryProcess.start({ database, options: OPTIONS, migrate, redis: { kind, ports, name, channel } }),
      );
    }
  });
  afterEach(() => failed.splice(0).forEach((server) => server.thaw()));
  afterAll(async () => {
    await Promise.all(processes.map((process) => process.kill()));
    await redis?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Whether an ending on one process is refused by the other one, without a poll. */
  async function isPushed(from: LibraryProcess, to: LibraryProcess): Promise<boolean> {
    const { access, sessionId } = await from.do('login', { user: 'alice', type: 'FREE' });
    expect(outcomeOf(await to.ask('verify', { access }))).toBe('200');
    await from.do('destroy', { sessionId });
    const isRefused = async () => outcomeOf(await to.ask('verify', { access })) === '401 token_not_valid';
    return await until(isRefused, 1000).then(
      () => true,
      () => false,
    );
  }

  /** Waits until pushes arrive in both directions, several times in a row. */
  async function expectPushes(since: string): Promise<void> {
    const startedAt = performance.now();
    let times = 0;
    const both = async () =>
      (await isPushed(processes[0], processes[1])) && (await isPushed(processes[1], processes[0]));
    await until(async () => (times = (await both()) ? times + 1 : 0) === 5, PATIENCE);
    console.log(`${kind}: pushes arrive ${Math.round(performance.now() - startedAt)} ms after ${since}`);
  }

  test('an ending is known to the other process', async () => {
    await expectPushes('the start');
  });

  test('after the master was killed, and after it came back as a replica', async () => {
    const master = await redis.master();
    await master.kill();
    await redis.replaced(master);
    await expectPushes('a killed master was replaced');
    await master.start();
    await redis.complete();
    await expectPushes('the killed server came back');
  });

  test('after the master froze, and after it thawed', async () => {
    const master = await redis.master();
    // A machine that freezes often has a sentinel too: here, the one that the clients ask first.
    failed.push(master, ...(redis.sentinels?.slice(0, 1) ?? []));
    for (const server of failed) server.freeze();
    // Meanwhile, no login and no ending waits.
    await isPushed(processes[0], processes[1]);
    await redis.replaced(master);
    await expectPushes('a frozen master was replaced');
    for (const server of failed) server.thaw();
    await redis.complete();
    await expectPushes('the frozen server thawed');
    // One for each failure, and more if the machine is so slow that Redis seems to be: not one for each check or node.
    const most = 3 + (performance.now() - begunAt) / 10_000;
    for (const { warned } of processes) {
      const warnings = warned.split('Redis failed').length - 1;
      console.log(`${kind}: ${warnings} warnings`);
      expect(warnings).toBeGreaterThan(0);
      expect(warnings).toBeLessThanOrEqual(most);
    }
  });
});
