import type { Dialect } from '../database/dialect.js';
import { DIALECTS } from '../database/dialect.js';
import type { Sql } from '../database/sql.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import { SessionEntity } from './session.entity.js';
import type { ShownRow } from './session.js';

/*
 * The statements on sessions that `SessionStore` sends for requests. For the rarer statements of the cleanup and of
 * administrators' lists, the store uses TypeORM's query builder.
 *
 * - Name every column. If a later version adds one, the result of a statement that a connection has already planned stays
 *   the same.
 * - Write a condition on a value that may be null as `(column = :value OR :value IS NULL)`. PostgreSQL infers the type of a
 *   parameter from its first use.
 * - In `SET`, do not read another column that the same `SET` writes. MySQL would read its new value.
 */

const ENTITIES = [SessionEntity];

/** The columns of a session. */
const SESSION = `id, user_id, type, generation, parent_generation, refresh_jti, parent_jti, refresh_kid, confirmed_generation,
  created_at, last_update, rotated_at, expires_at, absolute_expires_at, info, user_agent, ip_address, device_name, data, claims`;

/** The columns of `ShownRow`. */
const SHOWN =
  'id, user_id, type, created_at, last_update, expires_at, info, user_agent, ip_address, device_name, data, claims';

/** The columns of `CountedRow`. */
const COUNTED = 'id, user_id, type, created_at, last_update';

/** The columns of `CheckedRow`. */
const CHECKED = 'user_id, type, expires_at';

/** The columns of a session that limits need. */
export type CountedRow = Pick<SessionEntity, 'id' | 'userId' | 'type' | 'createdAt' | 'lastUpdate'>;

/** The columns of a session that `accessCheck: 'session'` needs. */
export type CheckedRow = Pick<SessionEntity, 'userId' | 'type' | 'expiresAt'>;

// ─── Reading ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const FIND: Sql<{ id: string }, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: `SELECT ${SESSION} FROM user_session WHERE id = :id`,
};

export const FIND_FOR_CHECK: Sql<{ id: string }, CheckedRow> = {
  entities: ENTITIES,
  columns: CHECKED,
  text: `SELECT ${CHECKED} FROM user_session WHERE id = :id`,
};

interface ActiveValues {
  readonly userId: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** The types, as `type0`, `type1` and so on. */
  readonly [type: `type${number}`]: string;
}

/**
 * Selects a user's sessions that have not expired, the earliest created first.
 * @param types the number of session types to select from
 */
const active = (columns: string, types: number) => ({
  entities: ENTITIES,
  columns,
  text: ({ sameText }: Dialect) => `
    SELECT ${columns} FROM user_session
    WHERE ${sameText('user_id', ':userId')}
      AND type IN (${Array.from({ length: types }, (_, at) => `:type${at}`).join(', ')})
      AND expires_at > :now
    ORDER BY created_at, id`,
});

const shown: Sql<ActiveValues, ShownRow>[] = [];
const counted: Sql<ActiveValues, CountedRow>[] = [];

/** Selects a user's active sessions with the columns that are shown. */
export const listActive = (types: number): Sql<ActiveValues, ShownRow> => (shown[types] ??= active(SHOWN, types));

/** Selects a user's active sessions with the columns that limits need. */
export const countActive = (types: number): Sql<ActiveValues, CountedRow> =>
  (counted[types] ??= active(COUNTED, types));

/** Returns the values of `listActive` and `countActive`. */
export function activeValues(userId: string, types: readonly string[], now: number): ActiveValues {
  return { userId, now, ...Object.fromEntries(types.map((type, at) => [`type${at}`, type])) };
}

// ─── A new session ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** The columns of a session as the database stores them. */
export type SessionValues = {
  readonly [P in keyof SessionEntity]: SessionEntity[P] extends Date | null
    ? number | Extract<SessionEntity[P], null>
    : SessionEntity[P] extends string | number | null
      ? SessionEntity[P]
      : string | null;
};

export function sessionValues(row: SessionEntity): SessionValues {
  return {
    ...row,
    createdAt: row.createdAt.getTime(),
    lastUpdate: row.lastUpdate.getTime(),
    rotatedAt: row.rotatedAt.getTime(),
    expiresAt: row.expiresAt.getTime(),
    absoluteExpiresAt: row.absoluteExpiresAt && row.absoluteExpiresAt.getTime(),
    data: row.data && JSON.stringify(row.data),
    claims: row.claims && JSON.stringify(row.claims),
  };
}

