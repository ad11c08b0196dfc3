import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataSourceOptions } from 'typeorm';
import { createDatabase, type DatabaseName } from '../helpers/databases.js';

/** An empty database that several processes can use. */
export interface SharedDatabase {
  readonly options: DataSourceOptions;
  drop(): Promise<void>;
}

/** Creates an empty database. On SQLite it is a file. */
export async function createShared(name: DatabaseName): Promise<SharedDatabase> {
  if (name !== 'sqlite') return createDatabase(name);
  const folder = mkdtempSync(join(tmpdir(), 'upgrade-'));
  const drop = () => Promise.resolve(rmSync(folder, { recursive: true }));
  return { options: { type: 'better-sqlite3', database: join(folder, 'db'), timeout: 10_000 }, drop };
}
