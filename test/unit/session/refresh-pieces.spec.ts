import { describe, expect, test } from '@jest/globals';
import { DIALECTS } from '../../../lib/database/dialect.js';
import { type PolicyValues, UNLIMITED } from '../../../lib/session/policy.js';
import { piecesOf } from '../../../lib/session/refresh-pieces.js';

const POLICY: PolicyValues = {
  currentType: 'LONG',
  lifetime: 1000,
  absoluteLifetime: UNLIMITED,
  extendBelow: 0,
  onlyExtends: 0,
  rotationPause: 0,
  touchInterval: 0,
  accessSeconds: 300,
  setsLastUpdate: 1,
  showsUse: 1,
  bindBefore: 8.64e15,
};

describe.each(Object.values(DIALECTS))('$kind', (dialect) => {
  const pieces = (policy: Partial<PolicyValues> = {}, assumed = 300) =>
    piecesOf(dialect, { ...POLICY, ...policy }, assumed);

  test('a number that is not a whole number never becomes part of a statement', () => {
    const values = [0.5, -1, NaN, Infinity, 2 ** 53, '0; DROP TABLE user_session' as unknown as number];
    for (const value of values) {
      for (const name of [
        'lifetime',
        'absoluteLifetime',
        'extendBelow',
        'rotationPause',
        'touchInterval',
        'accessSeconds',
      ])
        expect(() => pieces({ [name]: value })).toThrow(TypeError);
      expect(() => pieces({}, value)).toThrow(TypeError);
    }
  });

  test('a policy that never extends a session, or does not bound it, has no expressions for that', () => {
    expect(pieces().setGeneration).not.toMatch(/expires_at/);
    expect(pieces({ extendBelow: 5000 }).setGeneration).toMatch(/ expires_at = CASE WHEN .*5000/);
    expect(pieces().isCurrent).not.toMatch(/created_at \+/);
    expect(pieces({ absoluteLifetime: 7000 }).isCurrent).toMatch(/created_at \+ 7000/);
    expect(pieces().mayRotate).not.toMatch(/expires_at/);
    expect(pieces({ onlyExtends: 1 }).mayRotate).toMatch(/expires_at/);
  });
});
