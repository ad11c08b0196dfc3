import { afterAnswer, type SessionRecord } from './decisions.js';
import type { Keeper } from './keeper.js';
import { pauseFor, type Platform } from './platform.js';
import type { Refusal, SessionClient } from './types.js';
import { readAnswer } from './wire.js';

/** How often a request is sent at most. */
const ATTEMPTS = 3;

/** Sends the requests of the application. */
export interface Requests extends Pick<SessionClient, 'fetch' | 'headersFor' | 'recover'> {
  readonly headersOf: (record: SessionRecord | null) => Record<string, string>;
}

/** Makes the functions with which the application sends its requests. */
export function openRequests(
  inCookies: boolean,
  isShared: boolean,
  origins: readonly string[],
  send: typeof globalThis.fetch,
  keeper: Keeper,
  platform: Platform,
  load: () => Promise<unknown>,
  renew: (used: SessionRecord | null) => Promise<void>,
): Requests {
  const isOurs = (url: string | URL) => origins.includes(new URL(url, platform.base).origin);
  const headersOf = (record: SessionRecord | null): Record<string, string> => {
    if (inCookies) return { 'X-Session-Transport': 'cookie' };
    return record?.access ? { Authorization: `Bearer ${record.access}` } : {};
  };
  /** Returns the newest record, refreshed if its access token is about to expire. */
  const current = async () => {
    await load();
    if (isShared) await keeper.sync();
    const { record } = keeper;
    if (record && keeper.dueIn() <= 0) {
      // If it fails, the request is sent nevertheless: the token may still be good if a clock is wrong.
      const refreshing = renew(record).catch(() => undefined);
      if (keeper.age() > 0.9 * record.accessLife) await refreshing;
    }
    return keeper.record;
  };
  /** Whether there is another access token than the one that was refused. */
  const renewed = async (used: SessionRecord | null): Promise<boolean> => {
    if (!used?.sessionId && (!inCookies || used)) return false;
    try {
      if (keeper.record === used) await renew(used);
    } catch (error) {
      // The session goes on, but not now. A 401 would make the application believe that it is over.
      if (keeper.record?.sessionId) throw error;
    }
    return !!keeper.record?.sessionId;
  };
  /** Waits or refreshes, if the request may then be sent again. */
  const again = async (
    used: SessionRecord | null,
    method: string,
    refusal: Refusal,
    mayRepeat: boolean,
    signal?: AbortSignal | null,
  ): Promise<boolean> => {
    const next = afterAnswer(method, refusal, mayRepeat);
    if (next === 'refresh') return renewed(used);
    if (next === 'wait') await pauseFor(platform, refusal, signal);
    return next === 'wait';
  };

  return {
    headersOf,
    async fetch(input, init) {
      const request = (input as Request).url ? (input as Request) : undefined;
      if (!isOurs(request?.url ?? (input as string | URL))) return send(input, init);
      // A stream can be read only once.
      const isStream = (init?.body as Partial<ReadableStream> | undefined)?.getReader;
      for (let attempt = 1; ; attempt++) {
        const used = await current();
        const mayRepeat = !isStream && attempt < ATTEMPTS;
        const headers = new Headers(init?.headers ?? request?.headers);
        for (const [name, value] of Object.entries(headersOf(used))) if (!headers.has(name)) headers.set(name, value);
        const response = await send(request && mayRepeat ? request.clone() : input, {
          ...init,
          headers,
          // If the server does not know of a logout yet, do not send the cookies.
          ...(inCookies && { credentials: used?.revoke === undefined || used.sessionId ? 'include' : 'omit' }),
        });
        if (response.status !== 401 && response.status !== 503) return response;
        const answer = await readAnswer(response.clone());
        const method = init?.method ?? request?.method ?? 'GET';
        if (!(await again(used, method, answer, mayRepeat, init?.signal ?? request?.signal))) return response;
      }
    },
    async headersFor(url) {
      return isOurs(url) ? headersOf(await current()) : {};
    },
    async recover(refusal) {
      await load();
      const { record } = keeper;
      const sent = refusal.headers?.Authorization;
      // There are other tokens by now.
      if (refusal.status === 401 && sent && sent !== headersOf(record).Authorization) return true;
      return again(record, 'POST', refusal, true);
    },
  };
}
