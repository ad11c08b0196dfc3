import { ProofKey } from './proof-key.js';

/** A proof whose signature is good. The caller checks the challenge, which says when it was made and for which session. */
export interface VerifiedProof {
  /** The challenge that was signed, byte for byte. */
  readonly challenge: string;
}

/** What a proof must contain, besides a good signature. */
export interface ProofExpectation {
  /** The URL that the proof was sent to. It is compared only if the proof contains one: Chromium 156 leaves it out. */
  readonly audience: string;
  /** The parameter `authorization` of the registration header. Default: there was none, and the proof must have none. */
  readonly authorization?: string;
}

/**
 * Verifies the proof of a registration, which contains the new key.
 * @param jwt a compact JWT
 * @returns undefined if the proof is not valid
 */
export function verifyRegistrationProof(
  jwt: string,
  expected: ProofExpectation,
): (VerifiedProof & { readonly key: ProofKey }) | undefined {
  const parts = partsOf(jwt);
  const key = parts && ProofKey.import(parts.algorithm, parts.header.jwk);
  if (!parts || !(key instanceof ProofKey) || parts.claims.authorization !== expected.authorization) return undefined;
  const challenge = challengeIn(parts, key, expected);
  return challenge === undefined ? undefined : { challenge, key };
}

/**
 * Verifies the proof of a refresh. It must not name a key: the key that the session has stored counts.
 * @param jwt a compact JWT
 * @param jwk the stored public key
 * @returns undefined if the proof is not valid
 */
export function verifyRefreshProof(jwt: string, jwk: unknown, expected: ProofExpectation): VerifiedProof | undefined {
  const parts = partsOf(jwt);
  const key = parts && ProofKey.import(parts.algorithm, jwk);
  if (!parts || !(key instanceof ProofKey) || 'jwk' in parts.header) return undefined;
  const challenge = challengeIn(parts, key, expected);
  return challenge === undefined ? undefined : { challenge };
}

interface Parts {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
  /** One of those that the registration header offers. */
  readonly algorithm: 'ES256' | 'RS256';
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/** Splits a JWT, and checks its type and algorithm (RFC 8725 sections 3.1 and 3.11). The signature is not yet verified. */
function partsOf(jwt: string): Parts | undefined {
  const texts = jwt.split('.');
  if (texts.length !== 3) return undefined;
  const [header, claims] = texts.slice(0, 2).map(objectIn);
  if (!header || !claims || header.typ !== 'dbsc+jwt' || 'crit' in header) return undefined;
  const { alg } = header;
  if (alg !== 'ES256' && alg !== 'RS256') return undefined;
  return {
    header,
    claims,
    algorithm: alg,
    signed: Buffer.from(`${texts[0]}.${texts[1]}`),
    signature: Buffer.from(texts[2], 'base64url'),
  };
}

/** Returns the challenge, if the signature is good and the proof was made for this URL. */
function challengeIn(
  { claims, signed, signature }: Parts,
  key: ProofKey,
  { audience }: ProofExpectation,
): string | undefined {
  const { jti, aud } = claims;
  if (typeof jti !== 'string' || !(aud === undefined || isSamePlace(aud, audience))) return undefined;
  return key.verifies(signed, signature) ? jti : undefined;
}

/** Whether a proof was made for this path. A proxy may have changed scheme, host and port, so these do not count. */
function isSamePlace(given: unknown, expected: string): boolean {
  return typeof given === 'string' && pathOf(given) === pathOf(expected);
}

function pathOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).pathname.replace(/\/$/, '') : undefined;
}

function objectIn(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
