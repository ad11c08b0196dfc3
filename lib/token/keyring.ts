import type { JsonWebKey } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';
import { UnavailableError } from '../errors.js';
import type { Claims, SigningKeys } from './claims.js';
import { defaultKid } from './key-id.js';
import { ALGORITHMS, type JwtKey } from './key-options.js';
import type { TokenConfig } from './options.js';

/** The types of the tokens that we write. */
const TYPES: ReadonlySet<unknown> = new Set(['at+jwt', 'JWT']);

/** A key with its id and its own `JwtService`. */
export type NamedKey = JwtKey & { readonly kid: string; readonly jwt: JwtService };

/** When a key signs new tokens, in milliseconds since 1970. */
export interface SigningSpan {
  readonly from: number;
  readonly until: number;
}

/** A public key in the form of `jwks.json` (RFC 7517). */
export type PublicJwk = JsonWebKey & { kid: string; alg: string; use: 'sig' };

/**
 * Signs with the current key and verifies with any known key.
 *
 * The header of a token only selects one of our own keys by `kid`. Each key is pinned to its algorithm.
 * `jku`, `jwk` and `x5c` are ignored, and a token with `crit` is refused (RFC 8725 sections 3.1 and 3.10).
 */
export class Keyring implements SigningKeys {
  /** Incremented when a key is removed. Caches of verified tokens are then invalid. */
  edition = 0;
  /**
   * Returns whether an unknown `kid` proves that a token is not ours. Default: always. With managed keys, only if the last poll
   * is recent enough.
   */
  isComplete: () => boolean = () => true;
  private byKid: ReadonlyMap<string, NamedKey> = new Map();
  // Our tokens have very few different headers, so the encoded header is enough to find the key. At most one entry per kid and type.
  private readonly byHeader = new Map<string, NamedKey>();
  private signing?: NamedKey;
  private spans: ReadonlyMap<string, SigningSpan> = new Map();

  constructor(private readonly config: Pick<TokenConfig, 'keys' | 'issuer' | 'audience'>) {
    this.use([]);
  }

  /**
   * Replaces the managed keys. The keys from the options remain.
   * @param signing the `kid` of the key that signs. Default: the first key that can sign
   * @param spans when each managed key signs. Default: at any time
   */
  use(
    managed: readonly (JwtKey & { kid: string })[],
    signing?: string,
    spans: ReadonlyMap<string, SigningSpan> = new Map(),
  ): void {
    this.spans = spans;
    const before = this.byKid;
    const byKid = new Map<string, NamedKey>();
    for (const key of [...managed, ...this.config.keys]) {
      const kid = key.kid ?? defaultKid(key);
      if (!byKid.has(kid)) byKid.set(kid, before.get(kid) ?? { ...key, kid, jwt: this.serviceOf(key) });
    }
    this.byKid = byKid;
    this.signing = signing === undefined ? [...byKid.values()].find((key) => key.signingKey) : byKid.get(signing);
    this.byHeader.clear();
    if ([...before.keys()].some((kid) => !byKid.has(kid))) this.edition++;
  }

  /**
   * The key that signs new tokens.
   * @throws UnavailableError if no managed key could be read yet
   */
  get current(): NamedKey {
    if (this.signing) return this.signing;
    throw new UnavailableError(new Error('the managed signing keys have not been read yet'));
  }

  /**
   * Whether this key signed new tokens at this time, in milliseconds since 1970. A key from the options may have signed at any
   * time: nobody records when it was the first one.
   */
  signedAt(kid: string, time: number): boolean {
    const span = this.spans.get(kid);
    return span ? span.from <= time && time < span.until : this.byKid.has(kid);
  }

  /** Returns the public keys for services that verify our access tokens (RFC 7517 section 5). Secrets are left out. */
  jwks(): { keys: PublicJwk[] } {
    const keys = [...this.byKid.values()].filter(({ verifyingKey }) => verifyingKey.type === 'public');
    return {
      keys: keys.map(({ kid, algorithm, verifyingKey }) => ({
        ...verifyingKey.export({ format: 'jwk' }),
        kid,
        alg: algorithm,
        use: 'sig',
      })),
    };
  }

