import { describe, expect, test } from '@jest/globals';
import { CLOCK_MARGIN } from '../../../lib/engine/timing.js';
import { inSigningOrder, nextStep, type ScheduledKey, signingAt, signingSpans } from '../../../lib/keys/schedule.js';

const RETENTION = 3000;
const SPANS = { rotateEvery: 7000, activation: 20, retention: (lifetime: number | null) => lifetime ?? RETENTION };
const START = 1_800_000_000_000;

const key = (kid: string, activeAt: number | null, longestLifetime: number | null = null): ScheduledKey => ({
  kid,
  longestLifetime,
  activeAt: activeAt === null ? null : new Date(activeAt),
});
const stepAt = (now: number, keys: ScheduledKey[], mayRetire: (kid: string) => boolean = () => true) =>
  nextStep(keys, now, SPANS, mayRetire);

describe('nextStep', () => {
  test('creates the first key, which signs at once', () => {
    expect(stepAt(START, [])).toEqual({ do: 'create', activeAt: START });
  });

  test('does nothing while the newest key is young', () => {
    const keys = [key('a', START)];
    expect(stepAt(START + SPANS.rotateEvery - 1, keys)).toBeUndefined();
  });

  test('creates a pending key when the newest one has signed for rotateEvery', () => {
    const keys = [key('a', START)];
    expect(stepAt(START + SPANS.rotateEvery, keys)).toEqual({ do: 'create', activeAt: null });
  });

  test('activates a pending key after the activation span, counted from now', () => {
    const keys = [key('a', START), key('b', null)];
    const late = START + 10 * SPANS.rotateEvery;
    expect(stepAt(late, keys)).toEqual({ do: 'activate', kid: 'b', activeAt: late + SPANS.activation });
  });

  test('does nothing between the activation of a key and its first signature', () => {
    const keys = [key('a', START), key('b', START + 7020)];
    expect(stepAt(START + 7010, keys)).toBeUndefined();
  });

  test('retires a key when its successor has signed for the retention span', () => {
    const keys = [key('a', START), key('b', START + 7000)];
    const due = START + 7000 + RETENTION;
    expect(stepAt(due - 1, keys)).toBeUndefined();
    expect(stepAt(due, keys)).toEqual({ do: 'retire', kid: 'a' });
  });

  test('counts the retention of each key from its own successor', () => {
    const keys = [key('a', START), key('b', START + 100), key('c', START + 3000)];
    expect(stepAt(START + 5999, keys, (kid) => kid !== 'a')).toBeUndefined();
    expect(stepAt(START + 6000, keys, (kid) => kid !== 'a')).toEqual({ do: 'retire', kid: 'b' });
  });

  test('keeps a key for the longest lifetime that its row states', () => {
    const keys = [key('a', START, 9000), key('b', START + 1000, 10), key('c', START + 3000)];
    expect(stepAt(START + 3010, keys)).toEqual({ do: 'retire', kid: 'b' });
    const [, ...younger] = keys;
    expect(stepAt(START + 9999, [keys[0], ...younger.slice(1)])).toBeUndefined();
    expect(stepAt(START + 12_000, keys.slice(0, 2).concat(key('c', START + 11_000)), (kid) => kid === 'a')).toEqual({
      do: 'retire',
      kid: 'a',
    });
  });

  test('never retires the newest key', () => {
    expect(stepAt(START + 6999, [key('a', START)])).toBeUndefined();
  });

  test('does not retire a key that must not be checked again yet', () => {
    const keys = [key('a', START), key('b', START + 7000)];
    expect(stepAt(START + 13_000, keys, () => false)).toBeUndefined();
  });
});

test('a key signs from its start until every process knows its successor', () => {
  const keys = [key('c', null), key('b', START + 1000), key('a', START)];
  const spans = signingSpans(keys, 60_000);
  expect(spans.get('a')).toEqual({ from: START - CLOCK_MARGIN, until: START + 1000 + 60_000 + CLOCK_MARGIN });
  expect(spans.get('b')).toEqual({ from: START + 1000 - CLOCK_MARGIN, until: Infinity });
  expect(spans.get('c')).toEqual({ from: Infinity, until: Infinity });
});

describe('signingAt', () => {
  const keys = [key('a', START), key('b', START + 1000), key('c', null)];

  test.each([
    ['the first key', START, 'a'],
    ['the old key until the new one is active', START + 999, 'a'],
    ['the new key from its activation on', START + 1000, 'b'],
    ['never a pending key', START + 1_000_000, 'b'],
  ])('is %s', (_, now, kid) => {
    expect(signingAt(keys, now)?.kid).toBe(kid);
  });

  test('is the only key even if the clock of its creator is some milliseconds ahead', () => {
    expect(signingAt([key('a', START), key('b', null)], START - 5)?.kid).toBe('a');
  });

  test('is undefined without an activated key', () => {
    expect(signingAt([], START)).toBeUndefined();
    expect(signingAt([key('a', null)], START)).toBeUndefined();
  });
});

test('inSigningOrder sorts by the first signature, then by kid, with pending keys last', () => {
  const keys = [key('p2', null), key('b', 2), key('p1', null), key('a2', 1), key('a1', 1)];
  expect(inSigningOrder(keys).map(({ kid }) => kid)).toEqual(['a1', 'a2', 'b', 'p1', 'p2']);
});
