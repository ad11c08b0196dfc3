import type { Clock } from '../database/clock.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { SessionEndings } from './endings.js';
import { type Session, toSession } from './session.js';
import { firstSessionIdOf } from './id.js';
import type { SessionPolicies } from './policies.js';
import type { SessionStore } from './store.js';

/** The filter and page of `SessionAdministration.list`. */
export interface AdministeredSessions {
  /** Default: all users. */
  readonly userId?: UserId;
  /** A session type, in any case. Default: all types. */
  readonly type?: string;
  /** Only sessions created then or later. Default: all. */
  readonly since?: Date;
  /** Where the page starts: `next` of the previous page. Default: the first page. */
  readonly after?: string;
  /** Page size. Default: 50. */
  readonly limit?: number;
}

/** A page of `SessionAdministration.list`. */
export interface SessionPage {
  /** The latest created first. */
  readonly sessions: readonly Session[];
  /** Where the next page starts; null if this is the last. */
  readonly next: string | null;
}

/** Sessions per transaction. Small, so that the transaction commits well within `maxEntryDelay`. */
const BATCH_SIZE = 200;

/**
 * The sessions of all users, for administrators. It checks no permission: put a guard in front of it. To end one session or
 * one user's sessions, call `SessionService` with the reason `'admin'`.
 */
export class SessionAdministration {
  constructor(
    private readonly policies: SessionPolicies,
    private readonly store: SessionStore,
    private readonly endings: SessionEndings,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /**
   * Lists active sessions page by page, the latest created first. Every page costs the same: it continues from the last
   * session of the previous page through an index.
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws UnavailableError if the database cannot be reached
   */
  async list({ userId, type, since, after, limit = 50 }: AdministeredSessions = {}): Promise<SessionPage> {
    const { policies, store, config } = this;
    const filter = {
      ...(userId !== undefined && { userId: String(userId) }),
      ...(type !== undefined && { type: policies.named(type).type }),
      ...(since && { from: firstSessionIdOf(since.getTime()) }),
      ...(after !== undefined && { before: after }),
    };
    const rows = await store.page(filter, limit);
    return {
      sessions: rows.map((row) => toSession(row, config)),
      next: rows.length === limit ? rows[rows.length - 1].id : null,
    };
  }

  /**
   * Ends every session that was created before now, in batches. If it is interrupted, the sessions that it has ended stay
   * ended, and you can call it again. A login that is in progress may survive.
   * @returns how many sessions this call ended
   * @throws UnavailableError if the database cannot be reached
   */
  async endAll(): Promise<number> {
    const { store, endings, clock } = this;
    const until = firstSessionIdOf(clock.now() + 1);
    let ended = 0;
    for (let last: string | undefined = ''; last !== undefined;) {
      const batch = await store.endBetween(last, until, 'admin', BATCH_SIZE);
      ended += endings.publish(batch.ended);
      last = batch.last;
    }
    return ended;
  }
}
