/** The families of databases that need different SQL. MariaDB counts as `mysql`. */
export type DatabaseKind = 'postgres' | 'mysql' | 'sqlite';

/** The SQL fragments in which the databases differ. */
export interface Dialect {
  readonly kind: DatabaseKind;
  /** An expression for the database's time at the moment when the statement runs, in milliseconds since 1970. */
  readonly now: string;
  /** The same at the moment when the statement started, so that each mention in one statement gives the same time. */
  readonly statementTime: string;
  /** Returns the clause that makes an UPDATE or DELETE return these columns; empty if an UPDATE cannot do so. */
  readonly returning: (columns: string) => string;
  /**
   * Returns a condition that two texts are equal byte for byte, whatever the collation: "bob" equals neither "Bob" nor "bob ".
   * @param column the name of a column
   * @param parameter a parameter, with its colon: `:userId`
   */
  readonly sameText: (column: string, parameter: string) => string;
  /**
   * Returns an INSERT that skips the rows whose key exists.
   * @param insert the rest of the statement, starting with `INTO`
   */
  readonly insertIfAbsent: (insert: string) => string;
  /** Returns the smallest of several numbers. No argument may be null. */
  readonly least: (...numbers: string[]) => string;
  /** Returns the largest of several numbers. No argument may be null. */
  readonly greatest: (...numbers: string[]) => string;
  /** An expression that says whether the server or the transaction is read-only: see `isReadOnly`. */
  readonly readOnly: string;
  /**
   * An expression that identifies the running server. It differs after a restart or a fail-over, which may have lost commits. On
   * MySQL and MariaDB, it also differs after each reconnection.
   */
  readonly serverIdentity: string;
  /** The clause that locks the selected rows until the end of the transaction. SQLite has one writer and needs none. */
  readonly forUpdate: string;
}

const equal = (column: string, parameter: string) => `${column} = ${parameter}`;
const onConflictDoNothing = (insert: string) => `INSERT ${insert} ON CONFLICT DO NOTHING`;
const returning = (columns: string) => `RETURNING ${columns}`;
const call =
  (name: string) =>
  (...values: string[]) =>
    `${name}(${values.join(', ')})`;
const extremes = { least: call('LEAST'), greatest: call('GREATEST'), forUpdate: 'FOR UPDATE' };
/** Converts a text to bytes, by way of one character set, because those of the table and the connection may differ. */
const bytes = (text: string) => `CAST(CONVERT(${text} USING utf8mb4) AS BINARY)`;

// `EXTRACT` would compute with decimals, which takes four times as long.
const inMilliseconds = (time: string) => `CAST(date_part('epoch', ${time}) * 1000 AS bigint)`;
// Use UTC: local time jumps by an hour when daylight saving time ends.
const mysqlTime = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000";
const sqliteTime = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)";

export const DIALECTS: Readonly<Record<DatabaseKind, Dialect>> = {
  postgres: {
    kind: 'postgres',
    // Do not use `now()`, which stays at the start of the transaction.
    now: inMilliseconds('clock_timestamp()'),
    statementTime: inMilliseconds('statement_timestamp()'),
    returning,
    sameText: equal,
    insertIfAbsent: onConflictDoNothing,
    // A standby says 'on' too.
    readOnly: "current_setting('transaction_read_only')",
    serverIdentity: 'CAST(pg_postmaster_start_time() AS text)',
    ...extremes,
  },
  mysql: {
    kind: 'mysql',
    now: mysqlTime,
    statementTime: mysqlTime,
    returning: () => '',
    // The first condition uses the index, and the second one compares bytes.
    sameText: (column, parameter) => `${equal(column, parameter)} AND ${equal(bytes(column), bytes(parameter))}`,
    insertIfAbsent: (insert) => `INSERT IGNORE ${insert}`,
    // A reader of Aurora has only the first one.
    readOnly: 'IF(@@global.innodb_read_only, 1, @@global.read_only)',
    serverIdentity: "CONCAT_WS(':', @@hostname, @@port, @@server_id, CONNECTION_ID())",
    ...extremes,
  },
  sqlite: {
    kind: 'sqlite',
    now: sqliteTime,
    statementTime: sqliteTime,
    returning,
    sameText: equal,
    insertIfAbsent: onConflictDoNothing,
    // With several arguments, these are not the aggregate functions.
    least: call('MIN'),
    greatest: call('MAX'),
    readOnly: '0',
    serverIdentity: "''",
    forUpdate: '',
  },
};

/** The databases that are supported, by TypeORM's names of their drivers. */
export const KINDS: Partial<Record<string, DatabaseKind>> = {
  postgres: 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
  'better-sqlite3': 'sqlite',
  sqlite: 'sqlite',
  sqljs: 'sqlite',
};
