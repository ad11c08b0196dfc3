import { randomBytes } from 'node:crypto';
import { DataSource, type DataSourceOptions } from 'typeorm';

/** The databases that tests can run on. */
export const DATABASE_NAMES = ['sqlite', 'sqljs', 'postgres', 'mariadb'] as const;
export type DatabaseName = (typeof DATABASE_NAMES)[number];

/** Where the services are, unless the environment says otherwise. */
const POSTGRES_URL = process.env.TEST_POSTGRES_URL ?? 'postgres://postgres@127.0.0.1:5432/test';
const MARIADB_URL = process.env.TEST_MARIADB_URL ?? 'mariadb://root@127.0.0.1:3306/test';

/** What `TEST_DATABASES` names; embedded SQLite alone unless it is set. A name that is not known is an error, never skipped. */
export function selectedDatabases(): DatabaseName[] {
  const names = (process.env.TEST_DATABASES ?? 'sqlite').split(',').map((name) => name.trim());
  for (const name of names) {
    if (!DATABASE_NAMES.includes(name as DatabaseName)) {
      throw new Error(`TEST_DATABASES names «${name}»; known are ${DATABASE_NAMES.join(', ')}`);
    }
  }
  return names as DatabaseName[];
}

/** A database of its own for a suite. */
export interface TestDatabase {
  readonly name: DatabaseName;
  /** For any number of DataSources and processes on the same database. */
  readonly options: DataSourceOptions;
  drop(): Promise<void>;
}

/** Creates an empty database, without tables. @throws where the service is not there */
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
  // A database that was named and is not there fails each of its suites: none is ever skipped.
  const dataSource = await new DataSource(server as DataSourceOptions).initialize().catch((cause: unknown) => {
    throw new Error(`TEST_DATABASES names ${server.type}, and it cannot be used: ${(cause as Error).message}`, {
      cause,
    });
  });
  try {
    await dataSource.query(sql);
  } finally {
    await dataSource.destroy();
  }
}
