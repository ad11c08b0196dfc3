import { createHash, createHmac, type JsonWebKey } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';
import { UnavailableError } from '../errors.js';
import { ALGORITHMS, type JwtKey, type TokenConfig } from './options.js';

/** The claims of a verified token, not yet looked at. */
export type Claims = Record<string, unknown>;

/** A key with its name, and with a service of its own. */
export type NamedKey = JwtKey & { readonly kid: string; readonly jwt: JwtService };

/** A public key as `jwks.json` shows it (RFC 7517). */
export type PublicJwk = JsonWebKey & { kid: string; alg: string; use: 'sig' };

/**
 * Signs with the first key, verifies with any. A token's header chooses among our own keys by `kid` and nothing else:
 * each key is pinned to its algorithm, and `jku`, `jwk`, `x5c` and `crit` are never followed (RFC 8725 sections 3.1, 3.10).
 */
export class Keyring {
  /** Goes up when a key has gone: what was verified before is to be verified again. */
  edition = 0;
  /**
   * Whether a key that is not here is surely none of ours. Default: always; managed keys are known only as far as the last poll
   * tells.
   */
  isComplete: () => boolean = () => true;
  private byKid: ReadonlyMap<string, NamedKey> = new Map();
  // Tokens of ours bear one of very few headers, so their text alone finds the key; at most one entry a kid and type.
  private readonly byHeader = new Map<string, NamedKey>();
  private signing?: NamedKey;

  constructor(private readonly config: Pick<TokenConfig, 'keys' | 'issuer' | 'audience'>) {
    this.use([]);
  }

  /**
   * Takes these keys beside those of the options, from now on.
   * @param signing the one that signs. Default: the first of the options that can
   */
  use(managed: readonly (JwtKey & { kid: string })[], signing?: string): void {
    const before = this.byKid;
    const byKid = new Map<string, NamedKey>();
    for (const key of [...managed, ...this.config.keys]) {
      const kid = key.kid ?? nameOf(key);
      if (!byKid.has(kid)) byKid.set(kid, before.get(kid) ?? { ...key, kid, jwt: this.serviceOf(key) });
    }
    this.byKid = byKid;
    this.signing = signing === undefined ? [...byKid.values()].find((key) => key.signingKey) : byKid.get(signing);
    this.byHeader.clear();
    if ([...before.keys()].some((kid) => !byKid.has(kid))) this.edition++;
  }

  /** The key that new tokens are signed with. @throws UnavailableError while managed keys could not be read yet */
  get current(): NamedKey {
    if (this.signing) return this.signing;
    throw new UnavailableError(new Error('no signing key is known yet'));
  }

  /** The public keys, for who verifies our access tokens elsewhere; a secret is never among them (RFC 7517 section 5). */
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
   * @param claims what to sign, in this order: with a deterministic algorithm the same claims give the same text
   * @param typ the token's explicit type (RFC 8725 section 3.11)
   * @param kid the key to sign with; the current one where that key is gone or cannot sign
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
   * @returns the claims of a token that one of our keys signed for our issuer and audience, else undefined. Its times are
   * not looked at: they go by the database's clock, and that is the caller's.
   * @throws UnavailableError where the key may be one that this process does not know yet
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

  /** The one key that may have signed this token, by its header. @throws UnavailableError as `verify` */
  keyOf(token: string): NamedKey | undefined {
    const end = token.indexOf('.');
    if (end <= 0) return undefined;
    const header = token.slice(0, end);
    return this.byHeader.get(header) ?? this.keyOfHeader(header);
  }

  /** What jsonwebtoken must demand, here and in passport-jwt alike. @param algorithms default: any, since `keyOf` has looked */
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
   * The key and the options are the service's own and not given at each call: JwtService deletes the key from what it is given,
   * and V8 is slow with an object that something was deleted from. Verifying takes 8 µs so, and 11 otherwise.
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
    // A server's lack of knowledge is never told as a bad token.
    if (!key && typeof kid === 'string' && !this.isComplete()) throw new UnavailableError(new Error('an unknown key'));
    if (key?.algorithm !== alg || crit !== undefined) return undefined;
    const plain = Buffer.from(JSON.stringify({ alg, typ, kid })).toString('base64url');
    if (header === plain && typeof typ === 'string' && typ.length <= 10 && this.byHeader.size < 1000)
      this.byHeader.set(header, key as NamedKey);
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

/** A name that tells keys apart and nothing about them: keyed by the secret itself, or the public key's hash. */
function nameOf({ verifyingKey }: JwtKey): string {
  const digest =
    verifyingKey.type === 'secret'
      ? createHmac('sha256', verifyingKey).update('nestjs-multisession kid').digest()
      : createHash('sha256')
          .update(verifyingKey.export({ type: 'spki', format: 'der' }))
          .digest();
  return digest.subarray(0, 9).toString('base64url');
}
