import type { Dialect } from '../database/dialect.js';
import { DIALECTS } from '../database/dialect.js';
import type { Sql } from '../database/sql.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import { SessionEntity } from './session.entity.js';
import type { ShownRow } from './session.js';

/*
 * The statements on sessions that requests send, as `SessionStore` sends them. The rare ones of lists for administrators and of
 * the cleanup are made by TypeORM's query builder, in the store.
 *
 * - A column is read only if it is named here, so that a column of a later version changes no answer that a connection has planned.
 * - A condition on a value that may be null is written `(column = :value OR :value IS NULL)`: PostgreSQL takes the type of a
 *   parameter from its first use.
 * - `SET` takes values and not expressions of columns that it sets too: MySQL would read the new values of those.
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

/** A session as far as limits need it. */
export type CountedRow = Pick<SessionEntity, 'id' | 'userId' | 'type' | 'createdAt' | 'lastUpdate'>;

/** A session as far as a request with an access token needs it. */
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

/** A user's sessions that have not expired, of so many types, the earliest created first. */
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

/** A user's active sessions as they are shown. */
export const listActive = (types: number): Sql<ActiveValues, ShownRow> => (shown[types] ??= active(SHOWN, types));

/** A user's active sessions as far as limits need them. */
export const countActive = (types: number): Sql<ActiveValues, CountedRow> =>
  (counted[types] ??= active(COUNTED, types));

/** The values of `listActive` and `countActive`. */
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

/** The token that is replaced: a session whose current token is another one is left alone. */
interface PresentedValues {
  readonly id: string;
  readonly type: string;
  readonly jti: string;
  readonly generation: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** What a new generation writes. Times are milliseconds since 1970. */
export interface GenerationValues {
  readonly nextJti: string;
  readonly nextKid: string;
  readonly nextExpiresAt: number;
  /** Null leaves it as it is. */
  readonly lastUpdate: number | null;
  /** 1 to write `userAgent` and `ipAddress`, 0 to leave them as they are. */
  readonly hasClient: 0 | 1;
  readonly userAgent: string | null;
  readonly ipAddress: string | null;
  /** Null leaves it as it is. */
  readonly deviceName: string | null;
}

const NEXT_GENERATION = `
  refresh_jti = :nextJti, refresh_kid = :nextKid, rotated_at = :now, expires_at = :nextExpiresAt,
  last_update = COALESCE(:lastUpdate, last_update),
  user_agent = CASE WHEN :hasClient = 1 THEN :userAgent ELSE user_agent END,
  ip_address = CASE WHEN :hasClient = 1 THEN :ipAddress ELSE ip_address END,
  device_name = COALESCE(:deviceName, device_name)`;

/**
 * Replaces the current token by a successor. To present a token is to use its generation, so that is confirmed.
 *
 * `expires_at + 0` keeps the planner on the primary key: many sessions may expire in the same second.
 */
export const ROTATE: Sql<
  PresentedValues &
    GenerationValues & {
      readonly rotatedBefore: number;
      /** The expiry that the token states; null if the row has been read. */
      readonly statedExpiry: number | null;
      /** 0 if the session must have no absolute expiry. */
      readonly mayHaveBound: 0 | 1;
    },
  SessionEntity
> = {
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

/** Replaces a current token that was never used by another successor of the same parent. */
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

/** The row after `ROTATE` or `RECOVER`, for MySQL, whose UPDATE returns no row. */
export const FIND_NEXT: Sql<{ id: string; nextJti: string }, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: `SELECT ${SESSION} FROM user_session WHERE id = :id AND refresh_jti = :nextJti`,
};

const CURRENT = `id = :id AND type = :type AND refresh_jti = :jti AND generation = :generation AND expires_at > :now`;

/** Writes that the current token was used, and keeps it. */
export const TOUCH: Sql<PresentedValues, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: ({ returning }) => `
    UPDATE user_session SET last_update = :now, confirmed_generation = :generation
    WHERE ${CURRENT}
    ${returning(SESSION)}`,
};

/** The same for a permanent session, whose expiry moves with its use unless it was used a moment ago. */
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

/** The row after `TOUCH` or `SLIDE`, for MySQL, whose UPDATE returns no row. */
export const FIND_CURRENT: Sql<PresentedValues, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  text: `SELECT ${SESSION} FROM user_session WHERE ${CURRENT}`,
};

// ─── Ending ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A session to be ended, and what must still hold of its row. */
export interface EndValues {
  readonly endedId: string;
  /** Its current refresh token; null for any. */
  readonly jti: string | null;
  /** It has expired at this time, in milliseconds since 1970; null if that does not matter. */
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
 * Deletes the row and writes its entry, with its expiry by the database's time once the row is locked: a refresh may hold the
 * row, and the entry must outlive the token of that refresh too.
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

/** Ends a session in one statement, all or nothing. For PostgreSQL alone. */
export const END: Sql<EntryValues, ShownRow> = {
  entities: [SessionEntity, BlacklistEntity],
  columns: SHOWN,
  text: `WITH ${DELETE_AND_INSERT_ENTRY} SELECT ${SHOWN} FROM ended`,
};

/**
 * Ends a session and inserts another one, whether or not the first one still existed. For PostgreSQL alone.
 *
 * The insert selects from the outcome of the deletion, so that it runs after it: all statements lock older rows before newer
 * ones. In a SELECT, PostgreSQL does not infer the types of parameters from the columns.
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
