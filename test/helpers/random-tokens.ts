import { createSecretKey, generateKeyPairSync } from 'node:crypto';
import { type AccessTokenSubject, AccessTokens } from '../../lib/token/access-token.js';
import { Keyring } from '../../lib/token/keyring.js';
import { RefreshTokens } from '../../lib/token/refresh-token.js';
import type { JwtKey } from '../../lib/token/key-options.js';
import type { TokenConfig } from '../../lib/token/options.js';
import type { Random } from './random.js';
import { decoded, signedByHand, type TokenPart } from './tokens.js';

export type KeyWithName = JwtKey & { readonly kid: string };

const START = Date.UTC(2026, 0, 1, 12);
const HOUR = 3_600_000;
const SESSION_ID = '0190b8a4-0000-7000-8000-000000000001';
const FOREIGN_SECRET = 'a secret of somebody else, of more than thirty-two bytes';

const secretOf = (kid: string) => `the secret of the key ${kid}, of more than thirty-two bytes`;

export function secretKey(kid: string): KeyWithName {
  const key = createSecretKey(secretOf(kid), 'utf8');
  return { kid, algorithm: 'HS256', signingKey: key, verifyingKey: key };
}

function keyPair(kid: string, algorithm: 'RS256' | 'ES256'): KeyWithName {
  const { privateKey, publicKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { kid, algorithm, signingKey: privateKey, verifyingKey: publicKey };
}

// ─── Faults of tokens ───────────────────────────────────────────────────────────────────────────────────────────────────

/** Changes of a header. Some of them leave the token valid. */
const HEADERS: readonly TokenPart[] = [
  {},
  { typ: 'JWT' },
  { typ: undefined },
  { more: 'of it' },
  { alg: 'none' },
  { alg: 'HS512' },
  { alg: 'RS256' },
  { kid: 'unknown' },
  { kid: undefined },
  { crit: ['exp'], exp: 1 },
];
const CLAIMS: readonly TokenPart[] = [
  {},
  { exp: undefined },
  { exp: '9999999999' },
  { exp: null },
  { iat: undefined },
  { nbf: 'soon' },
  { token_type: 'refresh' },
  { gen: -1 },
  { gen: 1.5 },
  { sid: 1 },
  { session_type: undefined },
  { jti: 7 },
  { sub: undefined },
  { sub: 42 },
  { iss: 'another' },
  { aud: 'another' },
  { amr: 'pwd' },
  { auth_time: 'yesterday' },
  { nested: { list: [1, { two: 2 }] } },
];

const ALPHABET = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'];
const INSERTED = [' ', '\n', '\t', '\0', '.', '=', 'A', '-', '+', '%2e', '．', '\ud800'];

const replaceAt = (text: string, at: number, by: string, length = 1) =>
  text.slice(0, at) + by + text.slice(at + length);

function swapPart(token: string, other: string, part: number): string {
  return token
    .split('.')
    .map((own, at) => (at === part ? (other.split('.')[at] ?? '') : own))
    .join('.');
}

function recodeSignature(token: string, encoding: BufferEncoding): string {
  const at = token.lastIndexOf('.') + 1;
  return token.slice(0, at) + Buffer.from(token.slice(at), 'base64url').toString(encoding);
}

/** The last character of a signature has unused bits, so some other characters there decode to the same bytes. */
const replaceLast = (token: string, random: Random) => replaceAt(token, token.length - 1, random.pick(ALPHABET));

/** Edits of a token's text. */
const EDITS: readonly ((token: string, random: Random, other: string) => string)[] = [
  (token, random) => replaceAt(token, random.below(token.length), random.pick(ALPHABET)),
  replaceLast,
  replaceLast,
  (token, random) => replaceAt(token, random.below(token.length + 1), random.pick(INSERTED), 0),
  (token, random) => replaceAt(token, random.below(token.length), '', 1),
  (token, random) => random.pick(INSERTED) + token,
  (token, random) => token + random.pick(INSERTED),
  (token) => `${token}==`,
  (token, random) => token.slice(0, random.below(token.length)),
  (token, random) => token.slice(random.below(token.length)),
  (token) => token.slice(0, token.lastIndexOf('.') + 1),
  (token) => token.slice(0, token.lastIndexOf('.')),
  (token) => token.toUpperCase(),
  (token) => token.toLowerCase(),
  (token) => token.replaceAll('-', '+').replaceAll('_', '/'),
  (token) => token.replace('.', '..'),
  (token) => recodeSignature(token, 'base64'),
  (token) => recodeSignature(token, 'hex'),
  (token, random, other) => swapPart(token, other, random.below(3)),
  (token, _, other) => `${token}.${other}`,
  (token) => `Bearer ${token}`,
  (token) => encodeURIComponent(token).replaceAll('.', '%2e'),
  (token) => Buffer.from(token).toString('base64url'),
];

// ─── Tokens, keys and time ──────────────────────────────────────────────────────────────────────────────────────────────

/** A key, with the issuers of tokens that sign with it. */
interface Signer {
  readonly key: KeyWithName;
  readonly access: AccessTokens;
  readonly refresh: RefreshTokens;
}

const { floor } = Math;

/** The number of different tokens at any moment. It is large enough to fill the memory of verified tokens. */
export const POOL = 14_000;

/**
 * Shows valid and invalid tokens repeatedly, while time passes and keys are added and removed. The first `POOL` calls show
 * each token of the pool once, to fill the memory of verified tokens.
 */
export class RandomTokens {
  /** The current keys, besides the one of the options. */
  managed: readonly KeyWithName[];
  /** Whether `managed` is the complete list of keys. */
  isComplete = true;
  private shown = 0;
  /** How many tokens are shown in a period without key changes. */
  private readonly calm: number;
  /** How many tokens are shown in the following period with key changes. */
  private readonly busy: number;
  private elapsed = 0;
  private clockError = 0;
  private readonly coming: readonly KeyWithName[];
  private readonly signers: readonly Signer[];
  private readonly pool: string[] = [];

  /**
   * @param permanent the key of the options, which is never removed
   * @param total how many tokens will be shown
   */
  constructor(
    private readonly random: Random,
    private readonly config: TokenConfig,
    permanent: KeyWithName,
    private readonly total: number,
  ) {
    this.calm = total / 10;
    this.busy = total / 20;
    const secrets = ['a', 'b', 'c', 'd'].map(secretKey);
    this.coming = [...secrets, keyPair('r', 'RS256'), keyPair('e', 'ES256')];
    this.managed = this.coming;
    this.signers = [permanent, ...this.coming].map((key) => this.signerWith(key));
    while (this.pool.length < POOL) this.pool.push(this.make());
  }

  /** The current time in milliseconds, including the error of the clock. */
  get now(): number {
    return START + this.elapsed + this.clockError;
  }

  /**
   * Advances the time, may set the clock, and may add or remove keys.
   *
   * @returns the next token to show
   */
  next(): string {
    this.passTime();
    this.changeKeys();
    if (this.shown++ < POOL) return this.pool[this.shown - 1];
    // Some tokens are shown much more often than others.
    const at = floor(POOL * this.random.next() ** 4);
    const kind = this.random.below(20);
    if (kind < 2) this.pool[at] = this.make();
    if (kind < 18) return this.pool[at];
    return this.random.pick(EDITS)(this.pool[at], this.random, this.random.pick(this.pool));
  }

  private passTime(): void {
    this.elapsed += this.random.below(10);
    if (this.random.once(Math.min(1000, this.total / 200))) this.clockError = this.random.below(HOUR / 3) - HOUR / 6;
  }

  private changeKeys(): void {
    const isCalm = this.shown < POOL || (this.shown - POOL) % (this.calm + this.busy) < this.calm;
    if (isCalm && this.managed !== this.coming) this.managed = this.coming;
    if (isCalm || !this.random.once(Math.min(300, this.busy / 20))) return;
    const changed = this.random.pick(this.coming);
    const without = this.managed.filter((key) => key !== changed);
    this.managed = without.length < this.managed.length ? without : [...without, changed];
    this.isComplete = !this.random.once(3);
  }

  private make(): string {
    const signer = this.signer();
    const kind = this.random.below(20);
    if (kind < 18) return signer.access.issue(this.subject(), this.issuedAt());
    if (kind < 19) return this.refreshToken(signer);
    return this.odd();
  }

  /** Returns RSA or ECDSA only once in fifty times, because it takes much longer, especially to sign. */
  private signer(): Signer {
    const [secrets, pairs] = [this.signers.slice(0, -2), this.signers.slice(-2)];
    return this.random.pick(this.random.once(50) ? pairs : secrets);
  }

  private signerWith(key: KeyWithName): Signer {
    const keyring = new Keyring({ ...this.config, keys: [key] });
    return {
      key,
      access: new AccessTokens(keyring, this.config, () => this.now),
      refresh: new RefreshTokens(keyring, this.config),
    };
  }

  private subject(): AccessTokenSubject {
    const { random } = this;
    const isLong = random.once(50);
    return {
      userId: `user ${random.below(1000)}`,
      sessionId: SESSION_ID,
      type: random.pick(['LONG', 'SHORT']),
      generation: random.below(100),
      authenticatedAt: this.now - random.below(HOUR),
      expiresAt: this.now + random.below(100 * HOUR),
      lifetime: random.once(8) ? 1000 * (1 + random.below(600)) : 2 * HOUR,
      claims: isLong ? { long: 'x'.repeat(random.below(8000)) } : random.pick([undefined, { roles: ['user'] }]),
    };
  }

  private issuedAt(): number {
    return this.now - this.random.below(HOUR / 2);
  }

  private refreshToken({ key, refresh }: Signer): string {
    const { random } = this;
    return refresh.issue({
      userId: 'alice',
      sessionId: SESSION_ID,
      type: 'LONG',
      generation: random.below(100),
      jti: RefreshTokens.newJti(),
      issuedAt: this.issuedAt(),
      expiresAt: random.pick([null, this.now + HOUR]),
      kid: key.kid,
    });
  }

  /** Makes a token with a header or claims that the library never issues, or signed with a foreign secret. */
  private odd(): string {
    const { random } = this;
    const { key, access } = random.pick(this.signers.slice(0, -2));
    const token = access.issue(this.subject(), this.issuedAt());
    const header = { ...decoded(token, 0), ...(random.once(2) && random.pick(HEADERS)) };
    const notBefore = floor(this.now / 1000) + random.below(600) - 300;
    const claims = random.once(2) ? { nbf: notBefore } : random.pick(CLAIMS);
    const secret = random.once(5) ? FOREIGN_SECRET : secretOf(key.kid);
    return signedByHand(header, { ...decoded(token, 1), ...claims }, secret);
  }
}
