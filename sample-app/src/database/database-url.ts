import type { DataSourceOptions } from 'typeorm';
import { silentConnectionsClosed } from './silent-connections.js';

/** How long SQLite waits for another process, in milliseconds; the process itself stands still meanwhile. */
const SQLITE_WAIT = 10_000;

/** How long a connection, or its turn in the pool, is waited for, in milliseconds. */
const CONNECT_TIMEOUT = 5000;
/** When PostgreSQL itself gives a statement up, in milliseconds: it does not see that who asked has gone. */
const STATEMENT_TIMEOUT = 12_000;

/** @throws where it is neither the URL of a database that is known here nor a path */
export function readDatabaseUrl(value: string): DataSourceOptions {
  // A drive letter of Windows is no scheme.
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
        `must begin with postgres://, mariadb:// or mysql://, or be the path of an SQLite file; got «${scheme}:…»`,
      );
  }
}

// Nothing of the value is shown, since it may hold a password.
function checked(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url?.hostname && url.pathname.length > 1) return value;
  throw new Error('must be a URL with a host and the name of a database: scheme://user:password@host:port/database');
}
