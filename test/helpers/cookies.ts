import { expect } from '@jest/globals';
import { parseSetCookie, type SetCookie } from 'cookie';
import type { Answer } from './app.js';

export const ACCESS_COOKIE = '__Host-session-access';
export const REFRESH_COOKIE = '__Secure-session-refresh';
export const PROOF_COOKIE = '__Host-session-proof';

/** The header that a client sends with each request to use cookies. */
export const ASKS_FOR_COOKIES = { 'x-session-transport': 'cookie' };

/** The cookies that an answer sets, in order. */
export const setCookies = ({ headers }: Answer): SetCookie[] =>
  headers.getSetCookie().map((text) => parseSetCookie(text));

/** The `Cookie` header with these cookies. Those whose value is undefined are left out. */
export function cookieHeader(...cookies: [name: string, value: string | undefined][]): { cookie: string } {
  const present = cookies.filter(([, value]) => value !== undefined);
  return { cookie: present.map(([name, value]) => `${name}=${value}`).join('; ') };
}

/** The tokens that an answer puts into cookies, and the proof. */
export function tokensInCookies(answer: Answer): {
  access: string;
  refresh: string | undefined;
  proof: string | undefined;
} {
  const valueOf = (name: string) => setCookies(answer).find((cookie) => cookie.name === name)?.value;
  return { access: valueOf(ACCESS_COOKIE) ?? '', refresh: valueOf(REFRESH_COOKIE), proof: valueOf(PROOF_COOKIE) };
}

/** The body of an answer whose tokens travel in cookies. */
export function cookieAnswer(sessionId: unknown): unknown {
  const seconds = expect.any(Number);
  return { session_id: sessionId, session_type: expect.any(String), expires_in: seconds, session_expires_in: seconds };
}
