import type { CookieConfig, CookieKind } from './cookie.options.js';
import { trimOws } from './header-text.js';
import { isLoopbackRequest } from './loopback.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/**
 * Reads the values of all cookies of one kind, without duplicates, in the order of the header. There can be several, if a
 * sibling subdomain or another path has set a cookie of the same name. The header does not say which one is ours.
 *
 * With `secure: 'auto'`, a request to a loopback address may carry the cookie under its name without a prefix too.
 */
export function cookieValues(carrier: CredentialsCarrier, cookies: CookieConfig, kind: CookieKind): string[] {
  const { loopback } = cookies;
  const names = [cookies[kind].name, ...(loopback && isLoopbackRequest(carrier) ? [loopback[kind].name] : [])];
  const values = names.flatMap((name) => valuesOf(carrier, name));
  return [...new Set(values)].filter((value) => value !== '');
}

function valuesOf(carrier: CredentialsCarrier, name: string): string[] {
  return (headerOf(carrier, 'cookie') ?? '').split(';').flatMap((pair) => {
    const at = pair.indexOf('=');
    return at !== -1 && trimOws(pair.slice(0, at)) === name ? [trimOws(pair.slice(at + 1))] : [];
  });
}
