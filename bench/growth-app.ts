import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SessionAdministration, SessionCleanup, SessionService } from 'nestjs-multisession';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { Database } from '../lib/database/database.js';
import { OptionFaults } from '../lib/option-check.js';
import { BlacklistEntity } from '../lib/revocation/blacklist.entity.js';
import { Poller } from '../lib/revocation/poller.js';
import { RevocationTable } from '../lib/revocation/revocation-table.js';
import { RevokedSessions } from '../lib/revocation/revoked-sessions.js';
import { Clock } from '../lib/database/clock.js';
import { AccessTokens } from '../lib/token/access-token.js';
import { Keyring } from '../lib/token/keyring.js';
import { RefreshTokens } from '../lib/token/refresh-token.js';
import { readTokenOptions } from '../lib/token/options.js';
import { createDatabase, type DatabaseName } from '../test/helpers/databases.js';
import type { FilledSession } from '../test/helpers/fill.js';
import { StatementLog } from '../test/helpers/statement-log.js';
import { multiSessionImports, SECRET } from './session-app.js';

/** The library on a database, without HTTP, whose every statement is logged. */
export interface GrowthApp {
  readonly sessions: SessionService;
  readonly administration: SessionAdministration;
  readonly cleanup: SessionCleanup;
  readonly dataSource: DataSource;
  readonly log: StatementLog;
  close(): Promise<void>;
}

/** SHORT has a limit, LONG has none; both ask the row at each request. No poll and no cleanup falls into what is measured. */
export async function startGrowthApp(database: DataSourceOptions): Promise<GrowthApp> {
  const log = new StatementLog();
  const policy = { refreshTokenLifetime: '31d', accessCheck: 'session' } as const;
  const options = {
    policies: { LONG: policy, SHORT: { ...policy, maxActiveSessions: 5 } },
    revocation: { pollInterval: '1h', maxStaleness: '2h' },
    cleanup: false,
  } as const;

  @Module({ imports: multiSessionImports({ ...database, logger: log }, {}, options) })
  class AppModule {}

  const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
  return {
    sessions: app.get(SessionService),
    administration: app.get(SessionAdministration),
    cleanup: app.get(SessionCleanup),
    dataSource: app.get(DataSource),
    log,
    close: () => app.close(),
  };
}

/** What a run of the cleanup came to. */
export interface CleanedUp {
  readonly sessions: number;
  readonly seconds: number;
}

export async function cleanUp({ cleanup }: GrowthApp): Promise<CleanedUp> {
  const startedAt = performance.now();
  const { sessions } = await cleanup.run();
  return { sessions, seconds: (performance.now() - startedAt) / 1000 };
}

/** A blacklist of its own, since that of the application cannot be had. The first poll loads what there is. */
export async function startBlacklist(
  database: DataSourceOptions,
  log: StatementLog,
): Promise<{ poll(): Promise<void>; size(): number; close(): Promise<void> }> {
  const options = { ...database, logger: log, entities: [BlacklistEntity] } as DataSourceOptions;
  const dataSource = await new DataSource(options).initialize();
  const config = { pollInterval: 1000, overlap: 30_000, maxStaleness: 10_000, maxEntries: 100_000 };
  const ours = new Database(dataSource);
  const revoked = new RevokedSessions(config);
  const poller = new Poller(ours, config, new Clock(), new RevocationTable(ours), revoked);
  await poller.poll();
  return {
    poll: () => poller.poll(),
    size: () => revoked.size,
    close: async () => {
      await poller.stop();
      await dataSource.destroy();
    },
  };
}

/** Makes the tokens of sessions that nobody has logged in to, as the application would. */
export class FilledTokens {
  private readonly refreshTokens: RefreshTokens;
  private readonly accessTokens: AccessTokens;

  constructor() {
    const config = readTokenOptions({ secret: SECRET, accessTokenLifetime: '1d' }, 'string', new OptionFaults());
    const keyring = new Keyring(config);
    this.refreshTokens = new RefreshTokens(keyring, config);
    this.accessTokens = new AccessTokens(keyring, config, Date.now);
  }

  /** The name of the key, for the rows. */
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

/** SQLite in a file, in the mode that an application would have it in. The database is dropped, whatever comes of `work`. */
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
