import type { Sql } from '../database/sql.js';
import { SessionAliasEntity } from './alias.entity.js';
import { JUDGED, type JudgedRow, judgedValues } from './refresh-sql.js';
import { SessionEntity } from './session.entity.js';

/*
 * The statements of requests with keys of an old system. Ids and tokens of aliases are hashes, so they compare alike in every
 * collation.
 */

const BOTH = [SessionEntity, SessionAliasEntity];

/** Selects the session whose alias meets a condition, together with the time by which to judge it. */
const sessionOf = <V extends object>(condition: string): Sql<V, JudgedRow> => ({
  entities: BOTH,
  ...JUDGED,
  isVerdict: true,
  text: (dialect) => `
    SELECT ${judgedValues(dialect)} FROM user_session
    WHERE id IN (SELECT session_id FROM session_alias WHERE ${condition})`,
});

/** Selects the session of an old refresh token. */
export const FIND_BY_TOKEN = sessionOf<{ token: string }>('token = :token');

/** Selects the session of an old key. */
export const FIND_BY_KEY = sessionOf<{ aliasId: string }>('session_alias.id = :aliasId');

/** Selects the alias of an old key, if it is the user's. */
export const FIND_ALIAS: Sql<{ aliasId: string; userId: string }, Pick<SessionAliasEntity, 'sessionId'>> = {
  entities: [SessionAliasEntity],
  columns: 'session_id',
  isVerdict: true,
  text: ({ sameText }) =>
    `SELECT session_id FROM session_alias WHERE id = :aliasId AND ${sameText('user_id', ':userId')}`,
};

/** Selects the old keys of a user's sessions. */
export const LIST_OF_USER: Sql<{ userId: string }, Pick<SessionAliasEntity, 'sessionId' | 'system' | 'oldKey'>> = {
  entities: [SessionAliasEntity, SessionEntity],
  columns: 'session_id, system, old_key',
  text: ({ sameText }) => `
    SELECT session_id, system, old_key FROM session_alias
    WHERE session_id IN (SELECT user_session.id FROM user_session WHERE ${sameText('user_session.user_id', ':userId')})`,
};
