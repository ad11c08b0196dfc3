import 'reflect-metadata';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  MULTI_SESSION_ENTITIES,
  MultiSessionModule,
  type MultiSessionOptions,
  type SessionPolicyOptions,
  UserAuthenticator,
} from 'nestjs-multisession';
import type { DataSource, DataSourceOptions, Logger } from 'typeorm';
import type { SessionService } from '../lib/session/service.js';
import { SECRET, startEngine } from './engine.js';

export const USER_ID = 'carlos';

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

/** Runs an operation of one client once: a refresh, a login or a list. */
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
  const policies = { LONG: { refreshTokenLifetime: '30d', ...policy } } as const;
  const { sessions, dataSource, close } = await startEngine(database, counter, { policies });
  return {
    sessions,
    dataSource,
    countStatements: async (work) => {
      const before = counter.statements;
      await work();
      return counter.statements - before;
    },
    close,
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
