import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Job } from '../../lib/database/job.js';
import { SessionJobEntity } from '../../lib/database/job.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { isEmbedded, startProcesses, type TestProcess } from './process.js';

const HOUR = 3_600_000;

onEachDatabase((name) => {
  let database: TestDatabase;
  let processes: TestProcess[];

  beforeEach(async () => {
    database = await createDatabase(name);
    processes = await startProcesses(database, 3);
  });
  afterEach(async () => {
    for (const process of processes.reverse()) await process.close();
    await database.drop();
  });

  const jobs = (lease = HOUR) => processes.map((process) => new Job(process.database, 'test', lease));
  const rowOf = () => processes[0].dataSource.manager.findOneByOrFail(SessionJobEntity, { name: 'test' });
  const done = () => Promise.resolve('done');

  test('is done by one process, until it releases its turn', async () => {
    const [one, two, three] = jobs();
    expect(await one.run(done)).toBe('done');
    expect(await two.run(done)).toBeUndefined();
    expect(await one.run(done)).toBe('done');
    await two.release();
    expect(await three.run(done)).toBeUndefined();
    await one.release();
    expect(await two.run(done)).toBe('done');
    expect(await one.run(done)).toBeUndefined();
  });

  test('is done by one of many processes that begin together', async () => {
    for (let round = 0; round < 5; round++) {
      const all = jobs();
      const results = await Promise.all(all.map((job) => job.run(done)));
      expect(results.filter((result) => result === 'done')).toHaveLength(1);
      for (const job of all) await job.release();
    }
  });

  test("passes to another process when a lease has passed, by the database's time", async () => {
    const [one, two] = jobs(300);
    await one.run(done);
    expect(await two.run(done)).toBeUndefined();
    const { until } = await rowOf();
    while (processes[0].clock.now() <= until.getTime() + 20) await sleep(20);
    expect(await two.run(done)).toBe('done');
    // The first one was frozen meanwhile.
    let works = 0;
    const frozen = await one.run(() => Promise.resolve(++works));
    expect([frozen, works]).toEqual([undefined, 0]);
  });

  test('waits for the disk, unless it does again what a crash of the database takes back', async () => {
    if (processes[0].database.kind !== 'postgres') return;
    const { database: postgres, dataSource } = processes[0];
    const commit = 'SHOW synchronous_commit';
    const during = (job: Job) => job.run((manager) => manager.query<unknown>(commit));
    expect(await during(new Job(postgres, 'durable', HOUR))).toEqual([{ synchronous_commit: 'on' }]);
    expect(await during(new Job(postgres, 'repeatable', HOUR, true))).toEqual([{ synchronous_commit: 'off' }]);
    // The setting ends with the transaction.
    expect(await dataSource.query(commit)).toEqual([{ synchronous_commit: 'on' }]);
  });

  test('saves progress together with the work, or not at all', async () => {
    const [one, two] = jobs();
    await one.run(async (_, turn) => {
      expect(turn.state).toBeNull();
      await turn.save({ done: 1 });
    });
    const failing = one.run(async (_, turn) => {
      await turn.save({ done: 2 });
      throw new RangeError('rolled back');
    });
    await expect(failing).rejects.toThrow('rolled back');
    expect(await two.read()).toEqual({ done: 1 });
    expect(await one.run((_, { state }) => Promise.resolve(state))).toEqual({ done: 1 });
  });

  test("tells the database's time", async () => {
    const [one, two] = jobs();
    const times = [
      await one.run((_, { now }) => Promise.resolve(now)),
      await two.takeOver((_, { now }) => Promise.resolve(now)),
    ];
    for (const time of times) expect(Math.abs(Number(time) - Date.now())).toBeLessThan(2000);
  });

  describe('takeOver', () => {
    test('works without a row, and leaves the turn to any process', async () => {
      const [one, two] = jobs();
      expect(await one.takeOver(done)).toBe('done');
      expect(await two.run(done)).toBe('done');
      expect(await one.takeOver(async (_, turn) => turn.save({ from: 'one' }))).toBeUndefined();
      expect(await two.run((_, { state }) => Promise.resolve(state))).toEqual({ from: 'one' });
      expect(await one.run(done)).toBeUndefined();
    });

    test('runs one transaction after the other, on all processes', async () => {
      const increments = 10;
      const increment = (job: Job) =>
        job.takeOver(async (_, turn) => {
          const count = Number(turn.state?.count ?? 0);
          await sleep(Math.random() * 5);
          await turn.save({ count: count + 1 });
        });
      const all = jobs();
      await Promise.all(
        all.map(async (job) => {
          for (let at = 0; at < increments; at++) await increment(job);
        }),
      );
      expect(await all[0].read()).toEqual({ count: all.length * increments });
    });

    test('gives a turn that the release of the one before does not end, in any order', async () => {
      for (let round = 0; round < 20; round++) {
        const [one, two, three] = jobs();
        expect(await one.run(done)).toBe('done');
        const takenOver = two.takeOver(done).then(() => two.run(done));
        if (round % 2) await takenOver;
        else await sleep(Math.random() * 4);
        await one.release();
        expect(await takenOver).toBe('done');
        expect(await three.run(done)).toBeUndefined();
        await two.release();
      }
    });

    test('waits for a transaction that is running, whose work is then complete', async () => {
      if (isEmbedded({ name })) return;
      const [one, two] = jobs();
      await one.run(done);
      let isWorking = () => {};
      const working = new Promise<void>((resolve) => (isWorking = resolve));
      const slow = one.run(async (_, turn) => {
        isWorking();
        await sleep(200);
        await turn.save({ from: 'one' });
      });
      await working;
      expect(await two.takeOver((_, { state }) => Promise.resolve(state))).toEqual({ from: 'one' });
      await slow;
    });
  });
});
