import type { DataSourceOptions } from 'typeorm';

/** Milliseconds that SQLite waits for a lock of another process. The wait blocks this process. */
const SQLITE_WAIT = 10_000;

/**
 * Parses the address of a database.
 * @param value a URL that begins with `postgres://`, `mariadb://` or `mysql://`, or the path of an SQLite file
 * @throws Error if it is neither. The message does not show the value, because it may hold a password
 */
export function readDatabaseUrl(value: string): DataSourceOptions {
  // At least two letters: a single one is a Windows drive.
  const scheme = /^([a-z][a-z\d+.-]+):/i.exec(value)?.[1].toLowerCase();
  switch (scheme) {
    case undefined:
      return { type: 'better-sqlite3', database: value, timeout: SQLITE_WAIT };
    case 'postgres':
    case 'postgresql':
      return { type: 'postgres', url: checked(value) };
    case 'mysql':
    case 'mariadb':
      return { type: scheme, url: checked(value), charset: 'utf8mb4' };
    default:
      throw new Error(
        `must begin with postgres://, mariadb:// or mysql://, or be the path of an SQLite file; got ${scheme}:…`,
      );
  }
}

function checked(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.hostname && url.pathname.length > 1) return value;
  throw new Error('must be a URL with a host and the name of a database: scheme://user:password@host:port/database');
}
