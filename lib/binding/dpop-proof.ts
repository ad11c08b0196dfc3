import { hash } from 'node:crypto';
import { ProofKey } from './proof-key.js';
import { normalizedUri, withoutQuery } from './dpop-uri.js';

/** Longer proofs are refused unread. A proof with an RSA key of 4096 bits has about 2,500 characters. */
const MAX_PROOF = 8192;
/** RFC 9449 recommends 96 random bits or a UUID. */
const MAX_JTI = 256;
/** How many headers of clients are remembered with their keys, about 15 MB. */
const MAX_KEYS = 5000;

const FORM = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/;

/** The request that carries a proof. */
export interface ProvenRequest {
  /** The HTTP method, in capitals. */
  readonly method: string;
  /** The absolute URI as the client sees it. Its query and fragment do not matter. */
  readonly url: string;
  /** The access token of the request. Default: none, as at a login or a refresh. */
  readonly accessToken?: string | undefined;
}

/** A proof that is valid for its request. Its age and its first use are still to be checked. */
export interface ReadProof {
  /** The thumbprint of the client's key. */
  readonly thumbprint: string;
  /** The id of the proof, unique for each key. */
  readonly jti: string;
  /** When the client made the proof by its own clock, in seconds since 1970. */
  readonly issuedAt: number;
  readonly nonce?: string;
}

/** A check that a proof has not passed. */
export interface ProofFault {
  readonly fault: string;
}

/** An access token and its hash, which the proof of a request contains. */
interface HashedToken {
  readonly accessToken: string;
  readonly ath: string;
}

/** A key of a client, and the last access token that came with one of its proofs. */
interface KnownKey {
  readonly key: ProofKey;
  /** The token with its hash. A client sends the same one with many requests. */
  last?: HashedToken;
}

/**
 * Reads DPoP proofs, and checks everything that follows from the proof and its request: the checks 1 to 9 and 12 of RFC 9449
 * section 4.3.
 *
 * It uses `node:crypto` and not a JWT library, because each request has a new proof and nothing but the key can be remembered.
 */
export class ProofReader {
  /** The keys of clients by the header of their proofs, which is always the same text. The oldest is at the front. */
  private readonly keys = new Map<string, KnownKey>();

  /** @param maxKeys how many keys are remembered. Default: 5,000 */
  constructor(private readonly maxKeys = MAX_KEYS) {}

  /**
   * Reads the header `DPoP` of a request.
   * @param header its value. Node.js joins several headers of the same name with a comma, which no proof contains
   */
  read(header: string, request: ProvenRequest): ReadProof | ProofFault {
    const parts = header.length <= MAX_PROOF ? FORM.exec(header) : undefined;
    if (!parts) return { fault: 'the header DPoP must have exactly one JWT' };
    const [, protectedHeader, payload, signature] = parts;
    const claims = claimsOf(payload);
    const known = this.keys.get(protectedHeader);
    const { accessToken } = request;
    const isLast = accessToken !== undefined && known?.last?.accessToken === accessToken;
    const hashed = isLast ? known.last : hashedToken(accessToken);
    const fault = claims ? faultOf(claims, request, hashed?.ath) : 'its payload is not a JSON object';
    if (!claims || fault !== undefined) return { fault: fault as string };
    const key = known?.key ?? keyOf(protectedHeader);
    if (typeof key === 'string') return { fault: key };
    const data = Buffer.from(header.slice(0, protectedHeader.length + 1 + payload.length), 'latin1');
    if (!key.verifies(data, Buffer.from(signature, 'base64url'))) return { fault: 'its signature is wrong' };
    this.remember(protectedHeader, known ?? { key }, hashed);
    const { jti, iat, nonce } = claims as { jti: string; iat: number; nonce?: string };
    return { thumbprint: key.thumbprint, jti, issuedAt: iat, ...(nonce !== undefined && { nonce }) };
  }

  private remember(protectedHeader: string, known: KnownKey, hashed: HashedToken | undefined): void {
    if (hashed) known.last = hashed;
    // As long as there is much room, the order does not matter.
    if (this.keys.size * 2 < this.maxKeys && this.keys.has(protectedHeader)) return;
    // Add it again, so that the keys that were not used for the longest time come first.
    if (!this.keys.delete(protectedHeader) && this.keys.size >= this.maxKeys)
      this.keys.delete(this.keys.keys().next().value as string);
    this.keys.set(protectedHeader, known);
  }
}

type Claims = Readonly<Record<string, unknown>>;

function claimsOf(part: string): Claims | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Claims) : undefined;
  } catch {
    return undefined;
  }
}

/** Imports the key in the header of a proof, or returns what is wrong with it. */
function keyOf(part: string): ProofKey | string {
  const header = claimsOf(part);
  if (!header) return 'its header is not a JSON object';
  if (header.typ !== 'dpop+jwt') return 'typ must be dpop+jwt';
  if ('crit' in header) return 'crit is not supported';
  return ProofKey.import(header.alg, header.jwk);
}

function hashedToken(accessToken: string | undefined): HashedToken | undefined {
  return accessToken === undefined ? undefined : { accessToken, ath: hash('sha256', accessToken, 'base64url') };
}

/**
 * Checks the claims against the request, and returns what is wrong. It is cheap, so it comes before the signature.
 * @param ath the hash of the access token
 */
function faultOf(claims: Claims, { method, url }: ProvenRequest, ath: string | undefined): string | undefined {
  const { jti, htm, htu, iat, nonce } = claims;
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI) return `jti must have 1 to ${MAX_JTI} characters`;
  if (!Number.isFinite(iat)) return 'iat must be a number';
  if (nonce !== undefined && typeof nonce !== 'string') return 'nonce must be a string';
  if (htm !== method) return 'htm is not the method of the request';
  if (typeof htu !== 'string' || !isSameUri(htu, url)) return 'htu is not the URL of the request';
  return ath === undefined || claims.ath === ath ? undefined : 'ath is not the hash of the access token';
}

function isSameUri(given: string, expected: string): boolean {
  const [one, other] = [withoutQuery(given), withoutQuery(expected)];
  // Most clients write the URI as we do.
  if (one === other) return true;
  const normalized = normalizedUri(one);
  return normalized !== undefined && normalized === normalizedUri(other);
}
