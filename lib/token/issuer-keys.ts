import { constants, createPublicKey, type JsonWebKey, type KeyObject, verify } from 'node:crypto';
import { KEYS_MAX_AGE, KEYS_MIN_PAUSE, KEYS_RELOAD_AFTER } from '../engine/timing.js';
import type { Claims, VerifyingKeys } from './claims.js';

/** A key as `jwks.json` has it. */
export type Jwk = Readonly<Record<string, unknown>>;

/** How to verify with an algorithm. Symmetric ones are missing: a service must not be able to make tokens. */
interface Algorithm {
  readonly hash: string;
  readonly keyType: 'rsa' | 'ec';
  readonly curve?: string;
  readonly options?: { readonly padding: number; readonly saltLength: number };
}

const pss = (saltLength: number) => ({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  RS256: { hash: 'sha256', keyType: 'rsa' },
  RS384: { hash: 'sha384', keyType: 'rsa' },
  RS512: { hash: 'sha512', keyType: 'rsa' },
  PS256: { hash: 'sha256', keyType: 'rsa', options: pss(32) },
  PS384: { hash: 'sha384', keyType: 'rsa', options: pss(48) },
  PS512: { hash: 'sha512', keyType: 'rsa', options: pss(64) },
  ES256: { hash: 'sha256', keyType: 'ec', curve: 'prime256v1' },
  ES384: { hash: 'sha384', keyType: 'ec', curve: 'secp384r1' },
  ES512: { hash: 'sha512', keyType: 'ec', curve: 'secp521r1' },
};
/** The names of the algorithms that are known. All of them are asymmetric. */
export const PUBLIC_ALGORITHMS: readonly string[] = Object.keys(ALGORITHMS);

const MIN_RSA_BITS = 2048;
const MAX_KID_LENGTH = 64;

interface IssuerKey {
  readonly name: string;
  readonly algorithm: Algorithm;
  readonly key: KeyObject;
  /** The key as text, to see whether it has changed. */
  readonly text: string;
}

/** The claims that each token must have. */
export interface ExpectedClaims {
  /** Default: tokens need no issuer. */
  readonly issuer?: string | undefined;
  readonly audience: readonly string[] | false;
}

/**
 * The public keys of the issuer.
 *
 * They are loaded again every minute, and when a token names a key that is not among them. Tokens are made up easily, so loads
 * are at least a second apart, and all requests that wait share one. A verdict on an unknown key rests on a load that began
 * after the token had arrived.
 */
export class IssuerKeys implements VerifyingKeys {
  edition = 0;
  private keys: ReadonlyMap<string, IssuerKey> = new Map();
  /** The start of the last load that succeeded, and of the last one at all, on the monotonic clock. */
  private loadedAt = -Infinity;
  private startedAt = -Infinity;
  private loading?: Promise<void>;
  /** The load that has not begun yet. */
  private next?: Promise<void>;

  /**
   * @param load asks the issuer for its keys
   * @param expected returns the claims that each token must have
   * @param assumed the algorithm of keys that do not state one. Default: such keys are not used
   */
  constructor(
    private readonly load: () => Promise<readonly Jwk[]>,
    private readonly expected: () => ExpectedClaims,
    private readonly assumed?: string,
  ) {}

  /** The number of keys. */
  get size(): number {
    return this.keys.size;
  }

  /** Whether the keys are recent enough to rely on them. */
  get isUsable(): boolean {
    return performance.now() - this.loadedAt < KEYS_MAX_AGE;
  }

  /** Whether the keys should be loaded again soon. */
  get isDue(): boolean {
    return performance.now() - this.loadedAt >= KEYS_RELOAD_AFTER;
  }

  verify(token: string): Claims | undefined {
    const [header, payload, signature, ...more] = token.split('.');
    if (!signature || more.length > 0) return undefined;
    const { alg, kid, crit } = jsonIn(header);
    const found = typeof kid === 'string' ? this.keys.get(kid) : undefined;
    // Each key is pinned to its algorithm: a token never chooses one (RFC 8725 section 3.1).
    if (!found || found.name !== alg || crit !== undefined) return undefined;
    const { algorithm, key } = found;
    const signed = Buffer.from(token.slice(0, header.length + 1 + payload.length));
    const options = { key, dsaEncoding: 'ieee-p1363' as const, ...algorithm.options };
    if (!verify(algorithm.hash, signed, options, Buffer.from(signature, 'base64url'))) return undefined;
    const claims = jsonIn(payload);
    return this.isExpected(claims) ? claims : undefined;
  }

  /** Whether a token names a key that is not among the known ones, and may be one that the issuer has added. */
  isUnknown(token: string): boolean {
    const { alg, kid } = jsonIn(token.slice(0, Math.max(0, token.indexOf('.'))));
    if (typeof kid !== 'string' || kid.length > MAX_KID_LENGTH) return false;
    return typeof alg === 'string' && Object.hasOwn(ALGORITHMS, alg) && !this.keys.has(kid);
  }

  /**
   * Loads the keys. The load begins after this call, but not sooner than a second after the last one.
   * @throws Error if the issuer does not answer as it should
   */
  reload(): Promise<void> {
    this.next ??= this.loadNext().finally(() => (this.loading = undefined));
    return this.next;
  }

  private async loadNext(): Promise<void> {
    await this.loading?.catch(() => undefined);
    const pause = this.startedAt + KEYS_MIN_PAUSE - performance.now();
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    this.startedAt = performance.now();
    this.loading = this.next;
    this.next = undefined;
    const { startedAt } = this;
    this.use(await this.load());
    this.loadedAt = startedAt;
  }

  private use(given: readonly Jwk[]): void {
    const before = this.keys;
    const keys = new Map<string, IssuerKey>();
    for (const jwk of given) {
      const text = JSON.stringify(jwk);
      const known = typeof jwk.kid === 'string' ? before.get(jwk.kid) : undefined;
      const key = known?.text === text ? known : importKey(jwk, text, this.assumed);
      if (key && typeof jwk.kid === 'string') keys.set(jwk.kid, key);
    }
    this.keys = keys;
    if ([...before].some(([kid, { text }]) => keys.get(kid)?.text !== text)) this.edition++;
  }

  private isExpected({ iss, aud }: Claims): boolean {
    const { issuer, audience } = this.expected();
    if (issuer !== undefined && iss !== issuer) return false;
    if (audience === false) return true;
    const named: unknown[] = Array.isArray(aud) ? aud : [aud];
    return audience.some((name) => named.includes(name));
  }
}

/** Reads a key. Returns undefined if it is of a kind that we do not know, or too weak. */
function importKey(jwk: Jwk, text: string, assumed: string | undefined): IssuerKey | undefined {
  const name = jwk.alg ?? assumed;
  if (typeof name !== 'string' || !Object.hasOwn(ALGORITHMS, name) || (jwk.use ?? 'sig') !== 'sig') return undefined;
  const algorithm = ALGORITHMS[name];
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
    const { modulusLength = Infinity, namedCurve } = key.asymmetricKeyDetails ?? {};
    const fits = key.asymmetricKeyType === algorithm.keyType && namedCurve === algorithm.curve;
    return fits && modulusLength >= MIN_RSA_BITS ? { name, algorithm, key, text } : undefined;
  } catch {
    return undefined;
  }
}

/** Reads a part of a token. Returns an empty object if it holds no object. */
export function jsonIn(part: string): Claims {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return value !== null && typeof value === 'object' ? (value as Claims) : {};
  } catch {
    return {};
  }
}
