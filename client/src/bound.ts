import type { CookieAnswer, ManagedSession } from './contract.js';
import type { SessionRecord } from './decisions.js';
import type { Answer, Post } from './wire.js';

/** The shortest life of an access cookie that is bound to a key, in seconds. */
const LEAST_LIFE = 300;

/**
 * Finds out what has become of a session whose cookies are bound to a key on the device, after a refresh without a proof of that
 * key. The browser proves it before it sends a request, if the access cookie has expired. If it has lost the key, it has no access
 * cookie either.
 * @param sent what was known before, such as the lifetimes, which the answer does not tell
 * @param limit time limit of the request, in milliseconds
 * @returns the answer, as if it were the one to a refresh
 */
export async function askBrowser(
  post: Post,
  sent: SessionRecord | null,
  signal: AbortSignal,
  limit: number,
): Promise<Answer> {
  const answer = await post('sessions', undefined, signal, { limit, method: 'GET' });
  // The browser has no access cookie even now, so it cannot refresh the session any more.
  if (answer.code === 'not_authenticated') return { ...answer, code: 'session_not_found' };
  const session = (answer.body as ManagedSession[] | undefined)?.find?.(({ current }) => current);
  if (!session) return answer;
  const body: CookieAnswer = {
    session_id: session.id,
    session_type: session.type,
    expires_in: (sent?.accessLife ?? 0) / 1000 || LEAST_LIFE,
    session_expires_in: (sent?.sessionLife ?? 0) / 1000,
  };
  return { ...answer, body };
}
