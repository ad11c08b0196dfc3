import { SessionJobEntity } from '../database/job.entity.js';
import type { Dialect } from '../database/dialect.js';
import type { Sql } from '../database/sql.js';
import { SessionAliasEntity } from '../session/alias.entity.js';
import { SessionUserEntity } from '../session/session-user.entity.js';
import { SessionEntity } from '../session/session.entity.js';

/*
 * The statements of the import on the tables of this library. Each one takes a batch of rows as one parameter, a JSON list, so
 * its text does not depend on the size of the batch. The members of a row are called c0, c1 and so on: a naming strategy may
 * rename columns, but not these.
 */

type ColumnType = 'text' | 'bigint';

/** A JSON list in `:rows` as a table. */
interface JsonTable {
  /** Goes after FROM. */
  readonly from: string;
  /** Expressions for the members, in order. */
  readonly values: readonly string[];
}

const MYSQL_TYPES = { text: 'LONGTEXT', bigint: 'BIGINT' };

function jsonTable({ kind }: Dialect, types: readonly ColumnType[]): JsonTable {
  const members = types.map((type, at) => ({ type, name: `c${at}` }));
  switch (kind) {
    case 'postgres':
      return {
        from: `json_to_recordset(CAST(:rows AS json)) AS r(${members.map(({ name, type }) => `${name} ${type}`).join(', ')})`,
        values: members.map(({ name }) => `r.${name}`),
      };
    case 'mysql':
      return {
        from: `JSON_TABLE(:rows, '$[*]' COLUMNS (${members
          .map(({ name, type }) => `${name} ${MYSQL_TYPES[type]} PATH '$.${name}'`)
          .join(', ')})) AS r`,
        values: members.map(({ name }) => `r.${name}`),
      };
    case 'sqlite':
      return {
        // The condition keeps the parser from taking ON CONFLICT for a part of a join.
        from: 'json_each(:rows) AS r WHERE true',
        values: members.map(({ name }) => `json_extract(r.value, '$.${name}')`),
      };
  }
}

/** The members of a row of `INSERT_SESSIONS` and `INSERT_ALIASES`, in order. */
const MEMBERS = {
  id: 'text',
  userId: 'text',
  type: 'text',
  refreshJti: 'text',
  createdAt: 'bigint',
  lastUpdate: 'bigint',
  expiresAt: 'bigint',
  absoluteExpiresAt: 'bigint',
  info: 'text',
  userAgent: 'text',
  ipAddress: 'text',
  deviceName: 'text',
  data: 'text',
  claims: 'text',
  refreshKid: 'text',
  aliasId: 'text',
  system: 'text',
  oldKey: 'text',
  token: 'text',
} as const satisfies Record<string, ColumnType>;

type Member = keyof typeof MEMBERS;

/** A session to insert, with its alias. Times are in milliseconds since 1970. */
export type ImportedRow = {
  readonly [M in Member]: (typeof MEMBERS)[M] extends 'bigint' ? number | null : string | null;
};

const NAMES = Object.keys(MEMBERS) as Member[];

/** Writes rows as the JSON of `:rows`. A missing member is null in SQL. */
export function rowsOf(rows: readonly ImportedRow[]): string {
  return JSON.stringify(
    rows.map((row) => Object.fromEntries(NAMES.map((name, at) => [`c${at}`, row[name] ?? undefined]))),
  );
}

/** Inserts into a table. Columns that are not named are null or have their default. */
const insertInto =
  (table: string, columns: Readonly<Record<string, Member | 0 | 'now'>>) =>
  (dialect: Dialect): string => {
    const { from, values } = jsonTable(dialect, Object.values(MEMBERS));
    const valueOf = (source: Member | 0 | 'now') =>
      source === 0 ? '0' : source === 'now' ? dialect.now : values[NAMES.indexOf(source)];
    return `
      INSERT INTO ${table} (${Object.keys(columns).join(', ')})
      SELECT ${Object.values(columns).map(valueOf).join(', ')} FROM ${from}`;
  };

interface Rows {
  readonly rows: string;
}

