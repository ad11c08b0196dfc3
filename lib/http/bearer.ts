import { BadAuthorizationHeaderError, TokenNotValidError } from '../errors.js';
import type { SessionClaims } from '../token/access-token.js';
import type { SessionService } from '../session/service.js';
import type { CookieConfig } from './cookie.options.js';
import { assertNotForged } from './csrf.guard.js';
import type { HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { cookieValues } from './session-cookies.js';

/**
 * The access token of a request; undefined where it carries none, or credentials of a scheme that is not ours.
 * @throws BadAuthorizationHeaderError for a scheme of ours with no token behind it, or with more than one word
 */
export function accessTokenOf(carrier: CredentialsCarrier, config: HttpConfig): string | undefined {
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
 * Who shows an access cookie; undefined for nobody. Of several cookies each is tried: one of them may be tossed.
 * @throws CsrfFailedError, TokenNotValidError, UnavailableError
 */
export function sessionOfCookies(
  carrier: CredentialsCarrier,
  cookies: CookieConfig,
  sessions: SessionService,
): SessionClaims | undefined | Promise<SessionClaims> {
  const tokens = cookieValues(carrier, cookies.access);
  if (tokens.length === 0) return undefined;
  assertNotForged(carrier, cookies);
  return tokens.length === 1 ? sessions.verify(tokens[0]) : firstAdmitted(tokens, sessions);
}

async function firstAdmitted(tokens: readonly string[], sessions: SessionService): Promise<SessionClaims> {
  for (const token of tokens) {
    try {
      return await sessions.verify(token);
    } catch (error) {
      if (!(error instanceof TokenNotValidError)) throw error;
    }
  }
  throw new TokenNotValidError('access');
}
