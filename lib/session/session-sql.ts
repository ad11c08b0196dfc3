import { type Dialect, DIALECTS } from '../database/dialect.js';
import type { Sql, SqlValues } from '../database/sql.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import type { InlineWriter } from './change-log.js';
import type { LifeState } from './policy.js';
import { SessionEntity } from './session.entity.js';
import type { ShownRow } from './session.js';

/*
 * The statements on sessions that the stores send for requests. For rarer statements, such as those of the cleanup, they use
 * TypeORM's query builder.
 *
 * - Name every column. If a later version adds one, the result of a statement that a connection has already planned stays
 *   the same.
 * - Write a condition on a value that may be null as `(column = :value OR :value IS NULL)`. PostgreSQL infers the type of a
 *   parameter from its first use.
 * - In `SET`, do not read another column that the same `SET` writes. MySQL would read its new value.
 */

const ENTITIES = [SessionEntity];

/** The columns of a session. */
export const SESSION = `id, user_id, type, generation, parent_generation, refresh_jti, parent_jti, refresh_kid, confirmed_generation,
  created_at, last_update, rotated_at, expires_at, absolute_expires_at, info, user_agent, ip_address, device_name, data, claims,
  access_lifetime, prepared_at, transport, persistent, client_changed_at, binding, pending_binding, binding_key`;

/** The columns of `ShownRow`. */
export const SHOWN = `id, user_id, type, created_at, last_update, rotated_at, expires_at, info, user_agent, ip_address, device_name, data,
  claims, client_changed_at, transport, persistent, binding`;

/** The columns of `CountedRow`. */
const COUNTED = 'id, user_id, type, created_at, last_update, rotated_at, expires_at';

/** The columns of `CheckedRow`. */
const CHECKED = 'user_id, type, created_at, last_update, rotated_at, expires_at';

/** The columns of a session that limits need. */
export type CountedRow = Pick<SessionEntity, 'id' | 'userId' | 'type'> & LifeState;

/** The columns of a session that `accessCheck: 'session'` needs. */
export type CheckedRow = Pick<SessionEntity, 'userId' | 'type'> & LifeState;

// ─── Reading ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const FIND: Sql<{ id: string }, SessionEntity> = {
  entities: ENTITIES,
  columns: SESSION,
  isVerdict: true,
  text: `SELECT ${SESSION} FROM user_session WHERE id = :id`,
};

export const FIND_FOR_CHECK: Sql<{ id: string }, CheckedRow> = {
  entities: ENTITIES,
  columns: CHECKED,
  isVerdict: true,
  text: `SELECT ${CHECKED} FROM user_session WHERE id = :id`,
};

export interface ActiveValues {
  readonly userId: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Selects a user's sessions that have not expired, the earliest created first. It does not select by type: types compare in
 * any letter case, and sessions of types that this process does not know count too.
 */
const active = <R extends object>(columns: string): Sql<ActiveValues, R> => ({
  entities: ENTITIES,
  columns,
  text: ({ sameText }) => `
    SELECT ${columns} FROM user_session
    WHERE ${sameText('user_id', ':userId')} AND expires_at > :now
    ORDER BY created_at, id`,
});

/** Selects a user's active sessions with the columns that are shown. */
export const LIST_ACTIVE = active<ShownRow>(SHOWN);

/** Selects a user's active sessions with the columns that limits need. */
export const COUNT_ACTIVE = active<CountedRow>(COUNTED);

// ─── A new session ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** The columns of a session as the database stores them. A new session has its `cleanupAt` from its `expiresAt`. */
export type SessionValues = {
  readonly [P in Exclude<keyof SessionEntity, 'cleanupAt'>]: SessionEntity[P] extends Date | null
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
    preparedAt: row.preparedAt && row.preparedAt.getTime(),
    clientChangedAt: row.clientChangedAt && row.clientChangedAt.getTime(),
    bindingKey: row.bindingKey && JSON.stringify(row.bindingKey),
  };
}

