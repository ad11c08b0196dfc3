import { expect, test } from '@jest/globals';
import { type SeenGeneration, SeenGenerations } from '../../../lib/session/seen-generations.js';

function recorder() {
  const batches: SeenGeneration[][] = [];
  const confirmed = new SeenGenerations((batch) => {
    batches.push(batch);
    return Promise.resolve();
  });
  return { batches, confirmed };
}

test('writes each generation once, in one batch ordered by session', async () => {
  const { batches, confirmed } = recorder();
  confirmed.note('b', 1);
  for (let i = 0; i < 100; i++) confirmed.note('a', 2);
  confirmed.note('c', 0);
  await confirmed.flush();
  confirmed.note('a', 2);
  confirmed.note('a', 1);
  await confirmed.flush();
  expect(batches).toEqual([
    [
      { sessionId: 'a', generation: 2 },
      { sessionId: 'b', generation: 1 },
    ],
  ]);
});

test('writes by a timer, after the responses', async () => {
  const { batches, confirmed } = recorder();
  confirmed.note('a', 1);
  expect(batches).toEqual([]);
  await new Promise((resolve) => setTimeout(resolve, 1200));
  expect(batches).toHaveLength(1);
});

test('knows a noted generation at once, and notes a failed batch again at its next use', async () => {
  let fail = true;
  const written: SeenGeneration[] = [];
  const confirmed = new SeenGenerations((batch) => {
    if (fail) return Promise.reject(new Error('away'));
    written.push(...batch);
    return Promise.resolve();
  });
  confirmed.note('a', 1);
  expect(confirmed.highest('a')).toBe(1);
  await confirmed.flush();
  fail = false;
  confirmed.note('a', 1);
  await confirmed.flush();
  expect(written).toEqual([{ sessionId: 'a', generation: 1 }]);
});
