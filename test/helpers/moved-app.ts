import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importSessions, type ImportOptions, type ImportResult } from '../../lib/import/index.js';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { createDatabase, type DatabaseName, type TestDatabase } from './databases.js';
import { type OldDatabase, type OldDatabaseName, openOldDatabase } from './old-systems.js';
import { type SampleApp, startSampleApp } from './sample-app.js';

/** The sample application on a new database, to which the sessions and users of an old system are moved. */
export interface MovedApp extends SampleApp {
  readonly old: OldDatabase;
  /** The URL of the new database, or the path of its file. */
  readonly databaseUrl: string;
  import(system: ImportOptions['system'], more?: Partial<ImportOptions>): Promise<ImportResult>;
  /** Runs a statement on the new database. */
  run(sql: string, parameters?: unknown[]): Promise<any>;
  close(): Promise<void>;
}

/**
 * Starts the sample application, configured by a file alone, and moves the users of an old system to its own table. No
 * session is imported yet.
 * @param config the content of `SESSION_CONFIG`
 * @param environment more variables
 * @param prepare changes the old database before its users are moved
 */
export async function startMovedApp(
  name: DatabaseName,
  source: OldDatabaseName,
  config: { policies: object } & Record<string, unknown>,
  environment: Record<string, string> = {},
  prepare: (old: OldDatabase) => Promise<void> = () => Promise.resolve(),
): Promise<MovedApp> {
  const closers: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const folder = await mkdtemp(join(tmpdir(), 'moved-'));
    closers.push(() => rm(folder, { recursive: true }));
    const { options, url, drop } = await newDatabase(name, folder);
    closers.push(drop);
    const file = join(folder, 'session-config.json');
    await writeFile(file, JSON.stringify(config));
    const old = await openOldDatabase(source);
    closers.push(() => old.drop());
    await prepare(old);
    const variables = { DATABASE_URL: url, SESSION_CONFIG: file, DEMO_USERS: '[]', THROTTLE: 'off', ...environment };
    const app = await startSampleApp(variables);
    closers.push(() => app.stop());
    const run = (sql: string, parameters?: unknown[]) => once(options, sql, parameters);
    const users = await old.run('SELECT id, username, password, is_active FROM auth_user ORDER BY id');
    const isActive = (active: unknown) => (name === 'sqlite' ? Number(active) : String(Boolean(active)));
    const rows = users.map(({ id, username, password, is_active: active }: Record<string, unknown>) => {
      const texts = [username, password].map((text) => `'${String(text).replaceAll("'", "''")}'`);
      return `(${[id, ...texts, isActive(active)].join(', ')})`;
    });
    await run(`INSERT INTO app_user (id, username, password_hash, active) VALUES ${rows.join(', ')}`);
    return {
      ...app,
      old,
      databaseUrl: url,
      run,
      close,
      // Options of the application's code, such as `devices`, are no concern of the import.
      import: (system, more = {}) =>
        importSessions({ system, from: old.url, to: url, config: { policies: config.policies as never }, ...more }),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function newDatabase(name: DatabaseName, folder: string) {
  if (name === 'sqlite') {
    const url = join(folder, 'new.sqlite');
    const options: DataSourceOptions = { type: 'better-sqlite3', database: url };
    return { options, url, drop: () => Promise.resolve() };
  }
  const database: TestDatabase = await createDatabase(name);
  const { url } = database.options as unknown as { url: string };
  return { options: database.options, url, drop: () => database.drop() };
}

async function once(options: DataSourceOptions, sql: string, parameters?: unknown[]): Promise<any> {
  const dataSource = await new DataSource(options).initialize();
  try {
    return await dataSource.query(sql, parameters);
  } finally {
    await dataSource.destroy();
  }
}
