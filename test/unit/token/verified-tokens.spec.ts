import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { OptionFaults } from '../../../lib/option-check.js';
import { UnavailableError } from '../../../lib/errors.js';
import { type SessionClaims, AccessTokens } from '../../../lib/token/access-token.js';
import { Keyring } from '../../../lib/token/keyring.js';
import { VerifiedTokens } from '../../../lib/token/verified-tokens.js';
import { readTokenOptions } from '../../../lib/token/options.js';
import { Random } from '../../helpers/random.js';
import { POOL, RandomTokens, secretKey } from '../../helpers/random-tokens.js';

/** The number of tokens to show. CI uses a million. */
const TOKENS = Number(process.env.TEST_TOKENS ?? 20_000);
/** `TEST_SEED` repeats the tokens of a failure, except the bytes of their keys and ids. */
const SEED = Number(process.env.TEST_SEED ?? randomInt(2 ** 31));

/** The bounds of the memory of `AccessTokens`: the number of tokens, and the length of each. */
const MAX_REMEMBERED = 10_000;
const MAX_REMEMBERED_LENGTH = 4096;

type Verdict = SessionClaims | undefined | 'unavailable';

function verdictOn(token: string, tokens: AccessTokens): Verdict {
  try {
    return tokens.verify(token);
  } catch (error) {
    if (error instanceof UnavailableError) return 'unavailable';
    throw error;
  }
}

const PERMANENT = secretKey('permanent');

function tokenConfig() {
  const faults = new OptionFaults();
  const options = {
    keys: [{ kid: 'permanent', secret: PERMANENT.signingKey }],
    issuer: 'us',
    audience: ['shop', 'site'],
  };
  const config = readTokenOptions({ ...options, clockTolerance: '10s' }, 'string', faults);
  expect(faults.list).toEqual([]);
  return config;
}

/** Shows each token to a verifier that remembers and to a fresh one, with the same keys at the same time. */
class BothWays {
  private readonly config = tokenConfig();
  readonly tokens = new RandomTokens(new Random(SEED), this.config, PERMANENT, TOKENS);
  private readonly warmKeys = this.keyring();
  private coldKeys = this.keyring();
  private readonly warm = this.accessTokens(this.warmKeys);
  private managed = this.tokens.managed;

  get memory(): VerifiedTokens {
    return (this.warm as unknown as { verified: VerifiedTokens }).verified;
  }

  next() {
    const token = this.tokens.next();
    if (this.managed !== this.tokens.managed) this.changeKeys();
    const isRemembered = this.memory.has(token);
    const cold = this.accessTokens(this.coldKeys);
    return { token, isRemembered, cached: verdictOn(token, this.warm), uncached: verdictOn(token, cold) };
  }

  private changeKeys(): void {
    this.managed = this.tokens.managed;
    this.warmKeys.use(this.managed);
    // A keyring remembers the headers that it has seen, so the fresh verifier needs a new one.
    this.coldKeys = this.keyring();
  }

  private keyring(): Keyring {
    const keyring = new Keyring(this.config);
    keyring.use(this.tokens.managed);
    keyring.isComplete = () => this.tokens.isComplete;
    return keyring;
  }

  private accessTokens(keyring: Keyring): AccessTokens {
    return new AccessTokens(keyring, this.config, () => this.tokens.now);
  }
}

/** The minimum share of each kind of token, counted after the pool was shown once. With less, the test would prove little. */
const MIN_SHARE = {
  'accepted, remembered': 0.1,
  'accepted, unknown': 0.05,
  'accepted, unknown, too long': 0.0005,
  'refused, remembered': 0.0005,
  'refused, unknown': 0.05,
  'unavailable, unknown': 0.0005,
};

function kindOf({ token, isRemembered, uncached }: ReturnType<BothWays['next']>): string {
  const verdict = typeof uncached === 'object' ? 'accepted' : (uncached ?? 'refused');
  const length = token.length > MAX_REMEMBERED_LENGTH ? ', too long' : '';
  return `${verdict}, ${isRemembered ? 'remembered' : 'unknown'}${length}`;
}

test('gives random tokens the same verdict with and without the memory of verified tokens', () => {
  // Building the stack of each refusal would take a large part of the time.
  Error.stackTraceLimit = 0;
  const both = new BothWays();
  const counts: Record<string, number> = {};
  let most = 0;
  for (let at = 0; at < TOKENS; at++) {
    const shown = both.next();
    const { token, cached, uncached } = shown;
    if (!isDeepStrictEqual(cached, uncached))
      throw new Error(`TEST_SEED=${SEED}, token ${at}: ${JSON.stringify({ token, cached, uncached })}`);
    const kind = kindOf(shown);
    if (at >= POOL) counts[kind] = (counts[kind] ?? 0) + 1;
    most = Math.max(most, both.memory.size);
  }
  const tooFew = Object.entries(MIN_SHARE).filter(([kind, share]) => !(counts[kind] >= share * (TOKENS - POOL)));
  expect({ tooFew, counts }).toMatchObject({ tooFew: [] });
  // The memory was full, so tokens had to make room for others, and it never exceeded its bound.
  expect(most).toBe(MAX_REMEMBERED);
  expect(Object.keys(counts)).not.toContain('accepted, remembered, too long');
}, 300_000);

describe('the memory of verified tokens', () => {
  const heldOf = (claims: object) => {
    const memory = new VerifiedTokens();
    for (let at = 0; at < 12_000; at++) memory.add(`${'x'.repeat(500)}${at}`, structuredClone({ ...claims, at }));
    return memory.size;
  };

  test('holds 10,000 usual tokens', () => {
    const text = 'x'.repeat(36);
    const claims = { a: text, b: text, c: text, d: 1, e: 2, f: 3, g: 'LONG', h: 'access', i: ['pwd'] };
    expect(heldOf(claims)).toBe(10_000);
  });

  test('holds fewer tokens if their claims take more memory', () => {
    // 3 kB of JSON each, which V8 needs 54 kB for.
    const size = heldOf({ list: Array.from({ length: 800 }, () => ({})) });
    expect(size).toBeLessThan(400);
    expect(size).toBeGreaterThan(100);
  });

  test('forgets the oldest tokens first', () => {
    const memory = new VerifiedTokens();
    for (let at = 0; at <= 10_000; at++) memory.add(String(at), { at });
    expect([memory.has('0'), memory.get('1'), memory.get('10000')]).toEqual([false, { at: 1 }, { at: 10_000 }]);
  });

  test('counts a token once, and no longer when it is deleted', () => {
    const memory = new VerifiedTokens();
    const list = Array.from({ length: 2000 }, () => ({}));
    for (let at = 0; at < 1000; at++) {
      memory.add('the same', { list });
      if (at % 2 === 0) memory.delete('the same');
    }
    memory.add('another', { list });
    expect([memory.size, memory.has('the same')]).toEqual([2, true]);
    memory.clear();
    expect([memory.size, memory.get('another')]).toEqual([0, undefined]);
  });

  test('freezes the claims, which requests share', () => {
    const claims = { roles: ['admin', { of: 'team' }] };
    new VerifiedTokens().add('x'.repeat(5000), claims);
    expect([claims, claims.roles, claims.roles[1]].every(Object.isFrozen)).toBe(true);
  });
});
