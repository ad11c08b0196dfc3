import type { DataSourceOptions } from 'typeorm';
import { silentConnectionsClosed } from './silent-connections.js';

/** Milliseconds that SQLite waits for a lock of another process. The wait blocks this process. */
const SQLITE_WAIT = 10_000;

/** Milliseconds to wait for a connection, or for a free one in the pool. */
const CONNECT_TIMEOUT = 5000;
/** Milliseconds after which PostgreSQL cancels a statement. Without it, a statement outlives a client that has disconnected. */
const STATEMENT_TIMEOUT = 12_000;

/**
 * Parses `DATABASE_URL`.
 *
 * @throws if it is neither a path nor the URL of a supported database
 */
export function readDatabaseUrl(value: string): DataSourceOptions {
  // At least two letters: a single one is a Windows drive.
  const scheme = /^([a-z][a-z\d+.-]+):/i.exec(value)?.[1].toLowerCase();
  switch (scheme) {
    case undefined:
      return { type: 'better-sqlite3', database: value, timeout: SQLITE_WAIT };
    case 'postgres':
    case 'postgresql':
      return {
        type: 'postgres',
        url: checked(value),
        connectTimeoutMS: CONNECT_TIMEOUT,
        extra: { statement_timeout: STATEMENT_TIMEOUT, ...silentConnectionsClosed('postgres') },
      };
    case 'mysql':
    case 'mariadb':
      return {
        type: scheme,
        url: checked(value),
        charset: 'utf8mb4',
        connectTimeout: CONNECT_TIMEOUT,
        extra: silentConnectionsClosed('mysql'),
      };
    default:
      throw new Error(
        `must begin with postgres://, mariadb:// or mysql://, or be the path of an SQLite file; got ${scheme}:…`,
      );
  }
}

// The message does not show the value, because it may hold a password.
function checked(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.hostname && url.pathname.length > 1) return value;
  throw new Error('must be a URL with a host and the name of a database: scheme://user:password@host:port/database');
}
