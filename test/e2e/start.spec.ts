import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type DynamicModule, Inject, Injectable, Logger, Module, type ModuleMetadata, Scope } from '@nestjs/common';
import { NestFactory, REQUEST } from '@nestjs/core';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import {
  JwtAuthGuard,
  MULTI_SESSION_ENTITIES,
  MultiSessionConfigurationError,
  MultiSessionModule,
  type MultiSessionOptions,
  SessionEntity,
  ServerFaultError,
  SessionService,
  UnavailableError,
  UserAuthenticator,
} from 'nestjs-multisession';
import { multiSessionMigrations } from 'nestjs-multisession/migrations';
import { Column, DataSource, Entity, PrimaryColumn } from 'typeorm';
import { DEFAULT_OPTIONS, TestUsers } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';

type App = Awaited<ReturnType<typeof NestFactory.createApplicationContext>>;

let app: App | undefined;
let database: TestDatabase | undefined;

afterEach(async () => {
  await app?.close();
  await database?.drop();
  app = undefined;
  database = undefined;
});

interface Start {
  dataSource?: object;
  imports?: ModuleMetadata['imports'];
}

/** Starts an application without HTTP, on SQLite unless a test has created a database. */
async function start(modules: DynamicModule[], { dataSource, imports = [] }: Start = {}): Promise<App> {
  database ??= await createDatabase('sqlite');
  const options = {
    ...database.options,
    entities: [...MULTI_SESSION_ENTITIES],
    synchronize: true,
    retryAttempts: 0,
    ...dataSource,
  } as TypeOrmModuleOptions;
  @Module({ imports: [TypeOrmModule.forRoot(options), ...modules, ...imports] })
  class AppModule {}
  app = await NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false });
  return app;
}

/** Returns every fault that stops the start. */
async function faultsOf(started: () => unknown): Promise<readonly string[]> {
  try {
    await started();
  } catch (error) {
    expect(error).toBeInstanceOf(MultiSessionConfigurationError);
    expect((error as Error).message).toMatch(/^nestjs-multisession cannot start:\n {2}- /);
    return (error as MultiSessionConfigurationError).faults;
  }
  return [];
}

const sessions = (more: object = {}) => MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, ...more });

class NoGuard {}

