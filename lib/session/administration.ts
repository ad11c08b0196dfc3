import type { UserId } from '../token/options.js';
import { type Session, toSession } from './session.js';
import { firstSessionIdOf } from './id.js';
import type { SessionParts } from './session-parts.js';

/** Which sessions `SessionAdministration.list` shows, and how many. */
export interface AdministeredSessions {
  /** Default: anybody's. */
  readonly userId?: UserId;
  /** A session type, whatever its case. Default: any. */
  readonly type?: string;
  /** Begun then or later. Default: whenever. */
  readonly since?: Date;
  /** The page behind this session: `next` of the one before. Default: the first page. */
  readonly after?: string;
  /** Default: 50. */
  readonly limit?: number;
}

/** A page of `SessionAdministration.list`. */
export interface SessionPage {
  /** The latest begun first. */
  readonly sessions: readonly Session[];
  /** Where the next page begins; null where this is the last. */
  readonly next: string | null;
}

/** So many are ended in one transaction, which must be seen by the other processes' polls in time. */
const BATCH = 200;

/**
 * Everybody's sessions, for those who run the application. It asks nobody whether they may: that is for a guard to say. One
 * session and one user's are ended by `SessionService`, with the reason `'admin'`.
 */
export class SessionAdministration {
  constructor(private readonly parts: Pick<SessionParts, 'policies' | 'store' | 'endings' | 'clock' | 'tokens'>) {}

  /**
   * Active sessions, the latest begun first, a page at a time. A page costs the same wherever it is: each goes on from the last
   * session of the one before, by an index.
   * @throws InvalidSessionTypeError, UnavailableError
   */
  async list({ userId, type, since, after, limit = 50 }: AdministeredSessions = {}): Promise<SessionPage> {
    const { policies, store, tokens } = this.parts;
    const filter = {
      ...(userId !== undefined && { userId: String(userId) }),
      ...(type !== undefined && { type: policies.named(type).type }),
      ...(since && { from: firstSessionIdOf(since.getTime()) }),
      ...(after !== undefined && { before: after }),
    };
    const rows = await store.page(filter, limit);
    return {
      sessions: rows.map((row) => toSession(row, tokens)),
      next: rows.length === limit ? rows[rows.length - 1].id : null,
    };
  }

  /**
   * Ends every session that has begun by now, in batches: what is ended stays so if it is stopped half-way, and it can be called
   * again. Logins that are under way may survive.
   * @returns how many were ended by this call
   * @throws UnavailableError
   */
  async endAll(): Promise<number> {
    const { store, endings, clock } = this.parts;
    const until = firstSessionIdOf(clock.now() + 1);
    let ended = 0;
    for (let last: string | undefined = ''; last !== undefined;) {
      const batch = await store.endBetween(last, until, 'admin', BATCH);
      ended += endings.announce(batch.ended);
      last = batch.last;
    }
    return ended;
  }
}
