import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { RevokedSession } from '../../../lib/revocation/revoked-session.js';
import { currentMoment, RevokedSessions } from '../../../lib/revocation/revoked-sessions.js';
import { isFresh } from '../../helpers/fresh.js';

const CONFIG = { maxEntries: 5, maxStaleness: 10_000 };
const NOW = 1_800_000_000_000;
const warn = (text: string) => new Logger('MultiSession').warn(text);

const entry = (sessionId: string, expiresAt = NOW): RevokedSession => ({
  sessionId,
  userId: 'alice',
  reason: 'logout',
  expiresAt,
});
const entries = (...ids: string[]) => ids.map((id) => entry(id));

/** Memory after a first poll that has found these entries. */
function loaded(...ids: string[]): RevokedSessions {
  const revoked = new RevokedSessions(CONFIG, warn);
  revoked.beginFullLoad(ids.length);
  revoked.addPage(entries(...ids), undefined);
  revoked.markPolled(currentMoment());
  return revoked;
}

/** Collects the ids that memory announces from now on. */
function announcedBy(revoked: RevokedSessions): string[] {
  const announced: string[] = [];
  revoked.onRevoked(({ sessionId }) => announced.push(sessionId));
  return announced;
}

let warnings: string[] = [];
let monotonic = 0;
let wall = 0;

beforeEach(() => {
  warnings = [];
  [monotonic, wall] = [1000, NOW];
  Logger.overrideLogger({ log: () => {}, error: () => {}, warn: (message: string) => void warnings.push(message) });
  jest.spyOn(performance, 'now').mockImplementation(() => monotonic);
  jest.spyOn(Date, 'now').mockImplementation(() => wall);
});
afterEach(() => {
  jest.restoreAllMocks();
});

describe('isFresh', () => {
  test('is false before the first poll', () => {
    const revoked = new RevokedSessions(CONFIG, warn);
    expect([isFresh(revoked), revoked.isUpToDate(), revoked.isLoaded, revoked.lag]).toEqual([
      false,
      false,
      false,
      Infinity,
    ]);
  });

  test('is true until maxStaleness has passed since the start of the last poll', () => {
    const revoked = loaded();
    for (const later of [0, CONFIG.maxStaleness - 1]) {
      [monotonic, wall] = [1000 + later, NOW + later];
      expect([isFresh(revoked), revoked.lag]).toEqual([true, later]);
    }
    [monotonic, wall] = [1000 + CONFIG.maxStaleness, NOW + CONFIG.maxStaleness];
    expect([isFresh(revoked), revoked.isUpToDate()]).toEqual([false, false]);
    revoked.markPolled(currentMoment());
    expect(isFresh(revoked)).toBe(true);
  });

  test('is false if only the monotonic clock has moved, since the wall clock may have been set back', () => {
    const revoked = loaded();
    [monotonic, wall] = [1000 + CONFIG.maxStaleness, NOW - 3_600_000];
    expect(isFresh(revoked)).toBe(false);
  });

  test('is false if only the wall clock has moved, since the machine may have been suspended', () => {
    const revoked = loaded();
    wall = NOW + CONFIG.maxStaleness;
    expect(isFresh(revoked)).toBe(false);
  });

  test('counts from the start of a poll, not from its end', () => {
    const revoked = loaded();
    const startedAt = currentMoment();
    monotonic += 6000;
    revoked.markPolled(startedAt);
    monotonic += 4000;
    expect(isFresh(revoked)).toBe(false);
  });
});

