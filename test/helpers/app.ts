import type { Server } from 'node:http';
import { type INestApplication, Injectable, type ModuleMetadata, type Type } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  type Credentials,
  MULTI_SESSION_ENTITIES,
  MultiSessionModule,
  type MultiSessionModuleOptions,
  SHORT_AND_LONG,
  UserAuthenticator,
} from 'nestjs-multisession';
import { type DatabaseName, createDatabase, type TestDatabase } from './databases.js';
import { watch } from './log-watch.js';

export const SIGNING_SECRET = 'a signing secret of more than thirty-two bytes';
export const SECRET_KEY = 'the secret key of the tests';

/** The users of the tests. `inactive` has a password but may not log in. A test may change `active` at any time. */
@Injectable()
export class TestUsers extends UserAuthenticator {
  readonly users = new Map([
    ['alice', { id: 'alice', password: 'alice-password', active: true }],
    ['bob', { id: 'bob', password: 'bob-password', active: true }],
    ['inactive', { id: 'inactive', password: 'inactive-password', active: false }],
  ]);
  /** How often `authenticate` was called. */
  asked = 0;

  authenticate({ username, password }: Credentials) {
    this.asked++;
    const user = this.users.get(username);
    return Promise.resolve(user?.active && user.password === password ? { id: user.id } : null);
  }

  override findActive(userId: string | number) {
    const user = this.users.get(String(userId));
    return Promise.resolve(user?.active ? { id: user.id } : null);
  }
}

export const ADAPTERS = ['express', 'fastify'] as const;
export type AdapterName = (typeof ADAPTERS)[number];

export interface TestAppOptions {
  adapter?: AdapterName;
  /** A database to share with other applications of the test. Default: a new one, which `close` drops. */
  database?: TestDatabase;
  databaseName?: DatabaseName;
  /** Options that replace those of `DEFAULT_OPTIONS`. */
  options?: Partial<MultiSessionModuleOptions>;
  imports?: ModuleMetadata['imports'];
  controllers?: Type[];
  providers?: ModuleMetadata['providers'];
  configure?: (app: INestApplication) => void;
  /** A key and its certificate in PEM, to serve HTTPS. */
  https?: { key: string; cert: string };
}

/** An answer of the application. */
export interface Answer {
  status: number;
  /** The parsed JSON, or the text of any other answer. */
  body: any;
  headers: Headers;
}

/** A running application that serves real HTTP. */
export interface TestApp {
  readonly app: INestApplication;
  readonly url: string;
  readonly users: TestUsers;
  get<T>(token: Type<T> | string | symbol): T;
  request(
    method: string,
    path: string,
    options?: { body?: unknown; headers?: Record<string, string> },
  ): Promise<Answer>;
  /** Sends a POST with a JSON body to a session route. */
  post(route: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /**
   * Logs in.
   * @throws if the login is refused
   */
  login(more?: Record<string, unknown>): Promise<{ refresh: string; access: string; session_id: string }>;
  close(): Promise<void>;
}

export const DEFAULT_OPTIONS: MultiSessionModuleOptions = {
  jwt: { secret: SIGNING_SECRET },
  secretKey: SECRET_KEY,
  policies: { ...SHORT_AND_LONG },
  authenticator: { useClass: TestUsers },
};

export const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

watch.options(DEFAULT_OPTIONS);

export async function startApp(given: TestAppOptions = {}): Promise<TestApp> {
  watch.options(given.options ?? {});
  const database = given.database ?? (await createDatabase(given.databaseName ?? 'sqlite'));
  const moduleRef = await Test.createTestingModule({
    imports: [
      TypeOrmModule.forRoot({
        ...database.options,
        entities: [...MULTI_SESSION_ENTITIES],
        synchronize: true,
        retryAttempts: 0,
      }),
      MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, ...given.options }),
      ...(given.imports ?? []),
    ],
    controllers: given.controllers ?? [],
    providers: given.providers ?? [],
  }).compile();
  const app =
    given.adapter === 'fastify'
      ? moduleRef.createNestApplication<NestFastifyApplication>(
          new FastifyAdapter({
            routerOptions: { ignoreTrailingSlash: true },
            ...(given.https && { https: given.https }),
          }),
          { logger: ['fatal'] },
        )
      : moduleRef.createNestApplication(new ExpressAdapter(), { logger: ['fatal'], httpsOptions: given.https });
  given.configure?.(app);
  await app.listen(0, '127.0.0.1').catch(async (error: unknown) => {
    await app.close();
    throw error;
  });
  // The server shares its thread with the test. If that is busy for seconds, the server would close a connection that `fetch` is using.
  (app.getHttpServer() as Server).keepAliveTimeout = 0;
  const url = await app.getUrl();
  const request: TestApp['request'] = async (method, path, { body, headers } = {}) => {
    const isText = typeof body === 'string' || body === undefined;
    const response = await fetch(url + path, {
      method,
      headers: { ...(!isText && { 'content-type': 'application/json' }), ...headers },
      body: isText ? body : JSON.stringify(body),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return { status: response.status, body: isJson ? JSON.parse(text) : text, headers: response.headers };
  };
  const post: TestApp['post'] = (route, body, headers) => request('POST', `/api/session/${route}`, { body, headers });
  return {
    app,
    url,
    get users() {
      return moduleRef.get<UserAuthenticator, TestUsers>(UserAuthenticator, { strict: false });
    },
    get: <T>(token: Type<T> | string | symbol) => app.get<T>(token, { strict: false }),
    request,
    post,
    login: async (more) => {
      const body = {
        username: 'alice',
        password: 'alice-password',
        secret_key: SECRET_KEY,
        session: 'LONG',
        info: 'a test',
        ...more,
      };
      const { status, body: answer } = await post('login/', body);
      if (status !== 200) throw new Error(`login: ${status} ${JSON.stringify(answer)}`);
      return answer;
    },
    close: async () => {
      await app.close();
      if (!given.database) await database.drop();
    },
  };
}
