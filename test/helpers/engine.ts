import { jest } from '@jest/globals';
import { DataSource } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { type MultiSessionOptions, readOptions } from '../../lib/engine/options.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import type { UserAuthenticator } from '../../lib/session/authenticator.js';

/** The engine on a database in memory, without Nest, HTTP and timers. Both have a time that only the test moves. */
export interface TestEngine {
  readonly engine: Engine;
  readonly dataSource: DataSource;
  /** The time of the engine and of the database, in milliseconds. */
  now(): number;
  /** Moves the time forward. */
  pass(milliseconds: number): void;
  close(): Promise<void>;
}

/**
 * Creates an engine on SQLite in memory.
 * @param options merged over a secret and no secret key
 */
export async function startEngine(
  options: Pick<MultiSessionOptions, 'policies'> & Partial<MultiSessionOptions>,
  users?: UserAuthenticator,
): Promise<TestEngine> {
  const jwt = { secret: 'a signing secret of more than thirty-two bytes' };
  const config = readOptions({ jwt, secretKey: false, ...options }, Object.keys(options.policies));
  const dataSource = await new DataSource({
    type: 'better-sqlite3',
    database: ':memory:',
    entities: [...MULTI_SESSION_ENTITIES],
    synchronize: true,
  }).initialize();
  const engine = createEngine(config, dataSource, { users: () => users ?? null });
  await engine.epochs.load();
  let now = Date.now();
  jest.spyOn(engine.clock, 'now').mockImplementation(() => now);
  // A login that starts after an ending must not be refused only because the time stands still.
  jest.spyOn(engine.clock, 'earliest').mockImplementation(() => now + 1);
  setDatabaseTime(dataSource, () => now);
  return {
    engine,
    dataSource,
    now: () => now,
    pass: (milliseconds) => void (now += milliseconds),
    close: () => dataSource.destroy(),
  };
}

/** Replaces the clock of SQLite. All SQL of the library takes the time from `julianday('now')`. */
function setDatabaseTime({ driver }: DataSource, now: () => number): void {
  const { databaseConnection } = driver as unknown as { databaseConnection: BetterSqlite3Database };
  databaseConnection.function('julianday', { varargs: true }, () => now() / 86_400_000 + 2_440_587.5);
}

/** The part of better-sqlite3's API that we use here. The package has no types. */
interface BetterSqlite3Database {
  function(name: string, options: { varargs: boolean }, implementation: () => unknown): void;
}