export const INSERT: Sql<SessionValues> = {
  entities: ENTITIES,
  text: `
    INSERT INTO user_session (${SESSION})
    VALUES (:id, :userId, :type, :generation, :parentGeneration, :refreshJti, :parentJti, :refreshKid, :confirmedGeneration,
      :createdAt, :lastUpdate, :rotatedAt, :expiresAt, :absoluteExpiresAt, :info, :userAgent, :ipAddress, :deviceName,
      :data, :claims)`,
};

// ─── Refresh ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The presented token. A statement changes nothing unless this is the session's current token. */
interface PresentedValues {
  readonly id: string;
  readonly type: string;
  readonly jti: string;
  readonly generation: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** The values that a new generation writes. Times are in milliseconds since 1970. */
export interface GenerationValues {
  readonly nextJti: string;
  readonly nextKid: string;
  readonly nextExpiresAt: number;
  /** Null to keep the old value. */
  readonly lastUpdate: number | null;
  /** 1 to write `userAgent` and `ipAddress`, 0 to keep the old values. */
  readonly hasClient: 0 | 1;
  readonly userAgent: string | null;
  readonly ipAddress: string | null;
  /** Null to keep the old value. */
  readonly deviceName: string | null;
}

const NEXT_GENERATION = `
  refresh_jti = :nextJti, refresh_kid = :nextKid, rotated_at = :now, expires_at = :nextExpiresAt,
  last_update = COALESCE(:lastUpdate, last_update),
  user_agent = CASE WHEN :hasClient = 1 THEN :userAgent ELSE user_agent END,
  ip_address = CASE WHEN :hasClient = 1 THEN :ipAddress ELSE ip_address END,
  device_name = COALESCE(:deviceName, device_name)`;

/** The values of `ROTATE`. */
export interface RotationValues extends PresentedValues, GenerationValues {
  readonly rotatedBefore: number;
  /** The expiry that the token states; null if the row has been read. */
  readonly statedExpiry: number | null;
  /** 0 if the session must have no absolute expiry. */
  readonly mayHaveBound: 0 | 1;
}

/**
 * Replaces the current token with a successor. Presenting a token shows that its generation is in use, so the statement also
 * confirms that generation.
 *
 * `expires_at + 0` keeps the planner on the primary key: many sessions may expire in the same second.
 */
export const ROTATE: Sql<RotationValues, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: ({ returning }) => `
    UPDATE user_session
    SET generation = :generation + 1, parent_generation = :generation, confirmed_generation = :generation,
      parent_jti = :jti, ${NEXT_GENERATION}
    WHERE id = :id AND type = :type AND refresh_jti = :jti AND generation = :generation
      AND expires_at > :now
      AND rotated_at <= :rotatedBefore
      AND (expires_at + 0 = :statedExpiry OR :statedExpiry IS NULL)
      AND (absolute_expires_at IS NULL OR :mayHaveBound = 1)
    ${returning(SESSION)}`,
};

/** Replaces a current token that was never used with another successor of the same parent. */
export const RECOVER: Sql<PresentedValues & GenerationValues, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: ({ returning }) => `
    UPDATE user_session
    SET generation = :generation + 1, ${NEXT_GENERATION}
    WHERE id = :id AND type = :type AND refresh_jti = :jti AND generation = :generation
      AND expires_at > :now
      AND confirmed_generation < generation
    ${returning(SESSION)}`,
};

/** Selects the row after `ROTATE` or `RECOVER` on MySQL, whose UPDATE returns no row. */
export const FIND_NEXT: Sql<{ id: string; nextJti: string }, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: `SELECT ${SESSION} FROM user_session WHERE id = :id AND refresh_jti = :nextJti`,
};

const CURRENT = `id = :id AND type = :type AND refresh_jti = :jti AND generation = :generation AND expires_at > :now`;

/** Records a use of the current token without replacing it. */
export const TOUCH: Sql<PresentedValues, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: ({ returning }) => `
    UPDATE user_session SET last_update = :now, confirmed_generation = :generation
    WHERE ${CURRENT}
    ${returning(SESSION)}`,
};

