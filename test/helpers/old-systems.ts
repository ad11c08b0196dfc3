import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { createDatabase } from './databases.js';

/*
 * Databases that simplejwt_multisessions, drf-jwt-devices, supertokens-django-ref-jwt and django-token-manager have filled, and
 * the tokens that their clients hold.
 */

const FOLDER = join(import.meta.dirname, '../old-systems');

/** The databases. The rotated one is of PostgreSQL, the others of SQLite. */
export type OldDatabaseName = 'simplejwt-multisessions' | 'simplejwt-multisessions-rotated' | 'other-systems';

/** What a client that holds a token must get. */
export type OldTokenState = 'live' | 'stored-but-expired-or-inactive' | 'gone';

/** A user of simplejwt_multisessions and the tokens of its clients. */
export interface OldUser {
  readonly id: number;
  readonly username: string;
  readonly password: string;
  readonly active: boolean;
  readonly tokens: readonly {
    readonly refresh: string;
    readonly access: string;
    readonly session_id: string;
    readonly session: 'SHORT' | 'LONG';
    readonly state: OldTokenState;
    /** An older token of the same session. With rotation, it is refused. */
    readonly superseded?: string;
  }[];
}

/** The tokens of the three other systems. */
export interface OtherTokens {
  readonly secret_key: string;
  readonly jwt_devices: readonly { user_id: number; device_id: number; permanent_token: string; idle_hours: number }[];
  readonly supertokens: readonly {
    user_id: string | number;
    handle: string;
    refresh: string;
    superseded?: string;
    state: string;
  }[];
  readonly token_manager: readonly { user_id: number; lookup_id: number; token: string; state: 'live' | 'deleted' }[];
}

/** A copy of an old system's database, which a test may change. */
export interface OldDatabase {
  /** Its URL, or the path of its file. */
  readonly url: string;
  /** Runs a statement on it. */
  run(sql: string, parameters?: unknown[]): Promise<any>;
  drop(): Promise<void>;
}

/** Reads the tokens that belong to a database. */
export async function readOldTokens(name: 'other-systems'): Promise<OtherTokens>;
export async function readOldTokens(name: Exclude<OldDatabaseName, 'other-systems'>): Promise<OldUser[]>;
export async function readOldTokens(name: OldDatabaseName): Promise<OtherTokens | OldUser[]> {
  return JSON.parse(await readFile(join(FOLDER, `${name}.tokens.json`), 'utf8')) as OtherTokens | OldUser[];
}

/** Copies the database of an old system. */
export async function openOldDatabase(name: OldDatabaseName): Promise<OldDatabase> {
  if (name === 'simplejwt-multisessions-rotated') return restoreDump(`${name}.postgres.sql`);
  const folder = await mkdtemp(join(tmpdir(), 'old-system-'));
  const url = join(folder, 'old.sqlite');
  await copyFile(join(FOLDER, `${name}.sqlite`), url);
  return {
    url,
    run: (sql, parameters) => once({ type: 'better-sqlite3', database: url }, sql, parameters),
    drop: () => rm(folder, { recursive: true }),
  };
}

async function restoreDump(file: string): Promise<OldDatabase> {
  const database = await createDatabase('postgres');
  await once(database.options, await readFile(join(FOLDER, file), 'utf8'));
  return {
    url: (database.options as { url: string }).url,
    run: (sql, parameters) => once(database.options, sql, parameters),
    drop: () => database.drop(),
  };
}

async function once(options: ConstructorParameters<typeof DataSource>[0], sql: string, parameters?: unknown[]) {
  const dataSource = await new DataSource(options).initialize();
  try {
    return await dataSource.query(sql, parameters);
  } finally {
    await dataSource.destroy();
  }
}
