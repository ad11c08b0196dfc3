import { createHmac } from 'node:crypto';
import { SIGNING_SECRET } from './app.js';

/** The header or the claims of a token. */
export type TokenPart = Record<string, unknown>;

const encode = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString('base64url');

/** A part of a token as it stands in it: 0 is the header, 1 the claims. */
export function decoded(token: string, part: 0 | 1): TokenPart {
  return JSON.parse(Buffer.from(token.split('.')[part], 'base64url').toString()) as TokenPart;
}

/** A token signed by hand with HS256, whatever its header says. */
export function signedByHand(header: unknown, claims: unknown, secret = SIGNING_SECRET): string {
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** The token with members changed, those that are undefined left out, and signed anew. */
export function resigned(
  token: string,
  change: { header?: TokenPart; claims?: TokenPart },
  secret = SIGNING_SECRET,
): string {
  return signedByHand({ ...decoded(token, 0), ...change.header }, { ...decoded(token, 1), ...change.claims }, secret);
}

/** The same token, expired an hour ago. */
export function expired(token: string): string {
  const now = Math.floor(Date.now() / 1000);
  return resigned(token, { claims: { iat: now - 3900, exp: now - 3600 } });
}