describe('an ended session', () => {
  test('is known as soon as it is added, and announced once, whether it was added, pushed or polled', () => {
    const revoked = loaded();
    const announced = announcedBy(revoked);
    revoked.add(entry('a'));
    expect(revoked.has('a')).toBe(true);
    revoked.add(entry('a'));
    revoked.addPolled(entries('a', 'b'));
    revoked.addPolled(entries('a', 'b'));
    revoked.beginFullLoad(2);
    revoked.addPage(entries('a', 'b'), undefined);
    expect(announced).toEqual(['a', 'b']);
    expect([revoked.size, revoked.has('b'), revoked.has('c')]).toEqual([2, true, false]);
  });

  test('is not announced if the first full load finds it', () => {
    const revoked = new RevokedSessions(CONFIG, warn);
    const announced = announcedBy(revoked);
    revoked.beginFullLoad(1);
    revoked.addPage(entries('a'), undefined);
    expect([revoked.has('a'), announced]).toEqual([true, []]);
  });

  test('is announced if this process or a push adds it during the first full load', () => {
    const revoked = new RevokedSessions(CONFIG, warn);
    const announced = announcedBy(revoked);
    revoked.beginFullLoad(1);
    revoked.add(entry('b'));
    revoked.addPage(entries('a', 'b'), undefined);
    expect(announced).toEqual(['b']);
  });

  test('is removed when it expired before the given time', () => {
    const revoked = loaded();
    revoked.addPolled([entry('old', NOW - 1), entry('just expired', NOW), entry('live', NOW + 1)]);
    revoked.removeExpired(NOW);
    expect(['old', 'just expired', 'live'].map((id) => revoked.has(id))).toEqual([false, true, true]);
  });
});

describe('a pushed entry', () => {
  const poll = (revoked: RevokedSessions, ...ids: string[]) => {
    const startedAt = currentMoment();
    monotonic += 10;
    revoked.addPolled(entries(...ids));
    revoked.markPolled(startedAt);
    monotonic += 10;
  };

  test('is known and announced at once, and not again when a poll confirms it', () => {
    const revoked = loaded();
    const announced = announcedBy(revoked);
    revoked.addPushed(entry('a'));
    expect([revoked.has('a'), revoked.size]).toEqual([true, 1]);
    revoked.addPushed(entry('a'));
    poll(revoked, 'a');
    for (let polls = 0; polls < 5; polls++) poll(revoked);
    expect([revoked.has('a'), revoked.size, announced]).toEqual([true, 1, ['a']]);
  });

  test('is dropped after two polls that began after its arrival and did not find it', () => {
    const revoked = loaded();
    const startedAt = currentMoment();
    monotonic++;
    revoked.addPushed(entry('a'));
    revoked.markPolled(startedAt);
    poll(revoked);
    expect(revoked.has('a')).toBe(true);
    poll(revoked);
    expect([revoked.has('a'), revoked.size]).toEqual([false, 0]);
  });

  test.each([
    ['earlier', NOW + 1],
    ['later', NOW + 60_000],
  ])('with an %s expiry does not change the entry of the table', (_, expiresAt) => {
    const revoked = loaded();
    revoked.addPolled([entry('polled before', NOW + 1000)]);
    for (const id of ['polled before', 'polled after', 'own']) revoked.addPushed(entry(id, expiresAt));
    revoked.addPolled([entry('polled after', NOW + 1000)]);
    revoked.add(entry('own', NOW + 1000));
    for (const [before, isKnown] of [
      [NOW + 1000, true],
      [NOW + 1001, false],
    ] as const) {
      revoked.removeExpired(before);
      expect(['polled before', 'polled after', 'own'].map((id) => revoked.has(id))).toEqual([
        isKnown,
        isKnown,
        isKnown,
      ]);
    }
  });

  test('is removed when it expires', () => {
    const revoked = loaded();
    revoked.addPushed(entry('a', NOW + 1));
    revoked.removeExpired(NOW + 2);
    expect(revoked.size).toBe(0);
  });

  test('never fills up the memory', () => {
    const revoked = loaded('a', 'b', 'c');
    for (let at = 0; at < 20; at++) revoked.addPushed(entry(`pushed ${at}`));
    expect([revoked.size, isFresh(revoked)]).toEqual([CONFIG.maxEntries, true]);
    revoked.addPolled(entries('d', 'e'));
    expect([isFresh(revoked), ['a', 'b', 'c', 'd', 'e'].every((id) => revoked.has(id))]).toEqual([true, true]);
    expect(warnings).toEqual([]);
  });
});

test('of two expiries of one session, the later one counts', () => {
  const revoked = loaded();
  revoked.add(entry('a', NOW + 5));
  revoked.addPolled([entry('a', NOW + 9)]);
  revoked.addPolled([entry('a', NOW + 7)]);
  revoked.removeExpired(NOW + 9);
  expect(revoked.has('a')).toBe(true);
  revoked.removeExpired(NOW + 10);
  expect(revoked.has('a')).toBe(false);
});

