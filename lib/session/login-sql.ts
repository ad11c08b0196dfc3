import type { Dialect } from '../database/dialect.js';
import type { Sql } from '../database/sql.js';
import { MAX_LOGIN } from '../engine/timing.js';
import { SessionEntity } from './session.entity.js';
import type { InlineWriter } from './change-log.js';
import type { ActiveValues, SessionValues } from './session-sql.js';
import { SessionUserEntity } from './session-user.entity.js';
import { writeUserRow } from './user-row.js';

/* The statements of logins and of prepared sessions. For the rules on statements, see `session-sql.ts`. */

const ENTITIES = [SessionEntity];

/** The values of `LOG_IN`. */
export interface LoginValues extends Pick<
  SessionValues,
  | 'id'
  | 'userId'
  | 'type'
  | 'refreshJti'
  | 'refreshKid'
  | 'createdAt'
  | 'info'
  | 'userAgent'
  | 'ipAddress'
  | 'deviceName'
  | 'data'
  | 'claims'
  | 'accessLifetime'
  | 'transport'
  | 'persistent'
  | 'binding'
> {
  /** How long the session lives, in milliseconds. */
  readonly lifetime: number;
  /** How long it may be extended, in milliseconds; null if there is no bound. */
  readonly absoluteLifetime: number | null;
  /** A time that was not after the start of the login. */
  readonly startedAt: number;
  /** The type's name in capitals. */
  readonly typeKey: string;
  /** The most sessions that a user may have. */
  readonly maxSessions: number;
}

/** What `LOG_IN` returns: the times that the database has set. */
const TIMES = 'created_at, last_update, expires_at, absolute_expires_at';

export type InsertedTimes = Pick<SessionEntity, 'createdAt' | 'lastUpdate' | 'expiresAt' | 'absoluteExpiresAt'>;

const later = (span: string) => `(u.used_at + CAST(${span} AS bigint))`;
const inWholeSeconds = (time: string) => `${time} - ${time} % 1000`;

const lockUser = (dialect: Dialect) =>
  `u AS (${writeUserRow(dialect)} RETURNING not_before, not_before_by_type, used_at)`;

const INSERT_UNLESS_OVERTAKEN = `
    INSERT INTO user_session (
      id, user_id, type, generation, refresh_jti, refresh_kid, confirmed_generation, rotated_at,
      created_at, last_update, expires_at, cleanup_at, absolute_expires_at,
      info, user_agent, ip_address, device_name, data, claims, access_lifetime, transport, persistent,
      binding
    )
    SELECT CAST(:id AS varchar), CAST(:userId AS varchar), CAST(:type AS varchar), 0, CAST(:refreshJti AS varchar),
      CAST(:refreshKid AS varchar), 0, 0,
      u.used_at, u.used_at, ${inWholeSeconds(later(':lifetime'))}, ${inWholeSeconds(later(':lifetime'))},
      ${inWholeSeconds(later(':absoluteLifetime'))},
      CAST(:info AS text), CAST(:userAgent AS varchar), CAST(:ipAddress AS varchar), CAST(:deviceName AS varchar),
      CAST(:data AS text), CAST(:claims AS text), CAST(:accessLifetime AS int), CAST(:transport AS varchar),
      CAST(:persistent AS int), CAST(:binding AS varchar)
    FROM u
    WHERE u.not_before < CAST(:startedAt AS bigint)
      AND COALESCE(CAST(CAST(u.not_before_by_type AS json) ->> CAST(:typeKey AS text) AS bigint), 0) < :startedAt
      AND u.used_at - :startedAt <= ${MAX_LOGIN}
      AND (SELECT count(*) FROM user_session WHERE user_id = :userId AND expires_at > CAST(:createdAt AS bigint)) < :maxSessions
    RETURNING ${TIMES}`;

/**
 * A login without a limit in one statement: writes the user's row and inserts the session, unless an ending has overtaken the
 * login. Returns no row if it inserts none. The times of the session are those of the user's row. Only for PostgreSQL.
 *
 * The number of sessions is that from before the statement, so logins that run at once may together exceed `maxSessions`.
 */
export const LOG_IN: Sql<LoginValues, InsertedTimes> = {
  entities: [SessionEntity, SessionUserEntity],
  columns: TIMES,
  text: (dialect) => `WITH ${lockUser(dialect)} ${INSERT_UNLESS_OVERTAKEN}`,
};

/** Makes `LOG_IN` with a piece that writes about the login. */
export const logInAndWrite = ({ entities, insertFrom }: InlineWriter): Sql<LoginValues, InsertedTimes> => ({
  entities: [SessionEntity, SessionUserEntity, ...entities],
  columns: TIMES,
  text: (dialect) => `
    WITH ${lockUser(dialect)}, created AS (${INSERT_UNLESS_OVERTAKEN}),
      written AS (${insertFrom('created', 'created_at')})
    SELECT ${TIMES} FROM created`,
});

interface MakeLiveValues {
  readonly id: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly absoluteExpiresAt: number | null;
}

/** Makes a prepared session live. */
export const MAKE_LIVE: Sql<MakeLiveValues> = {
  entities: ENTITIES,
  text: `
    UPDATE user_session SET prepared_at = NULL, created_at = :createdAt, last_update = :createdAt, expires_at = :expiresAt,
      cleanup_at = :expiresAt, absolute_expires_at = :absoluteExpiresAt
    WHERE id = :id AND prepared_at IS NOT NULL`,
};

/** Deletes a prepared session. */
export const DELETE_PREPARED: Sql<{ id: string }> = {
  entities: ENTITIES,
  text: `DELETE FROM user_session WHERE id = :id AND prepared_at IS NOT NULL`,
};

/** Selects the active and prepared sessions of a user in the order of their ids, those after `after`. */
export const LIST_ALL: Sql<ActiveValues & { after: string; limit: number }, Pick<SessionEntity, 'id' | 'type'>> = {
  entities: ENTITIES,
  columns: 'id, type',
  text: ({ sameText }) => `
    SELECT id, type FROM user_session
    WHERE ${sameText('user_id', ':userId')} AND (expires_at > :now OR prepared_at IS NOT NULL) AND id > :after
    ORDER BY id LIMIT :limit`,
};