describe('a static option that is not valid', () => {
  test.each<[object, RegExp]>([
    [{ authenticator: TestUsers }, /^authenticator: .*for example \{ useClass: TestUsers \}/],
    [{ authenticator: {} }, /^authenticator: must have one of useClass, useExisting and useFactory/],
    [{ authenticator: { useClass: TestUsers, useExisting: TestUsers } }, /^authenticator: must have one of/],
    [{ authenticator: { useClass: 'TestUsers' } }, /^authenticator\.useClass: must be a class; got "TestUsers"/],
    [{ authenticator: { useFactory: 7 } }, /^authenticator\.useFactory: must be a function; got 7/],
    [{ authenticator: { useExisting: 7 } }, /^authenticator\.useExisting: must be a class or another injection token/],
    [{ authenticator: { useClas: TestUsers, useClass: TestUsers } }, /^authenticator\.useClas: is not an option/],
    [{ authenticator: 'x' }, /^authenticator: must be an object; got a string/],
    [{ authenticator: { useFactory: () => new TestUsers(), inject: 'x' } }, /^authenticator\.inject: must be a list/],
    [{ path: 5 }, /^path: must be a path such as 'api\/session', or '' for none; got 5/],
    [{ path: 'a b' }, /^path: must be a path/],
    [{ controller: 'x' }, /^controller: must be a subclass of SessionsController or false; got "x"/],
    [{ controller: true }, /^controller: must be a subclass of SessionsController or false; got true/],
    [{ controller: NoGuard }, /^controller: must be .*; got the class or function NoGuard/],
    [{ management: true }, /^management: must be a subclass of SessionManagementController or false; got true/],
    [{ devices: 'yes' }, /^devices: must be a subclass of DevicesController or false or true; got "yes"/],
    [{ loginGuards: ['x'] }, /^loginGuards\[0\]: must be a guard class, which Nest instantiates; got "x"/],
    [{ loginGuards: [new NoGuard()] }, /^loginGuards\[0\]: must be a guard class.*got an object/],
    [{ loginGuards: NoGuard }, /^loginGuards: must be a list of guard classes; got the class or function NoGuard/],
    [{ admin: true }, /^admin: must be an object; got a boolean/],
    [{ admin: {} }, /^admin\.guard: is missing; name the guard class/],
    [{ admin: { guard: [] } }, /^admin\.guard: is missing/],
    [{ admin: { guard: 'x' } }, /^admin\.guard\[0\]: must be a guard class/],
    [{ admin: { guard: JwtAuthGuard, path: 'x' } }, /^admin\.path: is not an option\. Options are: guard, controller/],
    [
      { admin: { guard: JwtAuthGuard, controller: NoGuard } },
      /^admin\.controller: must be a subclass of AdminSessions/,
    ],
    [{ dataSource: 7 }, /^dataSource: must be a string that is not blank; got a number/],
    [{ isGlobal: 'no' }, /^isGlobal: must be true or false; got "no"/],
    [{ imports: NoGuard }, /^imports: must be a list of modules/],
    [{ imports: [undefined] }, /^imports\[0\]: must be a module; got undefined.*use forwardRef/],
  ])('%j', async (change, fault) => {
    const expected = [expect.stringMatching(fault)];
    const faults = await faultsOf(() => start([sessions(change)]));
    expect(faults).toEqual(expect.arrayContaining(expected));
    if (!('authenticator' in change) && !('admin' in change)) expect(faults).toHaveLength(1);
    const useFactory = (): MultiSessionOptions => ({ jwt: DEFAULT_OPTIONS.jwt, secretKey: false, policies: {} });
    expect(
      await faultsOf(() => MultiSessionModule.forRootAsync({ sessionTypes: ['X'], useFactory, ...change })),
    ).toEqual(faults);
  });

  test('is named together with every other fault', async () => {
    const options = { ...DEFAULT_OPTIONS, path: 5, loginGuards: ['x'], secretKey: 'x', usernam: 'email' };
    const names = (await faultsOf(() => start([MultiSessionModule.forRoot(options as never)]))).map(
      (fault) => fault.split(':')[0],
    );
    expect(names).toEqual(['path', 'loginGuards[0]', 'usernam', 'secretKey']);
    expect(await faultsOf(() => start([MultiSessionModule.forRoot(undefined as never)]))).not.toEqual([]);
  });

  test.each<[object, RegExp]>([
    [{}, /^useFactory: is missing; give useFactory, useClass or useExisting/],
    [{ useFactory: {} }, /^useFactory: must be a function that returns the values; got an object/],
    [{ useClass: 'x' }, /^useClass: must be a class/],
    [
      { useFactory: () => ({}), sessionTypes: 'LONG' },
      /^sessionTypes: must be a list of the names in policies; got "LONG"/,
    ],
    [{ useFactory: () => ({}), sessionTypes: [7] }, /^sessionTypes\[0\]: must be a string/],
  ])('forRootAsync with %j', async (change, fault) => {
    const given = { sessionTypes: ['LONG'], ...change };
    expect(await faultsOf(() => MultiSessionModule.forRootAsync(given as never))).toEqual([
      expect.stringMatching(fault),
    ]);
  });

  test('a factory that returns no options', async () => {
    const useFactory = () => undefined as never;
    const faults = await faultsOf(() =>
      start([MultiSessionModule.forRootAsync({ sessionTypes: ['LONG'], useFactory })]),
    );
    expect(faults[0]).toBe('options: must be an object; got undefined');
  });
});

describe('the module', () => {
  test('stops the start if it is configured twice', async () => {
    const other = sessions({ path: 'staff/session' });
    const faults = await faultsOf(() => start([sessions(), other]));
    expect(faults).toEqual([expect.stringMatching(/^MultiSessionModule: is configured 2 times.*call forRoot.*once/)]);
  });

  test('may be imported by several modules, as the same dynamic module or as the class', async () => {
    const shared = sessions();
    @Module({ imports: [shared] })
    class FirstModule {}
    @Module({ imports: [shared, MultiSessionModule] })
    class SecondModule {}
    await start([], { imports: [FirstModule, SecondModule] });
    expect((await (app as App).get(SessionService).create('ada', { type: 'LONG' })).access).toBeTruthy();
  });

  test('stops the start if only its class is imported', async () => {
    expect(await faultsOf(() => start([], { imports: [MultiSessionModule] }))).toEqual([
      expect.stringMatching(/^MultiSessionModule: is imported without options; import MultiSessionModule\.forRoot/),
    ]);
  });

  test('stops the start if its options depend on the request', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Tenant {}
    @Module({ providers: [Tenant], exports: [Tenant] })
    class TenantModule {}
    const { jwt, secretKey, policies } = DEFAULT_OPTIONS;
    const values = { jwt, secretKey, policies };
    const options = {
      sessionTypes: ['SHORT', 'LONG'],
      imports: [TenantModule],
      inject: [Tenant],
      useFactory: () => values,
    };
    expect(await faultsOf(() => start([MultiSessionModule.forRootAsync(options)]))).toEqual([
      expect.stringMatching(/^useFactory: .*depend on a request-scoped provider.*default scope/),
    ]);
  });
});

