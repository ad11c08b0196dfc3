import { beforeEach, describe, expect, test } from '@jest/globals';
import { EndedLog } from '../../../lib/revocation/ended-log.js';

const NOW = 1_800_000_000_000;
const SPAN = 600_000;

describe('the log of ended sessions', () => {
  let now: number;
  let log: EndedLog;
  beforeEach(() => {
    now = NOW;
    log = new EndedLog(() => now);
  });

  const ids = (entries: ReturnType<EndedLog['after']>) => entries?.map(({ sessionId }) => sessionId);

  test('gives what came after a position', () => {
    log.open();
    const start = log.position;
    log.add('a', 1, false);
    log.add('b', 2, true);
    expect(log.after(start)).toEqual([
      { sessionId: 'a', expiresAt: 1, isPushed: false, at: NOW },
      { sessionId: 'b', expiresAt: 2, isPushed: true, at: NOW },
    ]);
    expect(ids(log.after(start + 1))).toEqual(['b']);
    expect(log.after(log.position)).toEqual([]);
    expect([log.after(log.position + 1), log.after(-1)]).toEqual([undefined, undefined]);
  });

  test('gives what came since a time, also if the clock is corrected backwards', () => {
    log.open();
    log.add('a', 1, false);
    now += 1000;
    log.add('b', 1, false);
    now -= 10;
    log.add('c', 1, false);
    now += 1000;
    log.add('d', 1, false);
    expect(ids(log.startingAt(NOW + 1000))).toEqual(['b', 'c', 'd']);
    expect(ids(log.startingAt(NOW + 1001))).toEqual(['d']);
    expect(ids(log.startingAt(NOW - SPAN))).toEqual(['a', 'b', 'c', 'd']);
    expect(log.startingAt(NOW - SPAN - 1)).toBeUndefined();
  });

  test('knows nothing before the first full load is over, and then what was created shortly before', () => {
    expect(log.startingAt(NOW)).toBeUndefined();
    log.addOlder('late', 1, NOW - 100);
    log.addOlder('early', 1, NOW - 5000);
    log.addOlder('too old', 1, NOW - SPAN - 1);
    log.add('pushed', 1, true);
    log.open();
    expect(ids(log.startingAt(NOW - 5000))).toEqual(['early', 'late', 'pushed']);
    expect(ids(log.startingAt(NOW - 4999))).toEqual(['late', 'pushed']);
  });

  test('forgets the oldest, and says so', () => {
    log.open();
    const start = log.position;
    for (let at = 0; at < 120_000; at++) {
      now = NOW + at;
      log.add(String(at), 1, false);
    }
    expect(log.after(start)).toBeUndefined();
    expect(log.startingAt(NOW)).toBeUndefined();
    expect(log.after(log.position - 100_000)).toHaveLength(100_000);
    expect(ids(log.startingAt(NOW + 119_999))).toEqual(['119999']);
    now += 2 * SPAN;
    log.add('new', 1, false);
    expect(ids(log.after(log.position - 1))).toEqual(['new']);
    expect(log.startingAt(NOW + 119_999)).toBeUndefined();
  });

  test('begins anew after a reset', () => {
    log.open();
    const start = log.position;
    log.add('a', 1, false);
    now += 10;
    log.reset();
    expect([log.after(start), log.startingAt(NOW)]).toEqual([undefined, undefined]);
    expect([log.after(log.position), log.startingAt(now)]).toEqual([[], []]);
  });

  test('lets its readers wait until there is something, once for many endings', async () => {
    log.open();
    let checks = 0;
    const { position } = log;
    const waiting = log.until(() => {
      checks++;
      return log.position > position;
    }, 60_000);
    for (let at = 0; at < 100; at++) log.add(String(at), 1, false);
    await waiting;
    expect(checks).toBe(2);
    const startedAt = performance.now();
    await log.until(() => false, 50);
    expect(performance.now() - startedAt).toBeGreaterThan(45);
  });
});
