import { createHmac } from 'node:crypto';
import { SIGNING_SECRET } from './app.js';

/** The header or the claims of a token. */
export type TokenPart = Record<string, unknown>;

const encode = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString('base64url');

/**
 * Decodes a part of a token, without verifying it.
 * @param part 0 for the header, 1 for the claims
 */
export function decoded(token: string, part: 0 | 1): TokenPart {
  return JSON.parse(Buffer.from(token.split('.')[part], 'base64url').toString()) as TokenPart;
}

/** Signs a token with HS256, whatever its header says. */
export function signedByHand(header: unknown, claims: unknown, secret = SIGNING_SECRET): string {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** Changes members of a token and signs it again. Members that are set to undefined are removed. */
export function resigned(
  token: string,
  change: { header?: TokenPart; claims?: TokenPart },
  secret = SIGNING_SECRET,
): string {
  return signedByHand({ ...decoded(token, 0), ...change.header }, { ...decoded(token, 1), ...change.claims }, secret);
}

/** Changes a token so that it expired an hour ago, and signs it again. */
export function expired(token: string): string {
  const now = Math.floor(Date.now() / 1000);
  return resigned(token, { claims: { iat: now - 3900, exp: now - 3600 } });
}
