import type { AccessCall } from '../binding/access-sender.js';
import { accessCallOf, DPOP_HEADER } from './access-call.js';
import { trimOws } from './header-text.js';
import type { HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** The options that say how to read the credentials of a call. */
export type CredentialsConfig = Pick<
  HttpConfig,
  'accessTokenHeader' | 'schemes' | 'cookies' | 'publicOrigins' | 'challenge'
>;

/** Stands for a header whose scheme the options list, but which has no token or more than one word after it. */
export const MALFORMED = Symbol('a malformed authorization header');

/**
 * Reads the access token from the authorization header, or else from `auth.token` of a Socket.IO handshake. A header that the
 * client sent in a message counts before the one of the request that opened the socket.
 *
 * @returns the token, `MALFORMED`, or undefined if there is none, or if the scheme of the header is neither DPoP nor listed by
 * the options
 */
export function accessTokenIn(
  carrier: CredentialsCarrier,
  config: CredentialsConfig,
): string | typeof MALFORMED | undefined {
  const header = authorizationOf(carrier, config);
  if (header === undefined) return typeof carrier.auth?.token === 'string' ? carrier.auth.token : undefined;
  const scheme = schemeOf(header);
  if (!config.schemes.has(scheme) && !config.schemes.has(scheme.toLowerCase()) && !isDpop(header)) return undefined;
  const token = trimOws(header.slice(scheme.length));
  return token === '' || token.includes(' ') ? MALFORMED : token;
}

/** Reads the authorization header. */
export function authorizationOf(
  carrier: CredentialsCarrier,
  { accessTokenHeader }: Pick<CredentialsConfig, 'accessTokenHeader'>,
): string | undefined {
  return headerOf({ headers: carrier.sentHeaders }, accessTokenHeader) ?? headerOf(carrier, accessTokenHeader);
}

/** Returns the first word of an authorization header. */
export function schemeOf(header: string): string {
  const space = header.indexOf(' ');
  return space === -1 ? header : header.slice(0, space);
}

/**
 * Describes the call for a token that comes under the scheme DPoP, or with a proof in `auth` of a handshake.
 * @returns undefined for a bearer token
 */
export function provenCallOf(carrier: CredentialsCarrier, config: CredentialsConfig): AccessCall | undefined {
  const header = authorizationOf(carrier, config);
  if (header !== undefined)
    return isDpop(header) ? accessCallOf(carrier, sentProofOf(carrier, config), config) : undefined;
  const { dpop } = carrier.auth ?? {};
  return typeof dpop === 'string' ? accessCallOf(carrier, dpop, config) : undefined;
}

/** Reads the proof from where the authorization header was found. */
function sentProofOf({ sentHeaders, headers }: CredentialsCarrier, { accessTokenHeader }: CredentialsConfig) {
  const isSent = headerOf({ headers: sentHeaders }, accessTokenHeader) !== undefined;
  return headerOf({ headers: isSent ? sentHeaders : headers }, DPOP_HEADER) ?? '';
}

const DPOP_PREFIX = /^dpop(?: |$)/i;

/** Whether an authorization header has the scheme DPoP (RFC 9449 section 7.1). */
function isDpop(header: string): boolean {
  // 'd' or 'D'. The regular expression is slower, and most tokens are bearer tokens.
  return (header.charCodeAt(0) | 32) === 100 && DPOP_PREFIX.test(header);
}