export const INSERT_SESSIONS: Sql<Rows> = {
  entities: [SessionEntity],
  text: insertInto('user_session', {
    id: 'id',
    user_id: 'userId',
    type: 'type',
    generation: 0,
    refresh_jti: 'refreshJti',
    refresh_kid: 'refreshKid',
    confirmed_generation: 0,
    created_at: 'createdAt',
    last_update: 'lastUpdate',
    rotated_at: 0,
    expires_at: 'expiresAt',
    cleanup_at: 'expiresAt',
    absolute_expires_at: 'absoluteExpiresAt',
    info: 'info',
    user_agent: 'userAgent',
    ip_address: 'ipAddress',
    device_name: 'deviceName',
    data: 'data',
    claims: 'claims',
  }),
};

export const INSERT_ALIASES: Sql<Rows> = {
  entities: [SessionAliasEntity],
  text: insertInto('session_alias', {
    id: 'aliasId',
    system: 'system',
    old_key: 'oldKey',
    token: 'token',
    user_id: 'userId',
    session_id: 'id',
    imported_at: 'now',
  }),
};

// ─── Users ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The columns of a user's row that tell whether an ending of all sessions has overtaken the import. */
const ENDINGS = 'user_key, not_before, not_before_by_type';

export type UserEndings = Pick<SessionUserEntity, 'userKey' | 'notBefore' | 'notBeforeByType'>;

/**
 * Writes the rows of users, which locks them, as a login does: see `UserRows`. The list must be sorted, so that no two imports
 * wait for each other.
 */
export const LOCK_USERS: Sql<Rows, UserEndings> = {
  entities: [SessionUserEntity],
  columns: ENDINGS,
  text: (dialect) => {
    const { kind, now } = dialect;
    const { from, values } = jsonTable(dialect, ['text']);
    const old = kind === 'mysql' ? '' : 'existing.';
    const into = `INTO session_user ${kind === 'mysql' ? '' : 'AS existing'}`;
    const set = `version = (${old}version + 1) % 1000000000, used_at = ${now}`;
    const conflict = kind === 'mysql' ? 'ON DUPLICATE KEY UPDATE' : 'ON CONFLICT (user_key) DO UPDATE SET';
    return `
      INSERT ${into} (user_key, version, not_before, used_at) SELECT ${values[0]}, 1, 0, ${now} FROM ${from}
      ${conflict} ${set} ${dialect.returning(ENDINGS)}`;
  },
};

// ─── Batches of keys ────────────────────────────────────────────────────────────────────────────────────────────────────

/** How many keys a statement takes. A batch is at most this long. */
export const MAX_BATCH = 1000;

const KEYS = Array.from({ length: MAX_BATCH }, (_, at) => `:k${at}`).join(', ');

/** The values of a statement with `KEYS`. The last key fills the rest. */
export function keyValues(keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: MAX_BATCH }, (_, at) => [`k${at}`, keys[Math.min(at, keys.length - 1)]]),
  );
}

/** Selects the endings of users, for MySQL, whose INSERT returns no rows. */
export const FIND_USERS: Sql<Record<string, string>, UserEndings> = {
  entities: [SessionUserEntity],
  columns: ENDINGS,
  text: `SELECT ${ENDINGS} FROM session_user WHERE user_key IN (${KEYS})`,
};

/** An imported session has not been used here: it is of generation 0, and no access token was issued for it. */
const IS_UNUSED = 'generation = 0 AND access_lifetime IS NULL AND transport IS NULL';

/** An alias, and what has become of its session. */
export interface KnownAlias extends Pick<SessionAliasEntity, 'id' | 'sessionId' | 'userId'> {
  /** Null if the session has ended. */
  readonly refreshJti: string | null;
  readonly expiresAt: number;
  readonly lastUpdate: number;
  readonly isUnused: boolean;
}

