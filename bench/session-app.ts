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

/** The sessions of the benchmarks are created without asking who the user is: a password's hash would be all there is to see. */
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

/** What is repeated: each step is one refresh, one login, one list of one of the clients. */
export type Step = () => Promise<void>;

/** The service on a database, without HTTP. */
export interface SessionApp {
  readonly sessions: SessionService;
  readonly dataSource: DataSource;
  /** How many statements `work` sends, `BEGIN` and `COMMIT` among them. */
  countStatements(work: () => Promise<unknown>): Promise<number>;
  close(): Promise<void>;
}

export async function startSessionApp(
  database: DataSourceOptions,
  policy: Partial<SessionPolicyOptions>,
): Promise<SessionApp> {
  const counter = new StatementCounter();
  // So rare a poll that none falls into a count.
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

/** What TypeORM sends. */
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
