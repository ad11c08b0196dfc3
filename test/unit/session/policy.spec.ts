import { describe, expect, test } from '@jest/globals';
import { OptionFaults } from '../../../lib/option-check.js';
import { parentHashOf } from '../../../lib/token/parent-hash.js';
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
  createdAt: new Date(NOW - HOUR / 2),
  lastUpdate: new Date(NOW - 60 * SECOND),
  rotatedAt: new Date(NOW - 60 * SECOND),
  expiresAt: new Date(NOW + HOUR / 2),
  absoluteExpiresAt: null,
  ...more,
});

const current = { jti: 'current', generation: 3 };
const parent = { jti: 'parent', generation: 2 };
const child = (of: string, generation = 4) => ({ jti: 'new', generation, parentHash: parentHashOf(of) });
const inGrace = { rotatedAt: new Date(NOW - 9_999) };
const graceOver = { rotatedAt: new Date(NOW - 10_000) };
const stillHeld = { rotatedAt: new Date(NOW - 19_999) };
const settled = { rotatedAt: new Date(NOW - 20_000) };

describe('judge', () => {
  const rotating = policyOf();
  const cases: [name: string, RotationState, { jti: string; generation: number; parentHash?: string }, Verdict][] = [
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
    ['the current token when the grace is over', row(graceOver), current, { kind: 'hold' }],
    ['the current token at the last instant of the same time again', row(stillHeld), current, { kind: 'hold' }],
    ['the current token after that', row(settled), current, { kind: 'rotate' }],
    ['the parent at the last instant of the grace', row(inGrace), parent, { kind: 'replay' }],
    [
      'the parent within the grace, its successor in use',
      row({ ...inGrace, confirmedGeneration: 3 }),
      parent,
      { kind: 'replay' },
    ],
    ['the parent when the grace is over, its successor never used', row(graceOver), parent, { kind: 'hold' }],
    [
      'the parent at the last instant of the same time again, its successor in use',
      row({ ...stillHeld, confirmedGeneration: 3 }),
      parent,
      { kind: 'hold' },
    ],
    ['the parent after that, its successor never used', row(settled), parent, { kind: 'recover' }],
    [
      'the parent after that, its successor in use',
      row({ ...settled, confirmedGeneration: 3 }),
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
    ['a generation that the row has not reached', row(), { jti: 'new', generation: 4 }, { kind: 'ahead' }],
    ['the lost successor of the current token', row(), child('current'), { kind: 'adopt', parent: 'current' }],
    [
      'the same within the grace, and two generations ahead, after a recovery',
      row(inGrace),
      child('current', 5),
      { kind: 'adopt', parent: 'current' },
    ],
    [
      'the successor of the parent, whose recovery was lost',
      row(settled),
      child('parent'),
      { kind: 'adopt', parent: 'parent' },
    ],
    [
      'the same, but the current token was used',
      row({ ...settled, confirmedGeneration: 3 }),
      child('parent'),
      { kind: 'ahead' },
    ],
    ['the successor of a token that the database does not know', row(), child('unknown'), { kind: 'ahead' }],
    [
      'a lost successor after the end of its session',
      row({ expiresAt: new Date(NOW) }),
      child('current'),
      { kind: 'ahead' },
    ],
    ['a sibling that is not ahead', row(settled), child('parent', 3), { kind: 'reuse', reuse: 'fork' }],
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
    expect(keeping.judge(row(settled), current, NOW)).toEqual({ kind: 'keep' });
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
  test('is not due at the absolute expiry, whether the row or only the policy has one', () => {
    const policy = policyOf({ extendSession: 'every-refresh', absoluteLifetime: '2h' });
    const createdAt = new Date(NOW - HOUR);
    const bound = new Date(NOW + HOUR);
    expect(policy.extensionDue({ createdAt, expiresAt: new Date(NOW + HOUR / 2), absoluteExpiresAt: bound }, NOW)).toBe(
      true,
    );
    expect(policy.extensionDue({ createdAt, expiresAt: bound, absoluteExpiresAt: bound }, NOW)).toBe(false);
    expect(policy.extensionDue({ createdAt, expiresAt: bound, absoluteExpiresAt: null }, NOW)).toBe(false);
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
