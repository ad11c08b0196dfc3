import { randomInt, randomUUID } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { EndedFilter } from '../../../lib/revocation/ended-filter.js';
import { newSessionId } from '../../../lib/session/id.js';
import { Random } from '../../helpers/random.js';

const NOW = 1_800_000_000_000;
const MINUTE = 60_000;
const SAMPLE = 20_000;

const idsOf = (count: number) => Array.from({ length: count }, (_, at) => newSessionId(NOW + at, `user ${at % 1000}`));

const bytesOf = (filter: EndedFilter) => filter['generations'].reduce((sum, { words }) => sum + words.byteLength, 0);

/** The share of other ids that the filter takes for ended sessions. */
function falsePositivesOf(filter: EndedFilter): number {
  return idsOf(SAMPLE).filter((id) => filter.mayHave(id)).length / SAMPLE;
}

describe('the filter of ended sessions', () => {
  test('knows nothing at first, and every entry that was added', () => {
    const filter = new EndedFilter();
    const [one, other] = [randomUUID(), randomUUID()];
    expect([filter.mayHave(one), filter.size, bytesOf(filter)]).toEqual([false, 0, 0]);
    filter.add(one, NOW);
    expect([filter.mayHave(one), filter.mayHave(other), filter.size]).toEqual([true, false, 1]);
  });

  test('takes 1.2 bytes per entry if it knows how many there will be, and is wrong about less than 1.5 %', () => {
    const filter = new EndedFilter();
    const ids = idsOf(100_000);
    filter.reserve(ids.length);
    for (const id of ids) filter.add(id, NOW);
    expect(ids.every((id) => filter.mayHave(id))).toBe(true);
    expect(bytesOf(filter) / ids.length).toBeCloseTo(1.2, 2);
    const wrong = falsePositivesOf(filter);
    expect(wrong).toBeLessThan(0.015);
    // A filter that has room for more would be larger than it says.
    expect(wrong).toBeGreaterThan(0.005);
  });

  test('grows by doubling if it does not know, and is wrong about less than 5 %', () => {
    const filter = new EndedFilter();
    const ids = idsOf(100_000);
    for (const id of ids) filter.add(id, NOW);
    expect(ids.every((id) => filter.mayHave(id))).toBe(true);
    expect(bytesOf(filter) / ids.length).toBeLessThanOrEqual(3);
    expect(falsePositivesOf(filter)).toBeLessThan(0.05);
  });

  test('does not count or store an entry again that it knows for as long', () => {
    const filter = new EndedFilter();
    const ids = idsOf(50_000);
    for (let round = 0; round < 3; round++) for (const id of ids) filter.add(id, NOW);
    expect(filter.size).toBeLessThanOrEqual(ids.length);
    const bytes = bytesOf(filter);
    for (let round = 0; round < 10; round++) for (const id of ids) filter.add(id, NOW - 1);
    expect(bytesOf(filter)).toBe(bytes);
  });

  test('keeps an entry for as long as its latest expiry says', () => {
    const filter = new EndedFilter();
    const [one, other] = [randomUUID(), randomUUID()];
    filter.add(one, NOW);
    filter.add(other, NOW);
    filter.deleteExpired(NOW + 1);
    filter.add(one, NOW + MINUTE);
    filter.add(other, NOW + 2 * MINUTE);
    filter.add(one, NOW + 5 * MINUTE);
    filter.deleteExpired(NOW + 5 * MINUTE);
    expect(filter.mayHave(one)).toBe(true);
    filter.deleteExpired(NOW + 5 * MINUTE + 1);
    expect([filter.mayHave(one), filter.mayHave(other), bytesOf(filter)]).toEqual([false, false, 0]);
  });

  test('does not grow for ever while sessions end at a constant rate', () => {
    const filter = new EndedFilter();
    const [perMinute, life] = [2000, 20];
    let most = 0;
    let wrong = 0;
    for (let minute = 0; minute < 120; minute++) {
      const now = NOW + minute * MINUTE;
      for (const id of idsOf(perMinute)) filter.add(id, now + life * MINUTE);
      filter.deleteExpired(now);
      most = Math.max(most, bytesOf(filter));
      if (minute % 20 === 19) wrong = Math.max(wrong, falsePositivesOf(filter));
    }
    expect(most / (perMinute * life)).toBeLessThan(5);
    expect(wrong).toBeLessThan(0.03);
    filter.deleteExpired(NOW + 200 * MINUTE);
    expect(bytesOf(filter)).toBe(0);
  });

  test('gives the memory of a burst back, although sessions go on ending', () => {
    const filter = new EndedFilter();
    const life = 30;
    for (const id of idsOf(100_000)) filter.add(id, NOW + life * MINUTE);
    const most = bytesOf(filter);
    for (let minute = 0; minute < 3 * life; minute++) {
      const now = NOW + minute * MINUTE;
      filter.deleteExpired(now);
      for (const id of idsOf(10)) filter.add(id, now + life * MINUTE);
    }
    expect(filter.size).toBeLessThanOrEqual(2 * life * 10);
    expect(bytesOf(filter)).toBeLessThan(most / 2);
  });

  test('never forgets an entry before its expiry, in any order of adding, expiring and reserving', () => {
    const seed = Number(process.env.TEST_SEED ?? randomInt(2 ** 31));
    const random = new Random(seed);
    const entries = new Map<string, number>();
    const filter = new EndedFilter();
    let now = NOW;
    for (let step = 0; step < 400; step++) {
      if (random.once(50)) now += random.below(10 * MINUTE);
      if (random.once(10)) filter.deleteExpired(now);
      if (random.once(100)) filter.reserve(random.below(100_000));
      const known = [...entries.keys()];
      for (let count = random.below(30); count > 0; count--) {
        const id = known.length > 0 && random.once(5) ? random.pick(known) : newSessionId(now, `user ${count}`);
        const expiresAt = now + random.below(22 * MINUTE) - 2 * MINUTE;
        filter.add(id, expiresAt);
        entries.set(id, Math.max(entries.get(id) ?? 0, expiresAt));
      }
      for (const [id, expiresAt] of entries) {
        if (expiresAt < now) entries.delete(id);
        else if (!filter.mayHave(id)) throw new Error(`forgot ${id} in step ${step}: TEST_SEED=${seed}`);
      }
    }
  });
});
