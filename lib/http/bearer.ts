import { BadAuthorizationHeaderError } from '../multi-session.errors.js';
import type { HttpConfig } from './http.options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

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
