import { constants, createPublicKey, hash, type KeyObject, verify, type VerifyKeyObjectInput } from 'node:crypto';

/** A public key as a JSON object (RFC 7517). */
export type Jwk = Readonly<Record<string, unknown>>;

/** What an algorithm demands of the key, and how it verifies. */
interface Algorithm {
  readonly kty: 'EC' | 'OKP' | 'RSA';
  readonly crv?: string;
  /** Null if the algorithm itself hashes. */
  readonly hash: string | null;
  readonly options?: Omit<VerifyKeyObjectInput, 'key'>;
}

/** The members of a key that its thumbprint consists of, sorted by name (RFC 7638 section 3.2, RFC 8037 section 2). */
const THUMBPRINT_MEMBERS = { EC: ['crv', 'kty', 'x', 'y'], OKP: ['crv', 'kty', 'x'], RSA: ['e', 'kty', 'n'] } as const;

const ECDSA = { dsaEncoding: 'ieee-p1363' } as const;
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

/** The algorithms of proofs, all asymmetric (RFC 9449 section 11.6). */
const ALGORITHMS: ReadonlyMap<unknown, Algorithm> = new Map<unknown, Algorithm>([
  ['ES256', { kty: 'EC', crv: 'P-256', hash: 'sha256', options: ECDSA }],
  ['ES384', { kty: 'EC', crv: 'P-384', hash: 'sha384', options: ECDSA }],
  ['EdDSA', { kty: 'OKP', crv: 'Ed25519', hash: null }],
  ['Ed25519', { kty: 'OKP', crv: 'Ed25519', hash: null }],
  ['PS256', { kty: 'RSA', hash: 'sha256', options: PSS }],
  ['RS256', { kty: 'RSA', hash: 'sha256' }],
]);

/** The names of the algorithms, separated by spaces, for `WWW-Authenticate`. */
export const DPOP_ALGORITHMS = [...ALGORITHMS.keys()].join(' ');

/** Asks for a token under the scheme DPoP. */
export const DPOP_CHALLENGE = `DPoP algs="${DPOP_ALGORITHMS}"`;

/** The private members of every key type, and the secret of a symmetric key. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'];

const MIN_RSA_BITS = 2048;
/** Verifying takes longer the larger the key is, and the client chooses it. */
const MAX_RSA_BITS = 4096;
/** The usual public exponent, 65537. A large one would make verifying as slow as signing. */
const RSA_EXPONENT = 'AQAB';

/** The public key of a client or a device, ready to verify its proofs. */
export class ProofKey {
  private constructor(
    /** The SHA-256 thumbprint (RFC 7638) in base64url: 43 characters. */
    readonly thumbprint: string,
    /** Only the members that make up the public key, in the order of RFC 7638. */
    readonly jwk: Readonly<Record<string, string>>,
    private readonly hash: string | null,
    private readonly input: VerifyKeyObjectInput,
  ) {}

  /**
   * Imports a key that a client has sent.
   * @returns the key, or what is wrong with it
   */
  static import(alg: unknown, jwk: unknown): ProofKey | string {
    const algorithm = ALGORITHMS.get(alg);
    if (!algorithm) return `alg must be one of ${DPOP_ALGORITHMS}`;
    if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) return 'jwk must be a public key';
    if (PRIVATE_MEMBERS.some((member) => member in jwk)) return 'jwk must not have private members';
    const { kty, crv, e } = jwk as Jwk;
    if (kty !== algorithm.kty || crv !== algorithm.crv) return 'jwk must be a key of the algorithm in alg';
    if (kty === 'RSA' && e !== RSA_EXPONENT) return 'the exponent of an RSA key must be 65537';
    const members = publicMembersOf(algorithm.kty, jwk as Jwk);
    const key = members && imported(members);
    if (!key) return 'jwk must be a public key';
    // Several texts are decoded to the same key. Each key must have one thumbprint.
    const canonical = publicMembersOf(algorithm.kty, key.export({ format: 'jwk' }));
    if (JSON.stringify(canonical) !== JSON.stringify(members)) return 'jwk must be in its canonical form';
    const { modulusLength = MIN_RSA_BITS } = key.asymmetricKeyDetails ?? {};
    if (modulusLength < MIN_RSA_BITS || modulusLength > MAX_RSA_BITS)
      return `an RSA key must have ${MIN_RSA_BITS} to ${MAX_RSA_BITS} bits`;
    const thumbprint = hash('sha256', JSON.stringify(members), 'base64url');
    return new ProofKey(thumbprint, members, algorithm.hash, { key, ...algorithm.options });
  }

  /** Whether the signature is one of this key. */
  verifies(data: Buffer, signature: Buffer): boolean {
    return verify(this.hash, data, this.input, signature);
  }
}

/** Returns exactly the members of the thumbprint, in their order. */
function publicMembersOf(kty: Algorithm['kty'], jwk: Jwk): Record<string, string> | undefined {
  const members = THUMBPRINT_MEMBERS[kty].map((name) => [name, jwk[name]] as const);
  const areTexts = members.every(([, value]) => typeof value === 'string' && /^[\w-]+$/.test(value));
  return areTexts ? (Object.fromEntries(members) as Record<string, string>) : undefined;
}

function imported(jwk: Record<string, string>): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    // For example, the point is not on the curve.
    return undefined;
  }
}
