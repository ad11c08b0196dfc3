import { stringifySetCookie } from 'cookie';
import type { CookieConfig, CookieKind } from './cookie.options.js';

/** Maximum bytes of a cookie with its name and its attributes. Browsers silently drop longer ones. */
export const MAX_COOKIE_BYTES = 4096;

/** Longer than browsers keep a cookie, in seconds. */
const LONG = 999_999_999;

/**
 * Returns how many bytes the value of a cookie may have.
 * @param cookies the options; false if the application uses no cookies
 * @returns Infinity without cookies
 */
export function maxCookieValue(cookies: CookieConfig | false, kind: CookieKind): number {
  if (!cookies) return Infinity;
  const { name, attributes } = cookies[kind];
  return MAX_COOKIE_BYTES - Buffer.byteLength(stringifySetCookie({ name, value: '', maxAge: LONG, ...attributes }));
}
