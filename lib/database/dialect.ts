/** The families of databases that need different SQL. MariaDB is of the kind `mysql`. */
export type DatabaseKind = 'postgres' | 'mysql' | 'sqlite';

/** The fragments of SQL in which the databases differ. */
export interface Dialect {
  readonly kind: DatabaseKind;
  /** An expression for the database's own time, when the statement runs, in milliseconds since 1970. */
  readonly now: string;
  /** The clause by which an UPDATE or DELETE returns these columns; empty if the database has none for an UPDATE. */
  readonly returning: (columns: string) => string;
  /**
   * A condition that two texts are equal byte for byte, whatever the collation of the column: "bob" is neither "Bob" nor "bob ".
   * @param column the name of a column
   * @param parameter a parameter, with its colon: `:userId`
   */
  readonly sameText: (column: string, parameter: string) => string;
  /** An INSERT that leaves out the rows whose key exists. `insert` starts with `INTO`. */
  readonly insertIfAbsent: (insert: string) => string;
}

const equal = (column: string, parameter: string) => `${column} = ${parameter}`;
const onConflictDoNothing = (insert: string) => `INSERT ${insert} ON CONFLICT DO NOTHING`;
const returning = (columns: string) => `RETURNING ${columns}`;
/** Converted to one character set, since those of the table and of the connection may differ. */
const bytes = (text: string) => `CAST(CONVERT(${text} USING utf8mb4) AS BINARY)`;

export const DIALECTS: Readonly<Record<DatabaseKind, Dialect>> = {
  postgres: {
    kind: 'postgres',
    // Not `now()`, which stays at the start of the transaction.
    now: 'CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)',
    returning,
    sameText: equal,
    insertIfAbsent: onConflictDoNothing,
  },
  mysql: {
    kind: 'mysql',
    // In UTC: local time jumps by an hour when daylight saving time ends.
    now: "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000",
    returning: () => '',
    // The first condition uses the index, the second one compares bytes.
    sameText: (column, parameter) => `${equal(column, parameter)} AND ${equal(bytes(column), bytes(parameter))}`,
    insertIfAbsent: (insert) => `INSERT IGNORE ${insert}`,
  },
  sqlite: {
    kind: 'sqlite',
    now: "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    returning,
    sameText: equal,
    insertIfAbsent: onConflictDoNothing,
  },
};
