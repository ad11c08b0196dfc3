import type { Database } from '../database/database.js';
import type { Sql } from '../database/sql.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import type { EndReason } from './events.js';

type Entry = Pick<BlacklistEntity, 'userId' | 'reason'>;

const FIND: Sql<{ id: string }, Entry> = {
  entities: [BlacklistEntity],
  columns: 'user_id, reason',
  text: `SELECT user_id, reason FROM session_blacklist WHERE id = :id AND kind = 'session'`,
};

/** Remembers why sessions ended for longer than their revocation entries live. */
export interface RecordedReasons {
  /** Returns why a session of this user ended, if that was recorded. */
  reasonOf(sessionId: string, userId: string): Promise<EndReason | undefined>;
}

/**
 * Finds out why a session has ended, for the client that shows a refresh token of it. The revocation entry has the reason until
 * the last access token has expired. The events have it afterwards, if the option `events` is set.
 */
export class EndReasons {
  constructor(
    private readonly database: Database,
    private readonly recorded?: RecordedReasons,
  ) {}

  /**
   * Returns why the session of a token has ended.
   * @param token a refresh token whose signature has been verified
   * @param now the database's time, in milliseconds since 1970
   * @returns undefined if that is not known any more
   * @throws UnavailableError if the database fails
   */
  async of(
    { sessionId, userId, expiresAt }: Pick<RefreshTokenClaims, 'sessionId' | 'userId' | 'expiresAt'>,
    now: number,
  ): Promise<EndReason | undefined> {
    const [entry] = await this.database.query(FIND, { id: sessionId });
    if (entry) return entry.userId === String(userId) ? (entry.reason as EndReason) : undefined;
    const recorded = await this.recorded?.reasonOf(sessionId, String(userId));
    return recorded ?? (expiresAt !== null && expiresAt <= now ? 'expired' : undefined);
  }
}
