import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { OptionFaults } from '../lib/option-check.js';
import { AccessTokens } from '../lib/token/access-token.js';
import { Keyring } from '../lib/token/keyring.js';
import { RefreshTokens } from '../lib/token/refresh-token.js';
import { readTokenOptions } from '../lib/token/options.js';
import { createDatabase, type DatabaseName } from '../test/helpers/databases.js';
import type { FilledSession } from '../test/helpers/fill.js';
import { StatementLog } from '../test/helpers/statement-log.js';
import { type BenchEngine, SECRET, startEngine } from './engine.js';

/** The library on a database, without Nest and HTTP. Every statement is logged. */
export type GrowthApp = BenchEngine & { readonly log: StatementLog };

/** Starts the library. SHORT has a limit, LONG has none, and both read the session's row on each request. */
export async function startGrowthApp(database: DataSourceOptions): Promise<GrowthApp> {
  const log = new StatementLog();
  const policy = { refreshTokenLifetime: '31d', accessCheck: 'session' } as const;
  const policies = { LONG: policy, SHORT: { ...policy, maxActiveSessions: 5 } };
  return { ...(await startEngine(database, log, { policies })), log };
}

/** The result of a cleanup run. */
export interface CleanedUp {
  readonly sessions: number;
  readonly seconds: number;
}

export async function cleanUp({ cleanup }: GrowthApp): Promise<CleanedUp> {
  const startedAt = performance.now();
  const { sessions } = await cleanup.run();
  return { sessions, seconds: (performance.now() - startedAt) / 1000 };
}

/** Issues tokens for sessions that were written directly to the database, as the application would. */
export class FilledTokens {
  private readonly refreshTokens: RefreshTokens;
  private readonly accessTokens: AccessTokens;

  constructor() {
    const config = readTokenOptions({ secret: SECRET, accessTokenLifetime: '1d' }, 'string', new OptionFaults());
    const keyring = new Keyring(config);
    this.refreshTokens = new RefreshTokens(keyring, config);
    this.accessTokens = new AccessTokens(keyring, config, Date.now);
  }

  /** The id of the signing key, which the rows contain. */
  get kid(): string {
    return this.refreshTokens.kid;
  }

  refresh({ id, userId, type, generation, jti, expiresAt, handedOutAt }: FilledSession): string {
    const { kid } = this;
    return this.refreshTokens.issue({
      sessionId: id,
      userId,
      type,
      generation,
      jti,
      expiresAt,
      issuedAt: handedOutAt,
      kid,
    });
  }

  access({ id, userId, type, generation, createdAt, expiresAt }: FilledSession): string {
    const subject = { sessionId: id, userId, type, generation, authenticatedAt: createdAt, expiresAt };
    return this.accessTokens.issue({ ...subject, lifetime: 86_400_000 }, Date.now());
  }
}

/** Runs `work` on a new database and drops it afterwards. SQLite uses a file in WAL mode, as an application would. */
export async function inOwnDatabase<T>(
  name: DatabaseName,
  work: (database: DataSourceOptions) => Promise<T>,
): Promise<T> {
  const created = await createDatabase(name);
  const folder = await mkdtemp(join(tmpdir(), 'multi-session-'));
  try {
    const file = { type: 'better-sqlite3', database: join(folder, 'sessions'), enableWAL: true } as const;
    return await work(name === 'sqlite' ? file : created.options);
  } finally {
    await rm(folder, { recursive: true });
    await created.drop();
  }
}

/**
 * Makes a server write to the disk what it has only changed in memory. It would do so during the measurements otherwise.
 * @throws QueryFailedError if the user of the database has no right to do so
 */
export async function writeOut(dataSource: DataSource): Promise<void> {
  const { type } = dataSource.options;
  if (type === 'postgres') await dataSource.query('CHECKPOINT');
  if (type !== 'mariadb') return;
  const runner = dataSource.createQueryRunner();
  try {
    await runner.query('FLUSH TABLES user_session FOR EXPORT');
    await runner.query('UNLOCK TABLES');
  } finally {
    await runner.release();
  }
}
