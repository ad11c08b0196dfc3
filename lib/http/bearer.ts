import { BadAuthorizationHeaderError, TokenNotValidError } from '../errors.js';
import type { AccessVerifier } from '../session/access-verifier.js';
import type { SessionClaims } from '../token/access-token.js';
import {
  accessTokenIn,
  authorizationOf,
  type CredentialsConfig,
  MALFORMED,
  provenCallOf,
  schemeOf,
} from './authorization-header.js';
import { cookieValues } from './cookie-header.js';
import type { CookieConfig } from './cookie.options.js';
import { assertNotForged } from './csrf.guard.js';
import { assertNotSkipped } from './dbsc-skipped.js';
import { firstValid } from './first-valid.js';
import type { CredentialsCarrier } from './request.js';

export type { CredentialsConfig };

/** The scheme under which clients of django-token-manager send their tokens. */
const OLD_SCHEME = 'JWT';

/**
 * Reads the access token of a call: see `accessTokenIn`.
 *
 * @returns the token, or undefined if there is none
 * @throws {@link BadAuthorizationHeaderError} if the authorization header is malformed
 */
export function accessTokenOf(carrier: CredentialsCarrier, config: CredentialsConfig): string | undefined {
  const token = accessTokenIn(carrier, config);
  if (token === MALFORMED) throw new BadAuthorizationHeaderError();
  return token;
}

/**
 * Identifies the caller by an access token of ours, or else by one of an old system, if its scheme is `JWT`.
 *
 * @throws {@link TokenNotValidError} if the token is not valid
 * @throws {@link UnavailableError} if the check needs the database and cannot reach it
 */
export function sessionOfToken(
  token: string,
  carrier: CredentialsCarrier,
  config: CredentialsConfig,
  verifier: AccessVerifier,
): SessionClaims | Promise<SessionClaims> {
  try {
    return verifier.verify(token, provenCallOf(carrier, config));
  } catch (error) {
    const scheme = schemeOf(authorizationOf(carrier, config) ?? '').toUpperCase();
    const mayBeOld = error instanceof TokenNotValidError && scheme === OLD_SCHEME;
    const session = mayBeOld ? verifier.verifyOld?.(token) : undefined;
    if (session) return session;
    throw error;
  }
}

/**
 * Identifies the caller by the access cookie. If the request has several cookies of that name, the first valid one counts.
 * Otherwise, a sibling host could lock the user out with a cookie of its own.
 *
 * @returns the session, or undefined if there is no access cookie
 * @throws {@link CsrfFailedError} if the request may come from a hostile page
 * @throws {@link TokenNotValidError} if no cookie holds a valid token
 * @throws {@link UnavailableError} if the check needs the database and cannot reach it, or if the browser says that it cannot
 * prove its key now
 */
export function sessionOfCookies(
  carrier: CredentialsCarrier,
  cookies: CookieConfig,
  verifier: AccessVerifier,
): SessionClaims | undefined | Promise<SessionClaims> {
  const tokens = cookieValues(carrier, cookies, 'access');
  if (tokens.length === 0) {
    // A browser that cannot prove its key now is not logged out, as long as it has the proof of a session.
    if (cookieValues(carrier, cookies, 'proof').length > 0) assertNotSkipped(carrier);
    return undefined;
  }
  assertNotForged(carrier, cookies);
  if (tokens.length === 1) return verifier.verify(tokens[0]);
  const isInvalid = (error: unknown) => error instanceof TokenNotValidError;
  return firstValid(tokens, (token) => verifier.verify(token), isInvalid).then((session) => {
    if (session) return session;
    throw new TokenNotValidError('access');
  });
}
