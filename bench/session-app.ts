import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  MULTI_SESSION_ENTITIES,
  MultiSessionModule,
  type MultiSessionOptions,
  type SessionPolicyOptions,
  SessionService,
  UserAuthenticator,
} from 'nestjs-multisession';
import { DataSource, type DataSourceOptions, type Logger } from 'typeorm';

export const USER_ID = 'carlos';
export const SECRET = 'a signing secret of more than thirty-two bytes';

/** Never called: the benchmarks use `create`, because hashing a password would take far longer than everything else. */
class NoUsers extends UserAuthenticator {
  authenticate() {
    return Promise.resolve(null);
  }
}

/** The library with one session type, `LONG`, on a database. */
export function multiSessionImports(
  database: DataSourceOptions,
  policy: Partial<SessionPolicyOptions>,
  more: Partial<MultiSessionOptions> = {},
) {
  return [
    TypeOrmModule.forRoot({ synchronize: true, ...database, entities: [...MULTI_SESSION_ENTITIES], retryAttempts: 0 }),
    MultiSessionModule.forRoot({
      jwt: { secret: SECRET, accessTokenLifetime: '1d' },
      secretKey: false,
      policies: { LONG: { refreshTokenLifetime: '30d', ...policy } },
      authenticator: { useClass: NoUsers },
      ...more,
    }),
  ];
}

/** One repetition of an operation: one refresh, login or list of one client. */
export type Step = () => Promise<void>;

/** The service on a database, without HTTP. */
export interface SessionApp {
  readonly sessions: SessionService;
  readonly dataSource: DataSource;
  /** Counts the statements that `work` sends, including `BEGIN` and `COMMIT`. */
  countStatements(work: () => Promise<unknown>): Promise<number>;
  close(): Promise<void>;
}

export async function startSessionApp(
  database: DataSourceOptions,
  policy: Partial<SessionPolicyOptions>,
): Promise<SessionApp> {
  const counter = new StatementCounter();
  // Polls are so rare that none distorts the count.
  const revocation = { pollInterval: '1h', maxStaleness: '2h' } as const;

  @Module({ imports: multiSessionImports({ ...database, logger: counter }, policy, { revocation }) })
  class AppModule {}

  const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
  return {
    sessions: app.get(SessionService),
    dataSource: app.get(DataSource),
    countStatements: async (work) => {
      const before = counter.statements;
      await work();
      return counter.statements - before;
    },
    close: () => app.close(),
  };
}

/** Counts the statements that TypeORM sends. */
export class StatementCounter implements Logger {
  statements = 0;
  logQuery() {
    this.statements++;
  }
  logQueryError() {}
  logQuerySlow() {}
  logSchemaBuild() {}
  logMigration() {}
  log() {}
}
