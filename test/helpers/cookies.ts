import { parseSetCookie, type SetCookie } from 'cookie';
import type { Answer } from './app.js';

export const ACCESS_COOKIE = '__Host-session-access';
export const REFRESH_COOKIE = '__Secure-session-refresh';

/** What a page of our own sends with each request. */
export const ASKS_FOR_COOKIES = { 'x-session-transport': 'cookie' };

/** The cookies that an answer sets, in order. */
export const setCookies = ({ headers }: Answer): SetCookie[] =>
  headers.getSetCookie().map((text) => parseSetCookie(text));

/** The header of a request with these cookies, those that are undefined left out. */
export function cookieHeader(...cookies: [name: string, value: string | undefined][]): { cookie: string } {
  const present = cookies.filter(([, value]) => value !== undefined);
  return { cookie: present.map(([name, value]) => `${name}=${value}`).join('; ') };
}

/** The tokens that an answer puts into cookies. */
export function tokensInCookies(answer: Answer): { access: string; refresh: string | undefined } {
  const valueOf = (name: string) => setCookies(answer).find((cookie) => cookie.name === name)?.value;
  return { access: valueOf(ACCESS_COOKIE) ?? '', refresh: valueOf(REFRESH_COOKIE) };
}
