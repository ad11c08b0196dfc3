import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import type { SecretKeyGuard } from '../../../lib/http/secret-key.guard.js';

const KEYS = ['the newest key', 'the key before', 'the oldest key'];

const crypto = process.getBuiltinModule('node:crypto');
const { timingSafeEqual } = crypto;
const compare = jest.spyOn(crypto, 'timingSafeEqual');
let guard: SecretKeyGuard;

beforeAll(async () => {
  // Modules copy the functions of a built-in module when Jest first imports it, so this import is a new first one.
  jest.resetModules();
  const module = await import('../../../lib/http/secret-key.guard.js');
  guard = new module.SecretKeyGuard({ secretKeys: KEYS } as never);
});
beforeEach(() => void compare.mockReset().mockImplementation(timingSafeEqual));
afterAll(() => void jest.restoreAllMocks());

function passes(key: string): boolean {
  try {
    return guard.canActivate(new ExecutionContextHost([{ headers: { 'x-secret-key': key }, body: {} }]));
  } catch {
    return false;
  }
}

describe('the time that SecretKeyGuard takes tells nothing about a key', () => {
  test.each([
    ['the first key', KEYS[0], true],
    ['the second key', KEYS[1], true],
    ['the last key', KEYS[2], true],
    ['the start of a key', 'the newest ke', false],
    ['a wrong key', 'a wrong key', false],
    ['no key', '', false],
    ['a very long key', 'x'.repeat(10_000), false],
  ])('compares every configured key, whether or not one has matched: %s', (_, key, expected) => {
    expect(passes(key)).toBe(expected);
    expect(compare).toHaveBeenCalledTimes(KEYS.length);
    const known = compare.mock.calls.map(([one]) => Buffer.from(one as Uint8Array).toString('hex'));
    expect(new Set(known).size).toBe(KEYS.length);
    // Digests: the length of the compared bytes does not depend on the length of a key.
    for (const [one, other] of compare.mock.calls) expect([one.byteLength, other.byteLength]).toEqual([32, 32]);
  });

  test('decides by timingSafeEqual alone', () => {
    compare.mockReturnValue(false);
    for (const key of KEYS) expect(passes(key)).toBe(false);
    compare.mockReturnValue(true);
    expect(passes('a wrong key')).toBe(true);
  });

  test('compares digests under a key of the process, so that an attacker cannot compute them', () => {
    passes(KEYS[0]);
    const [[, digest]] = compare.mock.calls;
    const plain = crypto.createHash('sha256').update(KEYS[0]).digest('hex');
    expect(Buffer.from(digest as Uint8Array).toString('hex')).not.toBe(plain);
  });
});
