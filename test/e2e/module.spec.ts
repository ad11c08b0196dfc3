import { afterEach, describe, expect, test } from '@jest/globals';
import {
  Body,
  Controller,
  type DynamicModule,
  Get,
  Headers,
  type INestApplication,
  Injectable,
  type LoggerService,
  Module,
  type ModuleMetadata,
  Param,
  Post,
  Req,
  UseGuards,
} from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { InjectRepository, TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import {
  BlacklistEntity,
  type Credentials,
  CurrentSession,
  type SessionClaims,
  InjectSessionPolicy,
  JwtAuthGuard,
  LoginDto,
  MULTI_SESSION_ENTITIES,
  MultiSessionConfigurationError,
  MultiSessionModule,
  type MultiSessionOptions,
  type Session,
  SessionEntity,
  SessionPolicyService,
  SessionRoute,
  SessionsController,
  SessionService,
  SHORT_AND_LONG,
  UserAuthenticator,
  UserDirectory,
  ValidBody,
} from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import { bearer, DEFAULT_OPTIONS, SECRET_KEY, SIGNING_SECRET, TestUsers } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';

const VALUES: MultiSessionOptions = {
  jwt: { secret: SIGNING_SECRET },
  secretKey: SECRET_KEY,
  policies: { ...SHORT_AND_LONG },
};
const CREDENTIALS = {
  username: 'alice',
  password: 'alice-password',
  secret_key: SECRET_KEY,
  session: 'LONG',
  info: 'a test',
};

/** Records what the application logs. */
class LoggedErrors implements LoggerService {
  readonly lines: string[] = [];
  log() {}
  warn(message: unknown) {
    this.lines.push(String(message));
  }
  error(...messages: unknown[]) {
    this.lines.push(messages.map(String).join(' '));
  }
}

describe('the module', () => {
  let app: INestApplication | undefined;
  let database: TestDatabase | undefined;
  let url: string;
  const logged = new LoggedErrors();

  interface Start extends ModuleMetadata {
    dataSource?: { name: string; entityPrefix: string };
    configure?: (app: INestApplication) => void;
  }

  /** Starts an application with this module, on its own database. */
  async function start(module: DynamicModule | DynamicModule[], { dataSource, configure, ...metadata }: Start = {}) {
    database ??= await createDatabase('sqlite');
    const options = {
      ...database.options,
      entities: [...MULTI_SESSION_ENTITIES],
      synchronize: true,
      retryAttempts: 0,
      ...dataSource,
    } as TypeOrmModuleOptions;
    const imports = [TypeOrmModule.forRoot(options), ...[module].flat(), ...(metadata.imports ?? [])];
    const moduleRef = await Test.createTestingModule({ ...metadata, imports }).compile();
    app = moduleRef.createNestApplication({ logger: logged });
    configure?.(app);
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
    return app;
  }

  async function post(path: string, body: object = {}, headers: Record<string, string> = {}) {
    const response = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Record<string, any> };
  }

  /** Returns every fault that stops the start. */
  async function faultsOf(started: Promise<unknown>): Promise<readonly string[]> {
    const error: unknown = await started.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(MultiSessionConfigurationError);
    return (error as MultiSessionConfigurationError).faults;
  }

  afterEach(async () => {
    await app?.close();
    await database?.drop();
    app = undefined;
    database = undefined;
    logged.lines.length = 0;
  });

  describe('with options from a factory', () => {
    /** Like the one of @nestjs/config. */
    @Injectable()
    class ConfigService {
      private readonly values: Record<string, string> = { JWT_SECRET: SIGNING_SECRET, SECRET_KEY };

      getOrThrow(name: string): string {
        if (!(name in this.values)) throw new Error(`${name} is not set`);
        return this.values[name];
      }
    }

    @Module({ providers: [ConfigService], exports: [ConfigService] })
    class ConfigModule {}

    @Injectable()
    class OptionsFactory {
      constructor(private readonly config: ConfigService) {}

      create(): Promise<MultiSessionOptions> {
        return Promise.resolve(valuesFrom(this.config));
      }
    }

    @Module({ imports: [ConfigModule], providers: [OptionsFactory], exports: [OptionsFactory] })
    class OptionsModule {}

    const valuesFrom = (config: ConfigService): MultiSessionOptions => ({
      ...VALUES,
      jwt: { secret: config.getOrThrow('JWT_SECRET') },
      secretKey: config.getOrThrow('SECRET_KEY'),
    });
    const beside = { sessionTypes: ['SHORT', 'LONG'], authenticator: { useClass: TestUsers } };

    test.each([
      ['useFactory', { imports: [ConfigModule], inject: [ConfigService], useFactory: valuesFrom }],
      [
        'an asynchronous useFactory',
        {
          imports: [ConfigModule],
          inject: [ConfigService],
          useFactory: async (config: ConfigService) => {
            await new Promise((resolve) => setTimeout(resolve, 10));
            return valuesFrom(config);
          },
        },
      ],
      ['useClass', { imports: [ConfigModule], useClass: OptionsFactory }],
      ['useExisting', { imports: [OptionsModule], useExisting: OptionsFactory }],
    ])('accepts %s', async (_, factory) => {
      await start(MultiSessionModule.forRootAsync({ ...beside, ...factory }));
      expect((await post('/api/session/login', CREDENTIALS)).status).toBe(200);
    });

    test('requires the names of the session types, which must be those of the policies', async () => {
      const useFactory = () => VALUES;
      expect(() => MultiSessionModule.forRootAsync({ useFactory })).toThrow(/sessionTypes: is missing/);
      expect(() => MultiSessionModule.forRootAsync({ useFactory, sessionTypes: [] })).toThrow(
        /sessionTypes: is missing/,
      );
      expect(
        await faultsOf(start(MultiSessionModule.forRootAsync({ useFactory, sessionTypes: ['LONG', 'WEB'] }))),
      ).toEqual([
        'sessionTypes: names WEB, which policies does not; use the same names in both',
        'sessionTypes: does not name SHORT, which policies does; use the same names in both',
      ]);
    });

    test('refuses a static option in the factory, and a value beside it', async () => {
      const values = { ...beside, useFactory: () => VALUES, cleanup: false };
      expect(() => MultiSessionModule.forRootAsync(values)).toThrow(/cleanup: is not a static option/);
      const useFactory = () => ({ ...VALUES, controller: false });
      expect(await faultsOf(start(MultiSessionModule.forRootAsync({ ...beside, useFactory })))).toEqual([
        expect.stringMatching(/^controller: is not an option/),
      ]);
    });

    test('stops the start if an option is not valid', async () => {
      const useFactory = () => ({ ...VALUES, secretKey: undefined as never });
      expect(await faultsOf(start(MultiSessionModule.forRootAsync({ ...beside, useFactory })))).toEqual([
        expect.stringMatching(/^secretKey: is missing/),
      ]);
    });
  });

  test('uses the default of an option that is undefined', async () => {
    const nothing = { controller: undefined, isGlobal: undefined, path: undefined };
    @Controller('guarded')
    @UseGuards(JwtAuthGuard)
    class GuardedController {
      @Post()
      guarded() {
        return {};
      }
    }
    @Module({ controllers: [GuardedController] })
    class FeatureModule {}
    await start(MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, ...nothing }), { imports: [FeatureModule] });
    const { body } = await post('/api/session/login', CREDENTIALS);
    expect((await post('/guarded', {}, bearer(body.access as string))).status).toBe(201);
  });

  describe('the authenticator', () => {
    /** Users whose sessions end when the password changes. */
    @Injectable()
    class UsersService {
      private readonly passwords = new Map([['alice', 'alice-password']]);

      constructor(private readonly sessions: SessionService) {}

      isRight({ username, password }: Credentials): boolean {
        return this.passwords.get(username) === password;
      }

      async changePassword(username: string, password: string): Promise<number> {
        this.passwords.set(username, password);
        return this.sessions.destroyAll(username);
      }
    }

    @Injectable()
    class AppAuthenticator extends UserAuthenticator {
      constructor(readonly users: UsersService) {
        super();
      }

      authenticate(credentials: Credentials) {
        return Promise.resolve(this.users.isRight(credentials) ? { id: credentials.username } : null);
      }
    }

    @Module({ providers: [UsersService, AppAuthenticator], exports: [UsersService, AppAuthenticator] })
    class UsersModule {}

    test.each([
      ['useExisting', { useExisting: AppAuthenticator }],
      ['useClass', { useClass: AppAuthenticator }],
      [
        'useFactory',
        { useFactory: (users: UsersService) => Promise.resolve(new AppAuthenticator(users)), inject: [UsersService] },
      ],
    ])('may inject SessionService, which depends on it: %s', async (_, authenticator) => {
      await start(MultiSessionModule.forRoot({ ...VALUES, authenticator, imports: [UsersModule] }));
      const { body } = await post('/api/session/login', CREDENTIALS);
      expect(await app?.get(UsersService, { strict: false }).changePassword('alice', 'another')).toBe(1);
      expect(await post('/api/session/list', { session: 'ALL' }, bearer(body.access as string))).toMatchObject({
        status: 401,
        body: { code: 'token_not_valid' },
      });
      expect((await post('/api/session/login', CREDENTIALS)).body.code).toBe('invalid_credentials');
      expect((await post('/api/session/login', { ...CREDENTIALS, password: 'another' })).status).toBe(200);
    });

    test('may be a directory without passwords: the service creates sessions, and a login fails with the reason in the log', async () => {
      const roles = new Map([['alice', 'reader']]);
      class AppUsers extends UserDirectory<{ id: string; role: string }> {
        override findActive(id: string | number) {
          const role = roles.get(String(id));
          return Promise.resolve(role ? { id: String(id), role } : null);
        }

        override buildClaims(_session: Session, { role }: { role?: string }) {
          return { role };
        }
      }
      @Module({ providers: [AppUsers], exports: [AppUsers] })
      class AppUsersModule {}
      const authenticator = { useExisting: AppUsers };
      await start(MultiSessionModule.forRoot({ ...VALUES, authenticator, imports: [AppUsersModule] }));
      const sessions = (app as INestApplication).get(SessionService);

      const { session, refresh } = await sessions.create('alice', { type: 'LONG' });
      roles.set('alice', 'editor');
      const refreshed = await post('/api/session/refresh', { refresh, secret_key: SECRET_KEY, session: 'LONG' });
      expect(await sessions.verify(refreshed.body.access as string)).toMatchObject({
        sessionId: session.id,
        claims: { role: 'editor' },
      });

      for (const route of ['login', 'reauthenticate'] as const) {
        logged.lines.length = 0;
        const headers = route === 'login' ? {} : bearer(refreshed.body.access as string);
        expect((await post(`/api/session/${route}`, CREDENTIALS, headers)).status).toBe(500);
        expect(logged.lines.join()).toMatch(
          /authenticator: AppUsers has no method authenticate.*extend UserAuthenticator/,
        );
      }

      roles.delete('alice');
      const again = { refresh, secret_key: SECRET_KEY, session: 'LONG' };
      expect((await post('/api/session/refresh', again)).body.code).toBe('session_not_found');
    });

    test('is optional: without it a login fails with the reason in the log, and everything else works', async () => {
      await start(MultiSessionModule.forRoot(VALUES));
      expect((await post('/api/session/login', CREDENTIALS)).status).toBe(500);
      expect(logged.lines.join()).toMatch(/authenticator: is missing/);

      const created = await (app as INestApplication).get(SessionService).create('alice', { type: 'LONG' });
      const refresh = { refresh: created.refresh, secret_key: SECRET_KEY };
      expect(await post('/api/session/refresh', { ...refresh, session: 'LONG' })).toMatchObject({ status: 200 });
      expect((await post('/api/session/list', { session: 'ALL' }, bearer(created.access))).status).toBe(200);
      expect((await post('/api/session/logout', refresh)).status).toBe(200);
    });
  });

  describe('the routes', () => {
    test.each([
      [{ path: 'auth' }, '/auth/login'],
      [{ path: '/v1/auth/' }, '/v1/auth/login/'],
      [{ path: '' }, '/login'],
    ])('have the prefix of %j', async (options, login) => {
      await start(MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, ...options }));
      expect((await post(login, CREDENTIALS)).status).toBe(200);
      expect((await post('/api/session/login', CREDENTIALS)).status).toBe(404);
    });

    test('have the global prefix of the application', async () => {
      const configure = (application: INestApplication) => void application.setGlobalPrefix('v2');
      await start(MultiSessionModule.forRoot(DEFAULT_OPTIONS), { configure });
      expect((await post('/v2/api/session/login', CREDENTIALS)).status).toBe(200);
    });

    test('can be a subclass with its own path and an overridden method', async () => {
      @Controller('account')
      class AccountController extends SessionsController {
        @SessionRoute('login', 'sign-in')
        override async login(@ValidBody() body: LoginDto, @Req() request: unknown) {
          return { ...(await super.login(body, request)), welcome: body.username };
        }

        @Get('hello/:name')
        hello(@Param('name') name: string) {
          return { name };
        }
      }
      await start(MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, controller: AccountController }));
      const { status, body } = await post('/account/sign-in', CREDENTIALS);
      expect({ status, body }).toMatchObject({ status: 200, body: { welcome: 'alice', access: expect.any(String) } });
      expect((await post('/account/list', { session: 'ALL' }, bearer(body.access as string))).status).toBe(200);
      expect(await (await fetch(`${url}/account/hello/bob`)).json()).toEqual({ name: 'bob' });
      for (const path of ['/account/login', '/api/session/login'])
        expect((await post(path, CREDENTIALS)).status).toBe(404);

      // An overridden route keeps its checks, their order, and the header of an answer with tokens.
      expect((await post('/account/sign-in', { ...CREDENTIALS, secret_key: 'wrong' })).body.code).toBe(
        'secret_key_invalid',
      );
      expect((await post('/account/sign-in', { secret_key: 'wrong' })).body).toMatchObject({
        code: 'validation_failed',
      });
      expect((await post('/account/list', { session: 'ALL' })).body.code).toBe('not_authenticated');
      const answer = await fetch(`${url}/account/sign-in`, { method: 'POST', body: new URLSearchParams(CREDENTIALS) });
      expect(answer.headers.get('cache-control')).toBe('no-store');
    });

    test('can be left out if the application uses SessionService', async () => {
      @Controller('own')
      class OwnController {
        constructor(private readonly sessions: SessionService) {}

        @Post('login')
        login(@Body() { username, password }: Credentials) {
          return this.sessions.login({ username, password }, { type: 'long', info: 'own' });
        }

        @Post('enter')
        enter(@Body('userId') userId: string) {
          return this.sessions.create(userId, { type: 'LONG', claims: { guest: true } });
        }

        @Post('refresh')
        async refresh(@Headers('x-refresh') token: string) {
          return this.sessions.refresh(token);
        }

        @Post('logout')
        logout(@Headers('x-refresh') token: string) {
          return this.sessions.logout(token);
        }

        @Get('sessions')
        @UseGuards(JwtAuthGuard)
        async list(@CurrentSession() { userId, sessionId }: SessionClaims) {
          const lists = await this.sessions.list(userId);
          return lists.flatMap(({ sessions }) => sessions).map(({ id, info }) => ({ info, own: id === sessionId }));
        }

        @Post('others')
        @UseGuards(JwtAuthGuard)
        async others(@CurrentSession() { userId, sessionId }: SessionClaims) {
          return { ended: await this.sessions.destroyOthers(userId, sessionId) };
        }

        @Post('destroy/:id')
        @UseGuards(JwtAuthGuard)
        destroy(@Param('id') id: string, @CurrentSession('userId') userId: string) {
          return this.sessions.destroy(id, { userId });
        }
      }
      await start(MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, secretKey: false, controller: false }), {
        controllers: [OwnController],
      });
      const call = async (method: string, path: string, body?: object, headers: Record<string, string> = {}) => {
        const response = await fetch(`${url}/own/${path}`, {
          method,
          headers: { 'content-type': 'application/json', ...headers },
          body: body && JSON.stringify(body),
        });
        const text = await response.text();
        return { status: response.status, body: text ? JSON.parse(text) : undefined };
      };
      expect((await post('/api/session/login', CREDENTIALS)).status).toBe(404);
      const first = (await call('POST', 'login', CREDENTIALS)).body;
      const second = (await call('POST', 'enter', { userId: 'alice' })).body;
      const refreshed = (await call('POST', 'refresh', {}, { 'x-refresh': first.refresh })).body;
      expect((await call('GET', 'sessions', undefined, bearer(refreshed.access))).body).toEqual([
        { info: 'own', own: true },
        { info: '', own: false },
      ]);
      expect((await call('POST', 'others', {}, bearer(refreshed.access))).body).toEqual({ ended: 1 });
      expect((await call('GET', 'sessions', undefined, bearer(second.access))).status).toBe(401);
      const third = (await call('POST', 'enter', { userId: 'alice' })).body;
      expect((await call('POST', `destroy/${third.session.id}`, {}, bearer(refreshed.access))).status).toBe(201);
      expect((await call('GET', 'sessions', undefined, bearer(third.access))).status).toBe(401);
      expect((await call('POST', 'logout', {}, { 'x-refresh': first.refresh })).status).toBe(201);
      expect((await call('GET', 'sessions', undefined, bearer(refreshed.access))).status).toBe(401);
    });
  });

  describe('isGlobal: false', () => {
    @Controller('guarded')
    @UseGuards(JwtAuthGuard)
    class GuardedController {
      @Post()
      guarded(@CurrentSession('userId') userId: string) {
        return { userId };
      }
    }

    test('requires a feature module to import the module if it injects its providers', async () => {
      const sessions = MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, isGlobal: false });
      @Injectable()
      class Reports {
        constructor(readonly sessions: SessionService) {}
      }
      @Module({ providers: [Reports] })
      class ForgetfulModule {}
      await expect(start(sessions, { imports: [ForgetfulModule] })).rejects.toThrow(/can't resolve dependencies/);

      @Module({ imports: [sessions], controllers: [GuardedController] })
      class FeatureModule {}
      await start(sessions, { imports: [FeatureModule] });
      const { body } = await post('/api/session/login', CREDENTIALS);
      expect((await post('/guarded', {}, bearer(body.access as string))).body).toEqual({ userId: 'alice' });
    });
  });

  test('injects the policy of a type by its name, in any case', async () => {
    @Injectable()
    class Policies {
      constructor(
        @InjectSessionPolicy('LONG') readonly long: SessionPolicyService,
        @InjectSessionPolicy('short') readonly short: SessionPolicyService,
      ) {}
    }
    @Module({ providers: [Policies] })
    class FeatureModule {}
    await start(MultiSessionModule.forRoot(DEFAULT_OPTIONS), { imports: [FeatureModule] });
    const { long, short } = (app as INestApplication).get(Policies, { strict: false });
    expect(long).toBeInstanceOf(SessionPolicyService);
    expect([long.type, long.available(2)]).toEqual(['LONG', 3]);
    expect([short.type, short.available(2)]).toEqual(['SHORT', 0]);
  });

  onEachDatabase((name) => {
    /** A feature of the application that queries the tables. */
    const reportsModule = (dataSource?: string) => {
      @Injectable()
      class Reports {
        constructor(
          @InjectRepository(SessionEntity, dataSource) readonly sessions: Repository<SessionEntity>,
          @InjectRepository(BlacklistEntity, dataSource) readonly blacklist: Repository<BlacklistEntity>,
        ) {}
      }
      @Module({ providers: [Reports] })
      class ReportsModule {}
      return { Reports, ReportsModule };
    };

    test('uses a named DataSource with a table prefix, and provides its repositories to the application', async () => {
      database = await createDatabase(name);
      const { Reports, ReportsModule } = reportsModule('auth');
      const revocation = { pollInterval: '50ms', maxStaleness: '5s' } as const;
      await start(MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, dataSource: 'auth', revocation }), {
        dataSource: { name: 'auth', entityPrefix: 'acme_' },
        imports: [ReportsModule],
      });
      const { body } = await post('/api/session/login', CREDENTIALS);
      const { sessions, blacklist } = (app as INestApplication).get(Reports, { strict: false });
      expect(sessions.metadata.tablePath).toBe('acme_user_session');
      expect(await sessions.findBy({ userId: 'alice' })).toMatchObject([{ id: body.session_id, type: 'LONG' }]);
      await post('/api/session/logout', { refresh: body.refresh, secret_key: SECRET_KEY });
      expect(await sessions.count()).toBe(0);
      expect(await blacklist.findBy({ kind: 'session' })).toMatchObject([{ id: body.session_id, reason: 'logout' }]);
      // A poll without its table would log an error.
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(logged.lines).toEqual([]);
    });

    test('leaves no timer and no connection behind, even if it is closed twice', async () => {
      database = await createDatabase(name);
      const revocation = { pollInterval: '20ms', maxStaleness: '5s' } as const;
      const options = { ...DEFAULT_OPTIONS, revocation, cleanup: { interval: '20ms' } } as const;
      const application = await start(MultiSessionModule.forRoot(options), {
        configure: (given) => void given.enableShutdownHooks(),
      });
      const { body } = await post('/api/session/login', CREDENTIALS);
      await post('/api/session/refresh', { ...CREDENTIALS, refresh: body.refresh });
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(await connectionsOf(database)).toBeGreaterThan(0);

      await application.close();
      await application.close();
      expect(await connectionsOf(database)).toBe(0);
      // A timer that still runs would query the closed database and log an error.
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(logged.lines).toEqual([]);
      app = undefined;
    });

    /** Counts the connections to this database, without our own. SQLite has none to count. */
    async function connectionsOf({ options }: TestDatabase): Promise<number> {
      if (name !== 'postgres' && name !== 'mariadb')
        return (app as INestApplication).get(DataSource).isInitialized ? 1 : 0;
      const asking = await new DataSource(options).initialize();
      const [{ n }] = await asking.query<[{ n: string | number }]>(
        name === 'postgres'
          ? 'SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()'
          : 'SELECT count(*) AS n FROM information_schema.processlist WHERE db = database() AND id <> connection_id()',
      );
      await asking.destroy();
      return Number(n);
    }
  });
});
