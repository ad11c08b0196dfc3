import { jest } from '@jest/globals';
import { DataSource } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { type MultiSessionOptions, readOptions } from '../../lib/engine/options.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import type { UserAuthenticator } from '../../lib/session/authenticator.js';

/** The engine on a database in memory, without Nest, HTTP and timers. Its time stands still until the test moves it. */
export interface TestEngine {
  readonly engine: Engine;
  readonly dataSource: DataSource;
  /** The engine's time, in milliseconds. */
  now(): number;
  /** Moves the engine's time forward. */
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
  let now = Date.now();
  jest.spyOn(engine.clock, 'now').mockImplementation(() => now);
  return {
    engine,
    dataSource,
    now: () => now,
    pass: (milliseconds) => void (now += milliseconds),
    close: () => dataSource.destroy(),
  };
}
