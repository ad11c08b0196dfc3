import { randomBytes } from 'node:crypto';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { splitSynchronizedTables } from './partitions.js';

/** The databases that tests can run on. */
export const DATABASE_NAMES = ['sqlite', 'sqljs', 'postgres', 'mariadb'] as const;
export type DatabaseName = (typeof DATABASE_NAMES)[number];

/** The database servers, unless the environment names others. */
const POSTGRES_URL = process.env.TEST_POSTGRES_URL ?? 'postgres://postgres@127.0.0.1:5432/test';
const MARIADB_URL = process.env.TEST_MARIADB_URL ?? 'mariadb://root@127.0.0.1:3306/test';

if (process.env.TEST_PARTITIONS) splitSynchronizedTables();

/**
 * Returns the databases that `TEST_DATABASES` names. Default: only embedded SQLite.
 *
 * @throws if a name is unknown, so that a typing error skips no tests
 */
export function selectedDatabases(): DatabaseName[] {
  const names = (process.env.TEST_DATABASES ?? 'sqlite').split(',').map((name) => name.trim());
  for (const name of names) {
    if (!DATABASE_NAMES.includes(name as DatabaseName)) {
      throw new Error(`TEST_DATABASES names "${name}", which is unknown. Use ${DATABASE_NAMES.join(', ')}.`);
    }
  }
  return names as DatabaseName[];
}

/** Returns the selected databases that several processes can use. sql.js keeps its data in the memory of one process. */
export function sharedDatabases(): DatabaseName[] {
  return selectedDatabases().filter((name) => name !== 'sqljs');
}

/** A database that belongs to one suite. */
export interface TestDatabase {
  readonly name: DatabaseName;
  /** On a server, all DataSources with these options share the database. Each one of embedded SQLite has its own. */
  readonly options: DataSourceOptions;
  drop(): Promise<void>;
}

/**
 * Creates an empty database, without tables.
 *
 * @throws if the database server is not available
 */
export async function createDatabase(name: DatabaseName): Promise<TestDatabase> {
  if (name === 'sqlite')
    return { name, options: { type: 'better-sqlite3', database: ':memory:' }, drop: async () => {} };
  if (name === 'sqljs') return { name, options: { type: 'sqljs' }, drop: async () => {} };
  const database = `ms_test_${randomBytes(6).toString('hex')}`;
  const server = serverOptions(name);
  const create =
    name === 'mariadb' ? `CREATE DATABASE ${database} CHARACTER SET utf8mb4` : `CREATE DATABASE ${database}`;
  await administer(server, create);
  return {
    name,
    options: { ...server, url: server.url.replace(/\/[^/]*$/, `/${database}`) } as DataSourceOptions,
    drop: () =>
      administer(server, name === 'postgres' ? `DROP DATABASE ${database} WITH (FORCE)` : `DROP DATABASE ${database}`),
  };
}

function serverOptions(name: 'postgres' | 'mariadb') {
  return name === 'postgres'
    ? { type: 'postgres' as const, url: POSTGRES_URL }
    : { type: 'mariadb' as const, url: MARIADB_URL, charset: 'utf8mb4' };
}

async function administer(server: ReturnType<typeof serverOptions>, sql: string): Promise<void> {
  // If a named database is unavailable, its suites must fail rather than be skipped.
  const dataSource = await new DataSource(server as DataSourceOptions).initialize().catch((cause: unknown) => {
    throw new Error(`TEST_DATABASES names ${server.type}, but it cannot be used: ${(cause as Error).message}`, {
      cause,
    });
  });
  try {
    await dataSource.query(sql);
  } finally {
    await dataSource.destroy();
  }
}
