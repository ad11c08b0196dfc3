import { readDatabaseUrl as readUrl } from 'nestjs-multisession/import';
import type { DataSourceOptions } from 'typeorm';
import { silentConnectionsClosed } from './silent-connections.js';

/** Milliseconds to wait for a connection, or for a free one in the pool. */
const CONNECT_TIMEOUT = 5000;
/** Milliseconds after which PostgreSQL cancels a statement. Without it, a statement outlives a client that has disconnected. */
const STATEMENT_TIMEOUT = 12_000;

/**
 * Parses `DATABASE_URL`. Adds the time limits of a server that answers requests.
 *
 * @throws if it is neither a path nor the URL of a supported database
 */
export function readDatabaseUrl(value: string): DataSourceOptions {
  const options = readUrl(value);
  if (options.type === 'postgres') {
    const extra = { statement_timeout: STATEMENT_TIMEOUT, ...silentConnectionsClosed('postgres') };
    return { ...options, connectTimeoutMS: CONNECT_TIMEOUT, extra };
  }
  if (options.type === 'mysql' || options.type === 'mariadb')
    return { ...options, connectTimeout: CONNECT_TIMEOUT, extra: silentConnectionsClosed('mysql') };
  return options;
}
