/** The families of databases that need different SQL. MariaDB counts as `mysql`. */
export type DatabaseKind = 'postgres' | 'mysql' | 'sqlite';

/** The SQL fragments in which the databases differ. */
export interface Dialect {
  readonly kind: DatabaseKind;
  /** An expression for the database's time at the moment when the statement runs, in milliseconds since 1970. */
  readonly now: string;
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
}

const equal = (column: string, parameter: string) => `${column} = ${parameter}`;
const onConflictDoNothing = (insert: string) => `INSERT ${insert} ON CONFLICT DO NOTHING`;
const returning = (columns: string) => `RETURNING ${columns}`;
/** Converts a text to bytes, by way of one character set, because those of the table and the connection may differ. */
const bytes = (text: string) => `CAST(CONVERT(${text} USING utf8mb4) AS BINARY)`;

export const DIALECTS: Readonly<Record<DatabaseKind, Dialect>> = {
  postgres: {
    kind: 'postgres',
    // Do not use `now()`, which stays at the start of the transaction.
    now: 'CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)',
    returning,
    sameText: equal,
    insertIfAbsent: onConflictDoNothing,
  },
  mysql: {
    kind: 'mysql',
    // Use UTC: local time jumps by an hour when daylight saving time ends.
    now: "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000",
    returning: () => '',
    // The first condition uses the index, and the second one compares bytes.
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
