import { DataSource } from 'typeorm';
import type { LegacySystem } from '../../lib/session/alias.js';
import { createDatabase, type DatabaseName } from './databases.js';
import type { OldDatabase } from './old-systems.js';

/** The tables of the old systems. Dates are of the type `date`. */
export const OLD_TABLES: Record<LegacySystem, { name: string; key: string; columns: Record<string, string> }> = {
  'simplejwt-multisessions': {
    name: 'simplejwt_multisessions_authenticationsession',
    key: 'session_id',
    columns: {
      id: 'bigint PRIMARY KEY',
      session_id: 'varchar(510) UNIQUE',
      session: 'integer',
      refresh: 'varchar(510)',
      expiresAt: 'date',
      createdAt: 'date',
      lastUpdateDate: 'date',
      info: 'text',
      user_id: 'integer',
    },
  },
  'drf-jwt-devices': {
    name: 'jwt_devices_device',
    key: 'id',
    columns: {
      id: 'integer PRIMARY KEY',
      permanent_token: 'varchar(255)',
      created: 'date',
      name: 'varchar(255)',
      details: 'varchar(255)',
      last_request_datetime: 'date',
      user_id: 'bigint',
    },
  },
  'supertokens-django-ref-jwt': {
    name: 'refresh_token',
    key: 'session_handle',
    columns: {
      session_handle: 'varchar(255) PRIMARY KEY',
      user_id: 'varchar(128)',
      refresh_token_hash_2: 'varchar(128)',
      session_info: 'text',
      expires_at: 'date',
      jwt_payload: 'text',
    },
  },
  'django-token-manager': {
    name: 'token_manager_lookup_id',
    key: 'id',
    columns: {
      id: 'integer PRIMARY KEY',
      user_id: 'integer',
      ip: 'varchar(15)',
      os: 'varchar(300)',
      device: 'varchar(100)',
      browser: 'varchar(100)',
      created_at: 'date',
      updated_at: 'date',
    },
  },
};

/**
 * Copies the table of an old system to a new database of another kind. Dates get the type that Django gives them there.
 * @returns the same database if the kind is SQLite
 */
export async function copyOldTable(old: OldDatabase, system: LegacySystem, kind: DatabaseName): Promise<OldDatabase> {
  if (kind === 'sqlite' || kind === 'sqljs') return { ...old, drop: () => Promise.resolve() };
  const { name, columns } = OLD_TABLES[system];
  const isPostgres = kind === 'postgres';
  const database = await createDatabase(kind);
  const dataSource = await new DataSource(database.options).initialize();
  const quote = (column: string) => dataSource.driver.escape(column);
  const dateType = isPostgres ? 'timestamp with time zone' : 'datetime(6)';
  const defined = Object.entries(columns).map(
    ([column, type]) => `${quote(column)} ${type === 'date' ? dateType : type}`,
  );
  await dataSource.query(`CREATE TABLE ${name} (${defined.join(', ')})`);
  const names = Object.keys(columns);
  const list = names.map(quote).join(', ');
  const places = names.map((_, at) => (isPostgres ? `$${at + 1}` : '?')).join(', ');
  for (const row of await old.run(`SELECT ${names.map((column) => `"${column}"`).join(', ')} FROM ${name}`)) {
    // PostgreSQL would take a date without a zone for one in the zone of the connection.
    const valueOf = (column: string) =>
      isPostgres && columns[column] === 'date' && row[column] ? `${row[column]}Z` : row[column];
    await dataSource.query(`INSERT INTO ${name} (${list}) VALUES (${places})`, names.map(valueOf));
  }
  return {
    url: (database.options as { url: string }).url,
    run: (sql, parameters) => dataSource.query(sql, parameters),
    drop: async () => {
      await dataSource.destroy();
      await database.drop();
    },
  };
}
