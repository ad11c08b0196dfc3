import { createHash, createHmac } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';
import type { JwtKey, TokenConfig } from './token.options.js';

/** The claims of a verified token, not yet looked at. */
export type Claims = Record<string, unknown>;

/** A key with its name, and with a service of its own. */
export type NamedKey = JwtKey & { readonly kid: string; readonly jwt: JwtService };

/**
 * Signs with the first key, verifies with any. A token's header chooses among our own keys by `kid` and nothing else:
 * each key is pinned to its algorithm, and `jku`, `jwk`, `x5c` and `crit` are never followed (RFC 8725 sections 3.1, 3.10).
 */
export class Keyring {
  /** The key that new tokens are signed with. */
  readonly current: NamedKey;
  /** Every algorithm that some key here verifies. */
  readonly algorithms: JwtKey['algorithm'][];
  private readonly byKid = new Map<string, NamedKey>();
  // Tokens of ours bear one of very few headers, so their text alone finds the key; at most one entry a kid and type.
  private readonly byHeader = new Map<string, NamedKey>();

  constructor(private readonly config: Pick<TokenConfig, 'keys' | 'issuer' | 'audience'>) {
    for (const key of config.keys) {
      const kid = key.kid ?? nameOf(key);
      if (!this.byKid.has(kid)) this.byKid.set(kid, { ...key, kid, jwt: this.serviceOf(key) });
    }
    [this.current] = this.byKid.values();
    this.algorithms = [...new Set([...this.byKid.values()].map((key) => key.algorithm))];
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

  /** The one key that may have signed this token, by its header. */
  keyOf(token: string): NamedKey | undefined {
    const end = token.indexOf('.');
    if (end <= 0) return undefined;
    const header = token.slice(0, end);
    return this.byHeader.get(header) ?? this.keyOfHeader(header);
  }

  /** What jsonwebtoken must demand, here and in passport-jwt alike. */
  verifyOptions(algorithms = this.algorithms) {
    const { issuer, audience } = this.config;
    return {
      algorithms,
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