test('a user id of the wrong type fails when it shows, and the message does not speak of the start', async () => {
  const create = (await start([sessions()])).get(SessionService).create(5, { type: 'LONG' });
  const error: unknown = await create.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(MultiSessionConfigurationError);
  expect((error as Error).message).toMatch(/^nestjs-multisession is not configured correctly:/);
  expect((error as Error).message).toMatch(
    /userIdType: 'string'\); got a number; set userIdType: 'number', or convert/,
  );
});

describe('the authenticator', () => {
  test.each([
    ['undefined', () => undefined],
    ['null', () => null],
    ['a string', () => 'x'],
  ])('must not be %s', async (got, useFactory) => {
    expect(await faultsOf(() => start([sessions({ authenticator: { useFactory } })]))).toEqual([
      `authenticator: must provide an object that extends UserAuthenticator or UserDirectory; got ${got}`,
    ]);
  });

  test('must have methods', async () => {
    class AppUsers {
      authenticate = 'yes';
    }
    expect(await faultsOf(() => start([sessions({ authenticator: { useClass: AppUsers } })]))).toEqual([
      'authenticator: AppUsers.authenticate must be a method; got a string',
    ]);
  });

  test.each([Scope.DEFAULT, Scope.REQUEST, Scope.TRANSIENT])(
    'stops the start if it cannot be resolved, with scope %s',
    async (scope) => {
      class Unknown {}
      @Injectable({ scope })
      class AppUsers extends UserAuthenticator {
        constructor(
          readonly unknown: Unknown,
          @Inject(REQUEST) readonly request: unknown,
        ) {
          super();
        }
        authenticate() {
          return Promise.resolve(null);
        }
      }
      for (const authenticator of [{ useClass: AppUsers }, { useExisting: AppUsers }]) {
        await expect(start([sessions({ authenticator })])).rejects.toThrow(/can't resolve dependencies|AppUsers/);
      }
    },
  );
});

@Entity('user_session')
class RivalSession {
  @PrimaryColumn()
  id!: string;
  @Column({ default: '' })
  cart!: string;
}

@Entity({ name: 'user_session', synchronize: false })
class ReadSession {
  @PrimaryColumn()
  id!: string;
}

test("revocation.push: 'postgres' is named together with the other faults", async () => {
  const options = { revocation: { push: 'postgres' } };
  expect(await faultsOf(() => start([sessions(options)], { dataSource: { entities: [] } }))).toEqual([
    expect.stringMatching(/^revocation\.push: 'postgres' needs PostgreSQL, but the database is better-sqlite3/),
    expect.stringMatching(/^entities: /),
  ]);
});

describe('the entities', () => {
  test('must be in the DataSource', async () => {
    expect(await faultsOf(() => start([sessions()], { dataSource: { entities: [SessionEntity] } }))).toEqual([
      expect.stringMatching(
        /^entities: the DataSource "default" lacks BlacklistEntity, .*; add \.\.\.MULTI_SESSION_ENTITIES to its entities, or set autoLoadEntities: true/,
      ),
    ]);
    expect(await faultsOf(() => start([sessions()], { dataSource: { entities: [] } }))).toHaveLength(1);
    await expect(start([sessions()], { dataSource: { entities: [], autoLoadEntities: true } })).resolves.toBeTruthy();
  });

  test('must not share their table with an entity of the application, unless that one only reads', async () => {
    const both = { entities: [...MULTI_SESSION_ENTITIES, RivalSession], synchronize: false };
    expect(await faultsOf(() => start([sessions()], { dataSource: both }))).toEqual(
      expect.arrayContaining([
        expect.stringMatching(
          /^entities: SessionEntity .* your RivalSession have the same table user_session; .*entityPrefix/,
        ),
      ]),
    );
    // Without the module: TypeORM would mix both tables before it starts.
    const { options } = await createDatabase('sqlite');
    expect(await faultsOf(() => new DataSource({ ...options, ...both, synchronize: true }).initialize())).toEqual([
      expect.stringMatching(/^entities: SessionEntity .* your RivalSession have the same table user_session/),
    ]);
    const reading = { entities: [...MULTI_SESSION_ENTITIES, ReadSession] };
    await expect(start([sessions()], { dataSource: reading })).resolves.toBeTruthy();
  });
});

onEachDatabase((name) => {
  describe('the tables', () => {
    const isServer = name === 'postgres' || name === 'mariadb';

    /** Creates the tables and changes them, then starts an application on them. */
    async function faultsAfter(...changes: string[]): Promise<readonly string[]> {
      database ??= await createDatabase(name);
      const { options } = database;
      const file = isServer ? options : { ...options, synchronize: false };
      const dataSource = await new DataSource({
        ...file,
        entities: [...MULTI_SESSION_ENTITIES],
        migrations: [...multiSessionMigrations],
        migrationsRun: true,
      }).initialize();
      try {
        for (const change of changes) await dataSource.query(change);
        return await faultsOf(() => start([sessions()], { dataSource: { synchronize: false } }));
      } finally {
        if (dataSource.isInitialized) await dataSource.destroy();
      }
    }

    test('must exist: the start names those that are missing', async () => {
      database = await createDatabase(name);
      const faults = await faultsOf(() =>
        start([sessions({ secretKey: 'x' })], { dataSource: { synchronize: false } }),
      );
      expect(faults).toEqual([
        expect.stringMatching(/^secretKey: must have at least 16/),
        expect.stringMatching(
          /^tables: the database lacks user_session, .*session_epoch, session_alias, session_event, session_delivery, session_provider, session_signal, session_stream, session_stream_subject, session_admin_action; run the migrations/,
        ),
      ]);
    });

    /** Connects without creating tables. */
    async function connected(work: (dataSource: DataSource) => Promise<void>): Promise<void> {
      database = await createDatabase(name);
      const dataSource = await new DataSource({
        ...database.options,
        synchronize: false,
        entities: [...MULTI_SESSION_ENTITIES],
        migrations: multiSessionMigrations.slice(0, 4),
      }).initialize();
      try {
        await work(dataSource);
      } finally {
        await dataSource.destroy();
      }
    }

    test("of the application are left alone by synchronize, even if one has the name of the library's", async () => {
      await connected(async (dataSource) => {
        await dataSource.query('CREATE TABLE user_session (id varchar(36) PRIMARY KEY, cart varchar(20) NOT NULL)');
        await dataSource.query("INSERT INTO user_session VALUES ('1', 'apples')");
        expect(await faultsOf(() => dataSource.synchronize())).toEqual([
          expect.stringMatching(
            /^tables: \S*user_session exists, and it is not a table of nestjs-multisession, because it lacks user_id, .*entityPrefix/,
          ),
        ]);
        expect(await dataSource.query('SELECT * FROM user_session')).toEqual([{ id: '1', cart: 'apples' }]);
      });
    });

    test('of the first version are brought up to date by synchronize', async () => {
      await connected(async (dataSource) => {
        await dataSource.runMigrations();
        await dataSource.synchronize();
        expect(await dataSource.getRepository(SessionEntity).find()).toEqual([]);
      });
    });

    if (isServer) {
      test('must have their columns', async () => {
        expect(
          await faultsAfter(
            'DROP TABLE session_blacklist',
            'ALTER TABLE user_session DROP COLUMN info',
            'ALTER TABLE user_session DROP COLUMN device_name',
          ),
        ).toEqual([
          expect.stringMatching(/^tables: the database lacks session_blacklist; run the migrations/),
          expect.stringMatching(/^table user_session: columns info, device_name: .*run the migrations/),
        ]);
      });

      test('the start succeeds if they are complete', async () => {
        expect(await faultsAfter()).toEqual([]);
      });
    }
  });
});

test('a database that answers only after the start is checked then, and the log names what it lacks', async () => {
  const logged: string[] = [];
  const error = jest
    .spyOn(Logger.prototype, 'error')
    .mockImplementation((line: unknown) => void logged.push(String(line)));
  const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
  const started = await start([sessions()], { dataSource: { manualInitialization: true, synchronize: false } });
  const service = started.get(SessionService);
  const create = () => service.create('ada', { type: 'LONG' }).catch((fault: unknown) => fault);
  await started.get(DataSource).initialize();
  while (!logged.some((line) => line.includes('nothing works until')))
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(logged.find((line) => line.includes('nothing works until'))).toMatch(
    /tables: the database lacks user_session/,
  );
  // Until the first poll, the time of the database is not known.
  let fault = await create();
  while (fault instanceof UnavailableError) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    fault = await create();
  }
  expect(fault).toBeInstanceOf(ServerFaultError);
  error.mockRestore();
  warn.mockRestore();
});