export const INSERT: Sql<SessionValues> = {
  entities: ENTITIES,
  text: `
    INSERT INTO user_session (cleanup_at, ${SESSION})
    VALUES (:expiresAt, :id, :userId, :type, :generation, :parentGeneration, :refreshJti, :parentJti, :refreshKid, :confirmedGeneration,
      :createdAt, :lastUpdate, :rotatedAt, :expiresAt, :absoluteExpiresAt, :info, :userAgent, :ipAddress, :deviceName,
      :data, :claims, :accessLifetime, :preparedAt, :transport, :persistent, :clientChangedAt, :binding, :pendingBinding,
      :bindingKey)`,
};

// ─── Ending ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The session to end, and conditions that its row must still meet. */
export interface EndValues {
  readonly endedId: string;
  /** The `jti` of its current refresh token; null for any. */
  readonly jti: string | null;
  /** 1 if it must have expired by now. */
  readonly mustHaveExpired: 0 | 1;
}

const ended = ({ now }: Pick<Dialect, 'now'>) => `
  id = :endedId
  AND (refresh_jti = :jti OR :jti IS NULL)
  AND (:mustHaveExpired = 0 OR expires_at <= ${now})`;

export const DELETE: Sql<EndValues> = {
  entities: ENTITIES,
  text: (dialect) => `DELETE FROM user_session WHERE ${ended(dialect)}`,
};

/** Locks a row that is to be ended. */
export const LOCK: Sql<EndValues, Pick<SessionEntity, 'accessLifetime'>> = {
  entities: ENTITIES,
  columns: 'access_lifetime',
  text: (dialect) => `SELECT access_lifetime FROM user_session WHERE ${ended(dialect)} ${dialect.forUpdate}`,
};

/** How long revocation entries are kept: see `entryLife`. */
export interface EntryLifeValues {
  /** For a row that records no lifetime, in seconds. */
  readonly assumedSeconds: number;
  /** The longest lifetime of an access token in this process, in milliseconds. */
  readonly longest: number;
  /** `ENTRY_MARGIN`. */
  readonly margin: number;
}

interface EntryValues extends EndValues, EntryLifeValues {
  readonly reason: string;
}

/** The expiry of the entry for a row. The decimal point keeps PostgreSQL from computing with 32 bits. */
const entryExpiry = ({ now, greatest }: Dialect) =>
  `${now} + ${greatest('COALESCE(access_lifetime, :assumedSeconds) * 1000.0', ':longest')} + :margin`;

/** The columns of an ended session. */
const ENDED = `${SHOWN}, access_lifetime`;

/** The columns of an ended session. */
export type EndedRow = ShownRow & Pick<SessionEntity, 'accessLifetime'>;

/**
 * Deletes the row and writes its revocation entry. It computes the entry's expiry from the database's time after it has
 * locked the row. A refresh may hold the row until then, and the entry must outlive the access token of that refresh too.
 */
const DELETE_AND_INSERT_ENTRY = `
  ended AS (
    DELETE FROM user_session WHERE ${ended(DIALECTS.postgres)} RETURNING ${ENDED}
  ), entry AS (
    INSERT INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
    SELECT id, 'session', id, user_id, CAST(:reason AS varchar), ${DIALECTS.postgres.now}, ${entryExpiry(DIALECTS.postgres)}
    FROM ended
    ON CONFLICT DO NOTHING
  )`;

/** Ends a session in one statement, all or nothing. Only for PostgreSQL. */
export const END: Sql<EntryValues, EndedRow> = {
  entities: [SessionEntity, BlacklistEntity],
  columns: ENDED,
  text: `WITH ${DELETE_AND_INSERT_ENTRY} SELECT ${ENDED} FROM ended`,
};

/** Makes `END` with a piece that writes about the ending. */
export const endAndWrite = ({ entities, insertFrom }: InlineWriter): Sql<EntryValues, EndedRow> => ({
  entities: [SessionEntity, BlacklistEntity, ...entities],
  columns: ENDED,
  text: `
    WITH ${DELETE_AND_INSERT_ENTRY}, written AS (${insertFrom('ended', DIALECTS.postgres.now)})
    SELECT ${ENDED} FROM ended`,
});

