import type { DatabaseKind } from './dialect.js';

/*
 * Which faults of a database do not pass by themselves. A client that retries them gets the same answer for ever, so they are
 * answered with 500 and not with 503 and `Retry-After`. Faults that are not listed are assumed to pass: a lost connection, too
 * many connections, a lock that was not free, a full disk, a server that shuts down, recovers or is read-only.
 */

const MISSING = 'a table or column is missing; run the migrations of nestjs-multisession on this database';
const RIGHTS =
  'the database user lacks a right; grant it SELECT, INSERT, UPDATE and DELETE on the tables of nestjs-multisession';
const LOGIN = 'the database refuses this user; correct the user name, password or database name of the DataSource';
const VALUE =
  'a value does not fit its column; run the migrations of nestjs-multisession, and do not change its columns';
const CONSTRAINT =
  'a constraint or trigger refuses the row; remove those that you have added to the tables of nestjs-multisession';
const STATEMENT =
  'the database does not understand a statement; check that docs/databases.md lists its version, and report it as a bug';
const CORRUPT = 'the database is damaged; restore it from a backup';

/** SQLSTATE codes of PostgreSQL. The longest matching prefix counts; `null` means that the fault may pass. */
const POSTGRES: Readonly<Record<string, string | null>> = {
  '0A': STATEMENT, // feature_not_supported
  '21': STATEMENT, // cardinality_violation
  '22': VALUE, // data_exception: too long, out of range, not valid in the encoding
  '23': CONSTRAINT, // integrity_constraint_violation
  '23502': VALUE, // not_null_violation: usually a column that a newer version writes, or an older one does not
  '28': LOGIN, // invalid_authorization_specification
  '2F': STATEMENT, // sql_routine_exception
  '38': CONSTRAINT, // external_routine_exception: a trigger
  '39': CONSTRAINT, // external_routine_invocation_exception
  '3D': LOGIN, // invalid_catalog_name: there is no such database
  '3F': MISSING, // invalid_schema_name
  '42': STATEMENT, // syntax_error_or_access_rule_violation
  '42501': RIGHTS, // insufficient_privilege
  '42703': MISSING, // undefined_column
  '42704': MISSING, // undefined_object
  '42P01': MISSING, // undefined_table
  '42P05': null, // duplicate_prepared_statement: a pooler, sent again without a name
  '44': CONSTRAINT, // with_check_option_violation
  '54': STATEMENT, // program_limit_exceeded
  '57P04': LOGIN, // database_dropped
  P0: CONSTRAINT, // plpgsql_error: RAISE in a trigger
  XX001: CORRUPT, // data_corrupted
  XX002: CORRUPT, // index_corrupted
};

/** Error numbers of MySQL and MariaDB that may pass. Every other error of the server is permanent. */
const MYSQL_PASSING: ReadonlySet<number> = new Set([
  ...[1015, 1020, 1205, 1206, 1213, 1689, 3058, 3572], // locks, deadlocks and conflicts
  ...[1021, 1030, 1037, 1038, 1041, 1114, 1135, 1197, 3675], // out of disk or memory
  ...[1040, 1129, 1203, 1226], // too many connections
  ...[1053, 1077, 1079, 1080, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927, 4031], // shutting down, connection lost
  ...[1317, 1836, 1290, 1792, 1969, 3024, 3032], // cancelled, timed out, read-only
  ...[1047, 1180, 3100, 3101], // a cluster: node not ready, certification failed
  1105, // unknown error, which proxies use
]);

const MYSQL_REMEDIES: Readonly<Record<number, string>> = {
  1044: RIGHTS,
  1045: LOGIN,
  1048: VALUE,
  1049: LOGIN,
  1054: MISSING,
  1062: CONSTRAINT,
  1142: RIGHTS,
  1143: RIGHTS,
  1146: MISSING,
  1216: CONSTRAINT,
  1217: CONSTRAINT,
  1227: RIGHTS,
  1264: VALUE,
  1364: VALUE,
  1366: VALUE,
  1367: VALUE,
  1370: RIGHTS,
  1406: VALUE,
  1451: CONSTRAINT,
  1452: CONSTRAINT,
  1644: CONSTRAINT,
  1698: LOGIN,
  3819: CONSTRAINT,
  4025: CONSTRAINT,
};