const KNOWN = {
  known_jti: { property: 'refreshJti', read: (value: unknown) => value },
  known_expires_at: { property: 'expiresAt', read: Number },
  known_last_update: { property: 'lastUpdate', read: Number },
  is_unused: { property: 'isUnused', read: (value: unknown) => Number(value) === 1 },
};
/** A session that has ended has no generation, so it is not unused. */
const UNUSED = `CASE WHEN ${IS_UNUSED} THEN 1 ELSE 0 END AS is_unused`;

/** Selects the aliases of a batch, with their sessions. */
export const FIND_ALIASES: Sql<Record<string, string>, KnownAlias> = {
  entities: [SessionAliasEntity, SessionEntity],
  columns: 'id, session_id, user_id, known_jti, known_expires_at, known_last_update, is_unused',
  computed: KNOWN,
  text: `
    SELECT session_alias.id, session_alias.session_id, session_alias.user_id, refresh_jti AS known_jti,
      expires_at AS known_expires_at, last_update AS known_last_update,
      ${UNUSED}
    FROM session_alias LEFT JOIN user_session ON user_session.id = session_alias.session_id
    WHERE session_alias.id IN (${KEYS})`,
};

/** An alias on a page of `LIST_ALIASES`. */
export interface ListedAlias extends Pick<SessionAliasEntity, 'id' | 'oldKey' | 'sessionId'> {
  /** Null if the session has ended. */
  readonly refreshJti: string | null;
  readonly isUnused: boolean;
}

/**
 * Selects the next aliases of a system, with their sessions. The page is a subquery, so that no database joins the whole tables
 * first.
 */
export const LIST_ALIASES: Sql<{ system: string; after: string; limit: number }, ListedAlias> = {
  entities: [SessionAliasEntity, SessionEntity],
  columns: 'id, old_key, session_id, known_jti, is_unused',
  computed: KNOWN,
  text: `
    SELECT page.id, page.old_key, page.session_id, refresh_jti AS known_jti, ${UNUSED}
    FROM (
      SELECT session_alias.id, old_key, session_id FROM session_alias
      WHERE session_alias.id > :after AND system = :system ORDER BY session_alias.id LIMIT :limit
    ) AS page LEFT JOIN user_session ON user_session.id = page.session_id
    ORDER BY page.id`,
};

// ─── Single rows, by compare-and-swap ───────────────────────────────────────────────────────────────────────────────────

/** Gives a session the state that the old system has now, unless it has been used here. */
export const UPDATE_SESSION: Sql<{
  id: string;
  oldJti: string;
  refreshJti: string;
  expiresAt: number;
  lastUpdate: number;
}> = {
  entities: [SessionEntity],
  text: `
    UPDATE user_session SET refresh_jti = :refreshJti, expires_at = :expiresAt, cleanup_at = :expiresAt,
      last_update = :lastUpdate
    WHERE id = :id AND refresh_jti = :oldJti AND ${IS_UNUSED}`,
};

export const UPDATE_ALIAS: Sql<{ aliasId: string; token: string | null }> = {
  entities: [SessionAliasEntity],
  text: 'UPDATE session_alias SET token = :token WHERE id = :aliasId',
};

/**
 * Deletes a session that the old system has ended, unless it has been used here. No access token was issued for it, so it
 * needs no entry on the blacklist.
 */
export const REMOVE_SESSION: Sql<{ id: string; oldJti: string }> = {
  entities: [SessionEntity],
  text: `DELETE FROM user_session WHERE id = :id AND refresh_jti = :oldJti AND ${IS_UNUSED}`,
};

// ─── The cut-over ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Finds the row that declares the move from a system done. */
export const FIND_CUT_OVER: Sql<{ name: string }, Pick<SessionJobEntity, 'name'>> = {
  entities: [SessionJobEntity],
  columns: 'name',
  text: 'SELECT name FROM session_job WHERE name = :name',
};

/** Declares the move from a system done. */
export const DECLARE_CUT_OVER: Sql<{ name: string }> = {
  entities: [SessionJobEntity],
  text: ({ now, insertIfAbsent }) =>
    insertIfAbsent(`INTO session_job (name, turn, until, state) VALUES (:name, 1, ${now}, NULL)`),
};
