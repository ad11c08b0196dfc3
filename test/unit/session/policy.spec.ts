import { describe, expect, test } from '@jest/globals';
import { OptionFaults } from '../../../lib/option-check.js';
import { NEVER } from '../../../lib/session/session.entity.js';
import { readPolicies, type SessionPolicyOptions } from '../../../lib/session/options.js';
import { type RotationState, SessionPolicyService, type Verdict } from '../../../lib/session/policy.js';

const NOW = Date.UTC(2026, 0, 1, 12);
const SECOND = 1000;
const HOUR = 3600 * SECOND;

function policyOf(options: Partial<SessionPolicyOptions> = {}): SessionPolicyService {
  const faults = new OptionFaults();
  const policies = readPolicies({ T: { refreshTokenLifetime: '1h', ...options } }, 300_000, faults);
  expect(faults.list).toEqual([]);
  const config = policies.get('T');
  if (!config) throw new Error('no policy');
  return new SessionPolicyService('T', config);
}

/** A session in its third generation, rotated a minute ago and not yet seen in use. */
const row = (more: Partial<RotationState> = {}): RotationState => ({
  generation: 3,
  refreshJti: 'current',
  parentGeneration: 2,
  parentJti: 'parent',
  confirmedGeneration: 2,
  rotatedAt: new Date(NOW - 60 * SECOND),
  expiresAt: new Date(NOW + HOUR / 2),
  absoluteExpiresAt: null,
  ...more,
});

const current = { jti: 'current', generation: 3 };
const parent = { jti: 'parent', generation: 2 };
const inGrace = { rotatedAt: new Date(NOW - 9_999) };
const graceOver = { rotatedAt: new Date(NOW - 10_000) };

describe('judge', () => {
  const rotating = policyOf();
  const cases: [name: string, RotationState, { jti: string; generation: number }, Verdict][] = [
    ['a session at its last instant', row({ expiresAt: new Date(NOW + 1) }), current, { kind: 'rotate' }],
    ['a session past its end', row({ expiresAt: new Date(NOW) }), current, { kind: 'expired' }],
    [
      'a session past its end, by a stolen token',
      row({ expiresAt: new Date(NOW) }),
      { jti: 'x', generation: 1 },
      { kind: 'expired' },
    ],
    ['the current token', row(), current, { kind: 'rotate' }],
    [
      'the first refresh of a session',
      row({ generation: 0, parentJti: null, parentGeneration: null, rotatedAt: NEVER }),
      { jti: 'current', generation: 0 },
      { kind: 'rotate' },
    ],
    ['the current token at the last instant of the grace', row(inGrace), current, { kind: 'renew' }],
    ['the current token when the grace is over', row(graceOver), current, { kind: 'rotate' }],
    ['the parent at the last instant of the grace', row(inGrace), parent, { kind: 'replay' }],
    [
      'the parent within the grace, its successor in use',
      row({ ...inGrace, confirmedGeneration: 3 }),
      parent,
      { kind: 'replay' },
    ],
    ['the parent when the grace is over, its successor never used', row(graceOver), parent, { kind: 'recover' }],
    [
      'the parent when the grace is over, its successor in use',
      row({ confirmedGeneration: 3 }),
      parent,
      { kind: 'reuse', reuse: 'fork' },
    ],
    [
      'the successor that recovery killed',
      row({ generation: 4 }),
      { jti: 'dead', generation: 3 },
      { kind: 'reuse', reuse: 'fork' },
    ],
    ['a token older than the parent', row(inGrace), { jti: 'old', generation: 1 }, { kind: 'reuse', reuse: 'stale' }],
    [
      'a generation that the row has not reached',
      row(),
      { jti: 'new', generation: 4 },
      { kind: 'reuse', reuse: 'ahead' },
    ],
  ];
  test.each(cases)('%s', (_, state, token, verdict) => {
    expect(rotating.judge(state, token, NOW)).toEqual(verdict);
  });

  test('counts a generation as seen if it is noted but not yet written', () => {
    expect(rotating.judge(row(), parent, NOW, 3)).toEqual({ kind: 'reuse', reuse: 'fork' });
  });

  test('never renews or replays without a grace', () => {
    const strict = policyOf({ reuseGrace: 0 });
    const justNow = { rotatedAt: new Date(NOW) };
    expect(strict.judge(row(justNow), current, NOW)).toEqual({ kind: 'rotate' });
    expect(strict.judge(row(justNow), parent, NOW)).toEqual({ kind: 'recover' });
    expect(strict.judge(row({ ...justNow, confirmedGeneration: 3 }), parent, NOW)).toEqual({
      kind: 'reuse',
      reuse: 'fork',
    });
  });

  test('keeps the current token within and after the grace if the policy does not rotate', () => {
    const keeping = policyOf({ rotateRefreshTokens: false });
    expect(keeping.judge(row(inGrace), current, NOW)).toEqual({ kind: 'keep' });
    expect(keeping.judge(row(graceOver), current, NOW)).toEqual({ kind: 'keep' });
    expect(keeping.judge(row(inGrace), parent, NOW)).toEqual({ kind: 'replay' });
  });

  test('hands out a new token for an extension without rotation', () => {
    const extending = policyOf({ rotateRefreshTokens: false, extendSession: { whenRemainingBelow: '31m' } });
    expect(extending.judge(row(), current, NOW)).toEqual({ kind: 'rotate' });
    expect(extending.judge(row({ expiresAt: new Date(NOW + 31 * 60 * SECOND) }), current, NOW)).toEqual({
      kind: 'keep',
    });
  });
});