describe('a full load', () => {
  test('reads page after page, from the last id of each', () => {
    const revoked = new RevokedSessions(CONFIG, warn);
    expect(revoked.fullLoadPosition).toBeUndefined();
    revoked.beginFullLoad(3);
    expect(revoked.fullLoadPosition).toBe('');
    revoked.addPage(entries('a', 'b'), 'b');
    expect([revoked.fullLoadPosition, revoked.isComplete]).toEqual(['b', false]);
    revoked.addPage(entries('c'), undefined);
    expect([revoked.fullLoadPosition, revoked.isComplete, revoked.size]).toEqual([undefined, true, 3]);
  });

  test('leaves memory complete while it reads everything again', () => {
    const revoked = loaded('a', 'b');
    revoked.beginFullLoad(3);
    revoked.addPage(entries('a', 'b'), 'b');
    expect(isFresh(revoked)).toBe(true);
  });

  test('ends an incomplete state if there is room for all entries again', () => {
    const revoked = loaded('a', 'b', 'c', 'd', 'e');
    revoked.add(entry('f'));
    expect(revoked.isComplete).toBe(false);
    revoked.beginFullLoad(1);
    revoked.addPage(entries('f'), undefined);
    expect([isFresh(revoked), revoked.size]).toEqual([true, 1]);
  });

  test('does not make memory complete if entries were lost while it was under way', () => {
    const revoked = loaded('a', 'b');
    revoked.beginFullLoad(4);
    revoked.addPage(entries('a', 'b', 'c'), 'c');
    revoked.addPolled(entries('x', 'y', 'z'));
    expect(revoked.has('a')).toBe(false);
    revoked.addPage(entries('d'), undefined);
    expect([revoked.isComplete, revoked.fullLoadPosition]).toEqual([false, undefined]);
  });

  test('does not make memory complete if its own last page overflows', () => {
    const revoked = loaded('a', 'b', 'c', 'd');
    revoked.beginFullLoad(5);
    revoked.addPage(entries('w', 'x'), undefined);
    expect([revoked.isComplete, revoked.fullLoadPosition]).toEqual([false, undefined]);
  });
});

describe('more entries than maxEntries', () => {
  test('make memory unreliable, and all of them are still announced', () => {
    const revoked = loaded('a', 'b', 'c', 'd');
    const announced = announcedBy(revoked);
    revoked.addPolled(entries('e', 'f', 'g'));
    expect(announced).toEqual(['e', 'f', 'g']);
    expect([isFresh(revoked), revoked.isUpToDate()]).toEqual([false, true]);
    expect(revoked.size).toBeLessThanOrEqual(CONFIG.maxEntries);
  });

  test('exactly maxEntries are held, and memory is reliable', () => {
    const revoked = loaded('a', 'b', 'c', 'd', 'e');
    expect([isFresh(revoked), revoked.size, warnings]).toEqual([true, 5, []]);
  });

  test('in the table keep the full load from starting', () => {
    const revoked = new RevokedSessions(CONFIG, warn);
    revoked.beginFullLoad(CONFIG.maxEntries + 1);
    revoked.markPolled(currentMoment());
    expect([revoked.fullLoadPosition, isFresh(revoked), revoked.isUpToDate()]).toEqual([undefined, false, true]);
  });

  test('are logged once, until memory was complete in between', () => {
    const revoked = new RevokedSessions(CONFIG, warn);
    revoked.beginFullLoad(6);
    revoked.markPolled(currentMoment());
    revoked.beginFullLoad(6);
    revoked.addPolled(entries('a', 'b', 'c', 'd', 'e', 'f'));
    expect(warnings).toEqual([expect.stringMatching(/^more than 5 sessions .*revocation\.maxEntries/)]);
    revoked.beginFullLoad(1);
    revoked.addPage(entries('a'), undefined);
    revoked.beginFullLoad(6);
    expect(warnings).toHaveLength(2);
  });
});
