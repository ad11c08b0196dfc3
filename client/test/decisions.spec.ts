import { describe, expect, test } from '@jest/globals';
import {
  afterAnswer,
  afterCookies,
  afterRefusal,
  ageOf,
  isTooLate,
  LONGEST_RETRY_AFTER,
  loginCookies,
  mayTake,
  meaningOfRefresh,
  newest,
  nextEpoch,
  reasonOfEnd,
  refreshAge,
  retryDelay,
  type SessionRecord,
  supersedes,
  takesLogin,
} from '../src/decisions.js';

/** A record of session B in generation 2. */
const record = (more: Partial<SessionRecord> = {}): SessionRecord => ({
  epoch: 10,
  sessionId: 'B',
  generation: 2,
  issuedAt: 1000,
  arrivedAt: 0,
  accessLife: 300_000,
  sessionLife: 3_600_000,
  ...more,
});
const ended = (more: Partial<SessionRecord> = {}) =>
  record({ sessionId: undefined, ended: 'logout', generation: 0, issuedAt: 0, ...more });

describe('supersedes: the newer record wins, whichever is asked about', () => {
  test.each<[why: string, newer: SessionRecord, older: SessionRecord]>([
    ['a higher epoch, although its generation is lower', record({ epoch: 11, generation: 0 }), record()],
    ['a logout after the login', ended({ epoch: 11 }), record()],
    ['a login after the logout', record({ epoch: 12 }), ended({ epoch: 11 })],
    ['an ending of the same epoch', ended(), record()],
    ['the later of two logins of one epoch', record({ sessionId: 'C', generation: 0 }), record()],
    ['a later generation', record({ generation: 3, issuedAt: 1 }), record()],
    ['a later access token of the same generation', record({ issuedAt: 1001 }), record()],
  ])('%s', (_, newer, older) => {
    expect([supersedes(newer, older), supersedes(older, newer)]).toEqual([true, false]);
    expect([newest<SessionRecord | null>(newer, older), newest<SessionRecord | null>(older, newer)]).toEqual([
      newer,
      newer,
    ]);
  });

  test('a record does not replace itself, and any replaces none', () => {
    expect(supersedes(record(), record())).toBe(false);
    expect(supersedes(ended({ epoch: 0 }), null)).toBe(true);
    expect(newest<SessionRecord | null>(null, record())).toEqual(record());
    expect(newest<SessionRecord | null>(record(), null)).toEqual(record());
  });
});

test('an epoch is the time, or one more than the last one if the clock was set back', () => {
  expect(nextEpoch(null, 500)).toBe(500);
  expect(nextEpoch(record({ epoch: 400 }), 500)).toBe(500);
  expect(nextEpoch(record({ epoch: 900 }), 500)).toBe(901);
  expect(nextEpoch(null, 0)).toBe(1);
});

test.each<[what: string, held: SessionRecord | null, takes: boolean]>([
  ['if nothing was stored', null, true],
  ['over what was stored before it was sent', record(), true],
  ['over an older session of a login at the same time', record({ epoch: 11, sessionId: 'A' }), true],
  ['not over a later session of a login at the same time', record({ epoch: 11, sessionId: 'C' }), false],
  ['not over a logout since then', ended({ epoch: 11 }), false],
  ['over an ending since then', ended({ epoch: 11, ended: 'revoked' }), true],
])('the answer to a login is stored, or not: %s', (_, held, takes) => {
  expect(takesLogin(held, 10, 'B')).toBe(takes);
});

test.each<[status: number, code: string | undefined, meaning: string]>([
  [200, undefined, 'renewed'],
  [401, 'token_not_valid', 'over'],
  [401, 'session_not_found', 'over'],
  [403, 'token_not_valid', 'later'],
  [200, 'unreachable', 'later'],
  [0, 'unreachable', 'later'],
  [503, 'unavailable', 'later'],
  ...[
    'device_proof_required',
    'session_proof_required',
    'reauthentication_required',
    'not_authenticated',
    'csrf_failed',
    'secret_key_invalid',
    'refused',
  ].map((code): [number, string, string] => [401, code, 'later']),
])('a refresh that is answered with %s %s: %s', (status, code, meaning) => {
  expect(meaningOfRefresh({ status, code })).toBe(meaning);
});

test('a refusal ends the session only if no newer token or ending is stored', () => {
  expect(afterRefusal(record(), record())).toBe('end');
  expect(afterRefusal(null, record())).toBe('end');
  expect(afterRefusal(record({ generation: 3 }), record())).toBe('retry');
  expect(afterRefusal(ended({ epoch: 11 }), record())).toBe('adopt');
});