describe('extension', () => {
  const state = { expiresAt: new Date(NOW + HOUR / 2), absoluteExpiresAt: null };

  test('grants the whole lifetime at every refresh', () => {
    expect(policyOf({ extendSession: 'every-refresh' }).nextExpiry(state, NOW)).toBe(NOW + HOUR);
  });

  test('never exceeds the absolute expiry and never shortens a session', () => {
    const policy = policyOf({ extendSession: 'every-refresh', absoluteLifetime: '2h' });
    const bound = new Date(NOW + HOUR * 0.75);
    expect(policy.nextExpiry({ ...state, absoluteExpiresAt: bound }, NOW)).toBe(bound.getTime());
    expect(policy.extensionDue({ expiresAt: bound, absoluteExpiresAt: bound }, NOW)).toBe(false);
    expect(policy.nextExpiry({ expiresAt: new Date(NOW + 5 * HOUR), absoluteExpiresAt: null }, NOW)).toBe(
      NOW + 5 * HOUR,
    );
  });

  test('sets expiries to whole seconds', () => {
    expect(policyOf().firstExpiry(NOW + 999)).toBe(NOW + HOUR);
    expect(policyOf().absoluteExpiry(NOW)).toBeNull();
    expect(policyOf({ extendSession: 'every-refresh', absoluteLifetime: '2h' }).absoluteExpiry(NOW + 1)).toBe(
      NOW + 2 * HOUR,
    );
  });
});

describe('limits', () => {
  const session = (id: string, lastUpdate: number, createdAt: number) => ({
    id,
    lastUpdate: new Date(lastUpdate),
    createdAt: new Date(createdAt),
  });

  test('evicts as many as needed: the least recently updated first, then the earliest created', () => {
    const policy = policyOf({ maxActiveSessions: 2 });
    const active = [session('a', 30, 1), session('b', 10, 3), session('c', 10, 2), session('d', 20, 4)];
    expect(policy.evicted(active).map(({ id }) => id)).toEqual(['c', 'b', 'd']);
    expect(policy.evicted(active.slice(0, 1))).toEqual([]);
  });

  test('never reports a negative number of available sessions', () => {
    expect(policyOf({ maxActiveSessions: 2 }).available(5)).toBe(0);
    expect(policyOf().available(5)).toBe(Infinity);
  });
});
