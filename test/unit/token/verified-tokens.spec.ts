import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from '@jest/globals';
import { OptionFaults } from '../../../lib/option-check.js';
import { UnavailableError } from '../../../lib/errors.js';
import { type SessionClaims, AccessTokens } from '../../../lib/token/access-token.js';
import { Keyring } from '../../../lib/token/keyring.js';
import { readTokenOptions } from '../../../lib/token/options.js';
import { Random } from '../../helpers/random.js';
import { RandomTokens, secretKey } from '../../helpers/random-tokens.js';

const TOKENS = 1_000_000;
/** With `TEST_SEED`, those of a failure come again: all but the bytes of their keys and ids. */
const SEED = Number(process.env.TEST_SEED ?? randomInt(2 ** 31));

/** What `AccessTokens` may remember, of what length: its bound in memory. */
const REMEMBERED = 10_000;
const LONGEST = 4096;

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

/** One that remembers, and one that has never seen anything before, on the same keys at the same time. */
class BothWays {
  private readonly config = tokenConfig();
  readonly tokens = new RandomTokens(new Random(SEED), this.config, PERMANENT);
  private readonly warmKeys = this.keyring();
  private coldKeys = this.keyring();
  private readonly warm = this.accessTokens(this.warmKeys);
  private managed = this.tokens.managed;

  /** What is remembered, by the token's text. */
  get memory(): ReadonlyMap<string, unknown> {
    return (this.warm as unknown as { verified: ReadonlyMap<string, unknown> }).verified;
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
    // A keyring remembers too: the headers that it has seen.
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

/** Of each kind there must be so many at least, or the test would say little of it. */
const LEAST = {
  'accepted, remembered': 100_000,
  'accepted, unknown': 50_000,
  'accepted, unknown, too long': 500,
  'refused, remembered': 500,
  'refused, unknown': 50_000,
  'unavailable, unknown': 500,
};

function kindOf({ token, isRemembered, uncached }: ReturnType<BothWays['next']>): string {
  const verdict = typeof uncached === 'object' ? 'accepted' : (uncached ?? 'refused');
  return `${verdict}, ${isRemembered ? 'remembered' : 'unknown'}${token.length > LONGEST ? ', too long' : ''}`;
}

test('a token gets the verdict that it would get had none been remembered: a million random ones', () => {
  // The stack of each refusal would take a good part of the time.
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
    counts[kind] = (counts[kind] ?? 0) + 1;
    most = Math.max(most, both.memory.size);
  }
  const tooFew = Object.entries(LEAST).filter(([kind, least]) => !(counts[kind] >= least));
  expect({ tooFew, counts }).toMatchObject({ tooFew: [] });
  // It was full, so that tokens had to make room for others, and never more than that.
  expect(most).toBe(REMEMBERED);
  expect(Object.keys(counts)).not.toContain('accepted, remembered, too long');
}, 300_000);
