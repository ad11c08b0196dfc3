import {
  afterCookies,
  afterRefusal,
  type Instant,
  isTooLate,
  meaningOfRefresh,
  nextEpoch,
  reasonOfEnd,
  type SessionRecord,
  supersedes,
} from './decisions.js';
import { SessionError } from './errors.js';
import type { Keeper } from './keeper.js';
import type { Platform } from './platform.js';
import type { Tabs } from './tabs.js';
import { type Answer, errorOf, type Post, type Tokens, tokensOf } from './wire.js';

/**
 * The time limit of a refresh, in milliseconds. It is below the server's default `reuseGrace`, so that a refresh that was given
 * up does not arrive when the server takes its token for a stolen one.
 */
export const REFRESH_LIMIT = 8000;

/** Refreshes the session. */
export interface Renewal {
  /**
   * Refreshes the session, once at a time.
   * @param used the record that the caller has found wanting: if there is a newer one by now, nothing is sent
   * @throws SessionError if there is no session afterwards, or if nothing is known about it
   */
  readonly renew: (used: SessionRecord | null) => Promise<void>;
  /** Gives up the refresh that is running. */
  readonly abort: () => void;
}

/** Makes a tab refresh its session. */
export function openRenewal(inCookies: boolean, keeper: Keeper, tabs: Tabs, { now }: Platform, post: Post): Renewal {
  let running: Promise<void> | undefined;
  let controller: AbortController | undefined;

  const once = async (used: SessionRecord | null, signal: AbortSignal, since: Instant): Promise<void> => {
    const sent = await keeper.sync();
    // The tab was frozen. Another one may have refreshed since, so that this token is an old one.
    if (isTooLate(since, now(), REFRESH_LIMIT)) throw errorOf();
    // In cookies, only the server knows whether there is a session.
    if (sent === used && (inCookies || sent?.sessionId)) {
      const answer = await ask(sent, signal);
      const meaning = meaningOfRefresh(answer);
      const tokens = meaning === 'renewed' && tokensOf(answer.body, inCookies, sent?.refresh);
      if (tokens) {
        const isKnown = await store(tokens, sent);
        if (!isKnown && keeper.record?.sessionId) return once(keeper.record, signal, now());
      } else {
        if (meaning === 'over') await refuse(sent, answer);
        if (meaning !== 'over' || !keeper.record?.sessionId) throw errorOf(answer);
      }
    }
    if (!keeper.record?.sessionId) throw new SessionError('not_authenticated');
  };

  const ask = async (sent: SessionRecord | null, signal: AbortSignal): Promise<Answer> => {
    const answer = await post('refresh', { refresh: sent?.refresh }, signal, { limit: REFRESH_LIMIT });
    if (!inCookies || answer.code !== 'device_proof_required') return answer;
    const { askBrowser } = await import('./bound.js');
    return askBrowser(post, sent, signal, REFRESH_LIMIT);
  };

  /**
   * Stores the tokens before anything uses them.
   * @returns whether the browser has the cookies of the record
   */
  const store = async (tokens: Tokens, sent: SessionRecord | null): Promise<boolean> => {
    let isKnown = true;
    await keeper.update((held) => {
      const arrivedAt = now().wall;
      const next = { ...tokens, arrivedAt, persistent: held?.persistent };
      if (!inCookies) {
        const inBody = { ...next, epoch: (sent as SessionRecord).epoch, revoke: held?.revoke };
        return held && supersedes(held, inBody) ? undefined : inBody;
      }
      const result = afterCookies(held, sent, tokens.sessionId);
      isKnown = result !== 'again';
      const epoch = result === 'store' ? (held as SessionRecord).epoch : nextEpoch(held, arrivedAt);
      return isKnown ? { ...next, epoch, generation: (held?.generation ?? 0) + 1 } : undefined;
    });
    return isKnown;
  };

  const refuse = (sent: SessionRecord | null, { body }: Answer) =>
    keeper.update((held) => {
      // Remember an anonymous visitor, so that the next page does not ask the server.
      if (!sent?.sessionId) return held ? undefined : keeper.ended(held);
      return afterRefusal(held, sent) === 'end'
        ? keeper.ended(
            held,
            reasonOfEnd(sent, keeper.age()),
            held?.revoke,
            (body as { reason?: string } | undefined)?.reason,
          )
        : undefined;
    });

  const join = (used: SessionRecord | null): Promise<void> =>
    (running ??= tabs
      .exclusive(REFRESH_LIMIT, (given, since) => once(used, (controller = given).signal, since))
      .finally(() => (running = undefined)));

  return {
    async renew(used) {
      await join(used);
      // The refresh that was running may have been for an older record.
      if (keeper.record === used) await join(used);
    },
    abort: () => controller?.abort(),
  };
}
