import { BadAuthorizationHeaderError, TokenNotValidError } from '../errors.js';
import type { AccessVerifier } from '../session/access-verifier.js';
import type { SessionClaims } from '../token/access-token.js';
import type { CookieConfig } from './cookie.options.js';
import { assertNotForged } from './csrf.guard.js';
import type { HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { cookieValues } from './session-cookies.js';

/** The options that say how to read the credentials of a call. */
export type CredentialsConfig = Pick<HttpConfig, 'accessTokenHeader' | 'schemes' | 'cookies'>;

/**
 * Reads the access token from the authorization header, or else from `auth.token` of a Socket.IO handshake.
 *
 * @returns the token, or undefined if there is none, or if the options do not list the scheme of the header
 * @throws {@link BadAuthorizationHeaderError} if the options list the scheme, but not exactly one word follows it
 */
export function accessTokenOf(carrier: CredentialsCarrier, config: CredentialsConfig): string | undefined {
  const header = headerOf(carrier, config.accessTokenHeader);
  if (header === undefined) return typeof carrier.auth?.token === 'string' ? carrier.auth.token : undefined;
  const space = header.indexOf(' ');
  const scheme = space === -1 ? header : header.slice(0, space);
  if (!config.schemes.has(scheme) && !config.schemes.has(scheme.toLowerCase())) return undefined;
  const token = header.slice(scheme.length).trim();
  if (token === '' || token.includes(' ')) throw new BadAuthorizationHeaderError();
  return token;
}

/**
 * Identifies the caller by the access cookie. If the request has several cookies of that name, the first valid one counts.
 * Otherwise, a sibling host could lock the user out with a cookie of its own.
 *
 * @returns the session, or undefined if there is no access cookie
 * @throws {@link CsrfFailedError} if the request may come from a hostile page
 * @throws {@link TokenNotValidError} if no cookie holds a valid token
 * @throws {@link UnavailableError} if the check needs the database and cannot reach it
 */
export function sessionOfCookies(
  carrier: CredentialsCarrier,
  cookies: CookieConfig,
  verifier: AccessVerifier,
): SessionClaims | undefined | Promise<SessionClaims> {
  const tokens = cookieValues(carrier, cookies.access);
  if (tokens.length === 0) return undefined;
  assertNotForged(carrier, cookies);
  return tokens.length === 1 ? verifier.verify(tokens[0]) : firstValid(tokens, verifier);
}

async function firstValid(tokens: readonly string[], verifier: AccessVerifier): Promise<SessionClaims> {
  for (const token of tokens) {
    try {
      return await verifier.verify(token);
    } catch (error) {
      if (!(error instanceof TokenNotValidError)) throw error;
    }
  }
  throw new TokenNotValidError('access');
}