/** Beginnings of SQLite's result codes that do not pass. `SQLITE_ERROR` is told apart by its message. */
const SQLITE: readonly (readonly [prefix: string, remedy: string])[] = [
  ['SQLITE_CONSTRAINT_NOTNULL', VALUE],
  ['SQLITE_CONSTRAINT', CONSTRAINT],
  ['SQLITE_TOOBIG', VALUE],
  ['SQLITE_MISMATCH', VALUE],
  ['SQLITE_RANGE', STATEMENT],
  ['SQLITE_AUTH', RIGHTS],
  ['SQLITE_PERM', RIGHTS],
  ['SQLITE_CORRUPT', CORRUPT],
  ['SQLITE_NOTADB', CORRUPT],
];

/** Messages of SQLite, for `SQLITE_ERROR` and for sql.js, which gives no codes. */
const SQLITE_MESSAGES: readonly (readonly [pattern: RegExp, remedy: string])[] = [
  [/^no such (table|column|index)|has no column named/, MISSING],
  [/^NOT NULL constraint failed|too big|^datatype mismatch/, VALUE],
  [/constraint failed/, CONSTRAINT],
  [/syntax error|^too many SQL variables|^no such function/, STATEMENT],
  [/malformed|not a database/, CORRUPT],
];

/** Errors of TypeORM that say that an entity is not what it should be. */
const MISMATCHED_ENTITY = /^Entity(Metadata|Property)NotFoundError$/;

/**
 * Tells whether waiting cannot help.
 * @returns what the operator has to do, or undefined if the fault may pass
 */
export function remedyOf(error: unknown, kind: DatabaseKind): string | undefined {
  const { name, message, driverError, ...outer } = detailsOf(error);
  if (MISMATCHED_ENTITY.test(name)) return 'add MULTI_SESSION_ENTITIES to the entities of the DataSource';
  const { code, errno } = driverError ? detailsOf(driverError) : outer;
  switch (kind) {
    case 'postgres':
      return remedyOfPostgres(typeof code === 'string' ? code : '');
    case 'mysql':
      return remedyOfMysql(Number(errno));
    case 'sqlite':
      return remedyOfSqlite(
        typeof code === 'string' ? code : '',
        driverError ? detailsOf(driverError).message : message,
      );
  }
}

/** Whether the database has no such table, schema or column. */
export function isMissing(error: unknown, kind: DatabaseKind): boolean {
  return remedyOf(error, kind) === MISSING;
}

function remedyOfPostgres(code: string): string | undefined {
  return POSTGRES[code] === null ? undefined : (POSTGRES[code] ?? POSTGRES[code.slice(0, 2)] ?? undefined);
}

function remedyOfMysql(errno: number): string | undefined {
  // Below 1000 are errors of the operating system, and from 2000 to 2999 those of the client: no connection.
  const isOfServer = errno >= 1000 && !(errno >= 2000 && errno < 3000);
  return isOfServer && !MYSQL_PASSING.has(errno) ? (MYSQL_REMEDIES[errno] ?? STATEMENT) : undefined;
}

function remedyOfSqlite(code: string, message: string): string | undefined {
  const byCode = SQLITE.find(([prefix]) => code.startsWith(prefix));
  if (byCode) return byCode[1];
  return code === '' || code === 'SQLITE_ERROR'
    ? SQLITE_MESSAGES.find(([pattern]) => pattern.test(message))?.[1]
    : undefined;
}

interface ErrorDetails {
  name: string;
  message: string;
  code?: unknown;
  errno?: unknown;
  driverError?: unknown;
}

function detailsOf(error: unknown): ErrorDetails {
  const { name, message, code, errno, driverError } = (error ?? {}) as Partial<ErrorDetails>;
  return { name: String(name), message: String(message), code, errno, driverError };
}
