import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { KeyedMutex } from '../../../lib/database/keyed-mutex.js';

test('runs one job per key at a time, in order, without blocking other keys, and goes on after a failure', async () => {
  const mutex = new KeyedMutex();
  const log: string[] = [];
  const job = (key: string, name: string, fails = false) =>
    mutex.run(key, async () => {
      log.push(`${name} begins`);
      await sleep(5);
      log.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    });
  const results = await Promise.allSettled([job('a', '1', true), job('a', '2'), job('b', '3')]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
  expect(log.filter((line) => !line.startsWith('3'))).toEqual(['1 begins', '1 ends', '2 begins', '2 ends']);
  expect(log.indexOf('3 begins')).toBeLessThan(log.indexOf('1 ends'));
});

test('tells each job when the last job it waited for succeeded', async () => {
  const mutex = new KeyedMutex();
  const told: number[] = [];
  const job = (fails: boolean) =>
    mutex.run('a', async (movedAt) => {
      told.push(movedAt);
      await sleep(5);
      if (fails) throw new Error('failed');
    });
  const begun = performance.now();
  await Promise.allSettled([job(true), job(false), job(true), job(true)]);
  expect(told.map((at) => at > begun)).toEqual([false, false, true, true]);
  expect(told[3]).toBe(told[2]);
  await job(false);
  expect(told[4]).toBe(-Infinity);
});

test('forgets a key after its last job', async () => {
  const mutex = new KeyedMutex();
  await Promise.all(Array.from({ length: 100 }, (_, at) => mutex.run(`${at % 10}`, () => sleep(1))));
  expect((mutex as unknown as { tails: Map<string, unknown> }).tails.size).toBe(0);
});