  /**
   * Signs a token. `iss` and `aud` are added if they are configured.
   * @param claims written in this order, so a deterministic algorithm gives the same text for the same claims
   * @param typ the token's explicit type (RFC 8725 section 3.11)
   * @param kid the key to sign with. The current key signs if this one is gone or cannot sign
   * @throws UnavailableError if no signing key has been read yet
   */
  sign(claims: Claims, typ: string, kid?: string): string {
    const named = kid === undefined ? undefined : this.byKid.get(kid);
    const key = named?.signingKey ? named : this.current;
    const { issuer, audience } = this.config;
    const payload = {
      ...claims,
      ...(issuer && { iss: issuer }),
      ...(audience && { aud: audience.length === 1 ? audience[0] : audience }),
    };
    return key.jwt.sign(payload, { header: { alg: key.algorithm, typ, kid: key.kid } });
  }

  /**
   * Signs a token for somebody else, with the current key. `iss` is added if it is configured.
   * @param typ the token's explicit type, which must not be one of our own tokens
   * @throws UnavailableError if no signing key has been read yet
   */
  signFor(claims: Claims, typ: string, audience: string): string {
    const { algorithm, kid, jwt } = this.current;
    const { issuer } = this.config;
    return jwt.sign(
      { ...claims, ...(issuer && { iss: issuer }), aud: audience },
      { header: { alg: algorithm, typ, kid } },
    );
  }

  /**
   * Verifies the signature, issuer and audience. It does not check times: the caller compares them with the database's clock.
   * @returns the claims, or undefined if the token is not ours
   * @throws UnavailableError if the key may be one that this process has not read yet
   */
  verify(token: string): Claims | undefined {
    const key = this.keyOf(token);
    if (!key) return undefined;
    try {
      const claims: unknown = key.jwt.verify<Claims>(token);
      return claims !== null && typeof claims === 'object' ? (claims as Claims) : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Returns the key that the token's header names, which is the only one to verify it with; undefined if we have no such key.
   * @throws UnavailableError if the key may be one that this process has not read yet
   */
  keyOf(token: string): NamedKey | undefined {
    const end = token.indexOf('.');
    if (end <= 0) return undefined;
    const header = token.slice(0, end);
    return this.byHeader.get(header) ?? this.keyOfHeader(header);
  }

  /**
   * Returns the options for `jsonwebtoken`, which this class and passport-jwt use.
   * @param algorithms Default: all, because `keyOf` has already checked the algorithm
   */
  verifyOptions(algorithms: readonly JwtKey['algorithm'][] = ALGORITHMS) {
    const { issuer, audience } = this.config;
    return {
      algorithms: [...algorithms],
      ignoreExpiration: true,
      ignoreNotBefore: true,
      ...(issuer && { issuer }),
      ...(audience && { audience: [...audience] as [string, ...string[]] }),
    };
  }

  /**
   * Creates a separate `JwtService` for a key, so that calls pass neither a key nor options. If they did, JwtService would delete
   * the key from the options, and V8 is slow with objects from which a member was deleted: verifying would take 11 µs instead of
   * 8 µs.
   */
  private serviceOf({ algorithm, signingKey, verifyingKey }: JwtKey): JwtService {
    return new JwtService({
      privateKey: signingKey,
      publicKey: verifyingKey as never,
      signOptions: { algorithm },
      verifyOptions: this.verifyOptions([algorithm]),
    });
  }

  private keyOfHeader(header: string): NamedKey | undefined {
    const { alg, kid, crit, typ } = parseHeader(header);
    const key = typeof kid === 'string' ? this.byKid.get(kid) : undefined;
    // We may not know the key yet, so the token must not be reported as invalid.
    if (!key && typeof kid === 'string' && !this.isComplete())
      throw new UnavailableError(new Error('a token names a key that this process may not have read yet'));
    if (key?.algorithm !== alg || crit !== undefined) return undefined;
    const plain = Buffer.from(JSON.stringify({ alg, typ, kid })).toString('base64url');
    // The signature is not verified yet. Remember only headers that we write, so that forged ones take no room.
    if (key && header === plain && TYPES.has(typ)) this.byHeader.set(header, key);
    return key;
  }
}

function parseHeader(text: string): Claims {
  if (text.length > 1000) return {};
  try {
    const header: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    return header !== null && typeof header === 'object' ? (header as Claims) : {};
  } catch {
    return {};
  }
}