test.each<[held: SessionRecord | null, sent: SessionRecord | null, session: string, result: string]>([
  [record(), record(), 'B', 'store'],
  [record({ epoch: 11 }), null, 'B', 'store'],
  [null, null, 'B', 'adopt'],
  [record(), record(), 'C', 'adopt'],
  [record({ epoch: 11 }), record(), 'C', 'again'],
  [ended({ epoch: 11 }), record(), 'B', 'again'],
])('cookies that arrive: %#', (held, sent, session, result) => {
  expect(afterCookies(held, sent, session)).toBe(result);
});

test.each<[status: number, code: string | undefined, current: string | undefined, result: string]>([
  [200, undefined, 'B', 'kept'],
  [200, undefined, undefined, 'kept'],
  [404, 'refused', undefined, 'kept'],
  [0, 'unreachable', undefined, 'kept'],
  [200, undefined, 'A', 'overtaken'],
  [401, 'token_not_valid', undefined, 'overtaken'],
  [401, 'not_authenticated', undefined, 'dropped'],
])('after a login in cookies, the list says %s %s %s: %s', (status, code, current, result) => {
  expect(loginCookies({ status, code }, current, 'B')).toBe(result);
});

test('a lease is free if it has lapsed, or if it lies too far ahead because a clock was set back', () => {
  const lease = { owner: 'one', until: 1000 };
  const mayOther = (now: number) => mayTake(lease, 'other', now, 300);
  expect([999, 1000].map(mayOther)).toEqual([false, true]);
  expect([700, 699].map(mayOther)).toEqual([false, true]);
  expect(mayTake(lease, 'one', 900, 300)).toBe(true);
  expect(mayTake(null, 'other', 0, 300)).toBe(true);
});

test('an answer is too late by either clock', () => {
  const since = { wall: 5000, monotonic: 100 };
  const at = (wall: number, monotonic: number) => isTooLate(since, { wall, monotonic }, 8000);
  expect(at(13_000, 8100)).toBe(false);
  expect(at(13_001, 100)).toBe(true);
  expect(at(5000, 8101)).toBe(true);
  expect(at(0, 0)).toBe(false);
});

test.each<[method: string, status: number, code: string | undefined, retryAfter: number | undefined, result: string]>([
  ['POST', 401, 'token_not_valid', undefined, 'refresh'],
  ['POST', 401, 'device_proof_required', undefined, 'return'],
  ['POST', 401, 'not_authenticated', undefined, 'return'],
  ['POST', 503, 'unavailable', undefined, 'wait'],
  ['POST', 503, 'unavailable', LONGEST_RETRY_AFTER, 'wait'],
  ['POST', 503, 'unavailable', LONGEST_RETRY_AFTER + 1, 'return'],
  ['POST', 503, 'refused', 1, 'return'],
  ['get', 503, 'refused', 1, 'wait'],
  ['GET', 503, 'refused', undefined, 'return'],
  ['GET', 500, 'server_fault', 1, 'return'],
])('%s with the answer %s %s, Retry-After %s: %s', (method, status, code, retryAfter, result) => {
  expect(afterAnswer(method, { status, code, retryAfter }, true)).toBe(result);
  expect(afterAnswer(method, { status, code, retryAfter }, false)).toBe('return');
});

test('a record is as old as the clock that has gone further says, and never younger than 0', () => {
  expect([ageOf(5, 3), ageOf(3, 5), ageOf(-5, -3)]).toEqual([5, 5, 0]);
});

test('tokens are refreshed between 70 and 90 percent of their life', () => {
  expect([0, 1].map((random) => refreshAge(record(), random))).toEqual([210_000, 270_000]);
});

test('attempts are further and further apart, at most half a minute and a half, and never before the server says', () => {
  expect([0, 1, 2, 6, 60].map((attempt) => retryDelay(attempt, undefined, 0))).toEqual([
    500, 1000, 2000, 30_000, 30_000,
  ]);
  expect(retryDelay(60, undefined, 1)).toBe(45_000);
  expect([retryDelay(0, 7, 0), retryDelay(6, 7, 0)]).toEqual([7000, 30_000]);
});

test('a session whose token is refused has expired if it was not used for its whole life', () => {
  expect(reasonOfEnd(record(), 3_599_999)).toBe('revoked');
  expect(reasonOfEnd(record(), 3_600_000)).toBe('expired');
});