/**
 * Does the same as `TOUCH` for a permanent session, and moves its expiry. Changes nothing if the last use was too recent.
 */
export const SLIDE: Sql<
  PresentedValues & { readonly nextExpiresAt: number; readonly touchedBefore: number },
  SessionEntity
> = {
  entities: ENTITIES,
  columns: SESSION,
  text: ({ returning }) => `
    UPDATE user_session SET last_update = :now, confirmed_generation = :generation, expires_at = :nextExpiresAt
    WHERE ${CURRENT} AND last_update <= :touchedBefore
    ${returning(SESSION)}`,
};

/** Selects the row after `TOUCH` or `SLIDE` on MySQL, whose UPDATE returns no row. */
export const FIND_CURRENT: Sql<PresentedValues, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: `SELECT ${SESSION} FROM user_session WHERE ${CURRENT}`,
};

// ─── Ending ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The session to end, and conditions that its row must still meet. */
export interface EndValues {
  readonly endedId: string;
  /** The `jti` of its current refresh token; null for any. */
  readonly jti: string | null;
  /** A time by which it has expired, in milliseconds since 1970; null if that does not matter. */
  readonly expiredAt: number | null;
}

const ENDED = `
  id = :endedId
  AND (refresh_jti = :jti OR :jti IS NULL)
  AND (expires_at <= :expiredAt OR :expiredAt IS NULL)`;

export const DELETE: Sql<EndValues> = {
  entities: ENTITIES,
  text: `DELETE FROM user_session WHERE ${ENDED}`,
};

interface EntryValues extends EndValues {
  readonly reason: string;
  /** How long the entry is needed, in milliseconds. */
  readonly life: number;
}

/**
 * Deletes the row and writes its revocation entry. It computes the entry's expiry from the database's time after it has
 * locked the row. A refresh may hold the row until then, and the entry must outlive the access token of that refresh too.
 */
const DELETE_AND_INSERT_ENTRY = `
  ended AS (
    DELETE FROM user_session WHERE ${ENDED} RETURNING ${SHOWN}
  ), entry AS (
    INSERT INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
    SELECT id, 'session', id, user_id, CAST(:reason AS varchar), ${DIALECTS.postgres.now},
      ${DIALECTS.postgres.now} + CAST(:life AS bigint)
    FROM ended
    ON CONFLICT DO NOTHING
  )`;

/** Ends a session in one statement, all or nothing. Only for PostgreSQL. */
export const END: Sql<EntryValues, ShownRow> = {
  entities: [SessionEntity, BlacklistEntity],
  columns: SHOWN,
  text: `WITH ${DELETE_AND_INSERT_ENTRY} SELECT ${SHOWN} FROM ended`,
};

/**
 * Ends a session and inserts another one, whether or not the first one still existed. Only for PostgreSQL.
 *
 * The insert selects from the result of the deletion, so it runs after the deletion: all statements lock older rows before
 * newer ones. The casts are needed because PostgreSQL cannot infer parameter types in a SELECT from the target columns.
 */
export const END_AND_INSERT: Sql<EntryValues & SessionValues, ShownRow> = {
  entities: [SessionEntity, BlacklistEntity],
  columns: SHOWN,
  text: `
    WITH ${DELETE_AND_INSERT_ENTRY}, successor AS (
      INSERT INTO user_session (${SESSION})
      SELECT CAST(:id AS varchar), CAST(:userId AS varchar), CAST(:type AS varchar), CAST(:generation AS int),
        CAST(:parentGeneration AS int), CAST(:refreshJti AS varchar), CAST(:parentJti AS varchar),
        CAST(:refreshKid AS varchar), CAST(:confirmedGeneration AS int), CAST(:createdAt AS bigint),
        CAST(:lastUpdate AS bigint), CAST(:rotatedAt AS bigint), CAST(:expiresAt AS bigint),
        CAST(:absoluteExpiresAt AS bigint), CAST(:info AS text), CAST(:userAgent AS varchar), CAST(:ipAddress AS varchar),
        CAST(:deviceName AS varchar), CAST(:data AS text), CAST(:claims AS text)
      FROM (SELECT count(*) FROM ended) AS done
    )
    SELECT ${SHOWN} FROM ended`,
};