const locks: Sql<SqlValues, LockedRow>[] = [];
const inserts: Sql<SqlValues>[] = [];
const deletes: Sql<SqlValues>[] = [];
const ids = (count: number) => Array.from({ length: count }, (_, at) => `:id${at}`).join(', ');

type LockedRow = Pick<SessionEntity, 'id' | 'accessLifetime'>;

/** Locks the rows of `count` sessions in the order of their ids, as all statements that lock several rows do. */
export const lockAll = (count: number): Sql<SqlValues, LockedRow> =>
  (locks[count] ??= {
    entities: ENTITIES,
    columns: 'id, access_lifetime',
    text: ({ forUpdate }) =>
      `SELECT id, access_lifetime FROM user_session WHERE id IN (${ids(count)}) ORDER BY id ${forUpdate}`,
  });

/**
 * Writes the revocation entries of `count` sessions. The transaction has locked their rows, so no refresh can raise a row's
 * `access_lifetime` any more.
 */
export const insertEntriesOf = (count: number): Sql<SqlValues> =>
  (inserts[count] ??= {
    entities: [SessionEntity, BlacklistEntity],
    text: (dialect) =>
      dialect.insertIfAbsent(`
        INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
        SELECT id, 'session', id, user_id, :reason, ${dialect.now}, ${entryExpiry(dialect)}
        FROM user_session WHERE id IN (${ids(count)})`),
  });

/** Deletes the rows of `count` sessions. */
export const deleteSessions = (count: number): Sql<SqlValues> =>
  (deletes[count] ??= { entities: ENTITIES, text: `DELETE FROM user_session WHERE id IN (${ids(count)})` });

/** Returns the values of `insertEntriesOf` and `deleteSessions`. */
export function idValues(sessionIds: readonly string[]): Record<string, string> {
  return Object.fromEntries(sessionIds.map((id, at) => [`id${at}`, id]));
}

/**
 * Ends a session and inserts another one, whether or not the first one still existed. Only for PostgreSQL.
 *
 * The insert selects from the result of the deletion, so it runs after the deletion: all statements lock older rows before
 * newer ones. The casts are needed because PostgreSQL cannot infer parameter types in a SELECT from the target columns.
 */
export const END_AND_INSERT: Sql<EntryValues & SessionValues, EndedRow> = {
  entities: [SessionEntity, BlacklistEntity],
  columns: ENDED,
  text: `
    WITH ${DELETE_AND_INSERT_ENTRY}, successor AS (
      INSERT INTO user_session (cleanup_at, ${SESSION})
      SELECT CAST(:expiresAt AS bigint), CAST(:id AS varchar), CAST(:userId AS varchar), CAST(:type AS varchar), CAST(:generation AS int),
        CAST(:parentGeneration AS int), CAST(:refreshJti AS varchar), CAST(:parentJti AS varchar),
        CAST(:refreshKid AS varchar), CAST(:confirmedGeneration AS int), CAST(:createdAt AS bigint),
        CAST(:lastUpdate AS bigint), CAST(:rotatedAt AS bigint), CAST(:expiresAt AS bigint),
        CAST(:absoluteExpiresAt AS bigint), CAST(:info AS text), CAST(:userAgent AS varchar), CAST(:ipAddress AS varchar),
        CAST(:deviceName AS varchar), CAST(:data AS text), CAST(:claims AS text), CAST(:accessLifetime AS int),
        CAST(:preparedAt AS bigint), CAST(:transport AS varchar), CAST(:persistent AS int), CAST(:clientChangedAt AS bigint),
        CAST(:binding AS varchar), CAST(:pendingBinding AS varchar), CAST(:bindingKey AS text)
      FROM (SELECT count(*) FROM ended) AS done
    )
    SELECT ${ENDED} FROM ended`,
};
