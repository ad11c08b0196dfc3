import {
  type BeforeApplicationShutdown,
  type CanActivate,
  ConfigurableModuleBuilder,
  type DynamicModule,
  Inject,
  Module,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
  type Type,
} from '@nestjs/common';
import { ModuleRef, RouterModule } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource, EntityManager } from 'typeorm';
import { ADMIN_GUARDS, AdminGuards } from '../admin/admin.guards.js';
import { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import { Database } from '../database/database.js';
import { DeviceLoginFormat } from '../compat/drf-jwt-devices/device-login-format.js';
import { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import { DailyCounts } from '../admin/statistics/daily-counts.js';
import { SessionDailyCountEntity } from '../admin/statistics/session-daily-count.entity.js';
import { CsrfGuard } from '../http/csrf.guard.js';
import { HTTP_CONFIG } from '../http/options.js';
import { JwtAuthGuard } from '../http/jwt-auth.guard.js';
import { jwtStrategyProvider } from '../passport/jwt.strategy.js';
import { LOGIN_GUARDS, LoginGuards } from '../http/application-guards.js';
import { LoginAnswerFormat } from '../http/login-answer-format.js';
import { RefreshTransport } from '../http/refresh-transport.js';
import { RequiredSecretKeyGuard, SecretKeyGuard } from '../http/secret-key.guard.js';
import { SessionManagementController } from '../http/session-management.controller.js';
import { JWKS_MAX_AGE, SessionsController } from '../http/sessions.controller.js';
import { KnownDeviceEntity } from '../known-devices/known-device.entity.js';
import { KnownDevices } from '../known-devices/known-devices.js';
import { ManagedKeys, type ManagedKeyTimes } from '../keys/managed-keys.js';
import { SigningKeyEntity } from '../keys/signing-key.entity.js';
import { SessionCookies } from '../http/session-cookies.js';
import { MultiSessionConfigurationError } from '../errors.js';
import {
  type AdminOptions,
  type MultiSessionConfig,
  type MultiSessionModuleAsyncOptions,
  type MultiSessionModuleOptions,
  type MultiSessionOptions,
  type MultiSessionStaticOptions,
  readOptions,
} from '../engine/options.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import { Blacklist } from '../revocation/blacklist.js';
import { Clock } from '../database/clock.js';
import { SeenGenerations } from '../session/seen-generations.js';
import { SessionAdministration } from '../session/administration.js';
import { SessionCleanup } from '../session/cleanup.js';
import { SessionEntity } from '../session/session.entity.js';
import { SessionEndings } from '../session/endings.js';
import { SessionEvents } from '../session/events.js';
import { SessionPolicies } from '../session/policies.js';
import { SessionService } from '../session/service.js';
import { SessionStore } from '../session/store.js';
import { sessionPolicyToken } from '../session/policy.js';
import { UserAuthenticator } from '../session/authenticator.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { AccessTokens } from '../token/access-token.js';
import { Keyring } from '../token/keyring.js';
import { RefreshTokens } from '../token/refresh-token.js';

/** The tables of this library, for the `entities` of a DataSource that does not load them by itself. */
export const MULTI_SESSION_ENTITIES = [
  SessionEntity,
  BlacklistEntity,
  SigningKeyEntity,
  KnownDeviceEntity,
  SessionDailyCountEntity,
] as const;

const DEFAULT_PATH = 'api/session';
const CONFIG = 'MULTI_SESSION_CONFIG';
/** How much longer than its tokens a blacklist entry lives: what the clocks of two processes may differ by. */
const CLOCK_MARGIN = 5000;
/** For how long others may keep `jwks.json`, in milliseconds; a new public key signs no earlier than after that. */
const JWKS_LIFETIME = JWKS_MAX_AGE * 1000;

// Every key is named, or it would be left in the options. The defaults are in `assemble`, for a key given as undefined too.
const STATIC_KEYS: Record<keyof MultiSessionStaticOptions, undefined> = {
  authenticator: undefined,
  sessionTypes: undefined,
  path: undefined,
  controller: undefined,
  management: undefined,
  devices: undefined,
  loginGuards: undefined,
  admin: undefined,
  dataSource: undefined,
  passportStrategy: undefined,
  isGlobal: undefined,
  imports: undefined,
};

/** What `forRootAsync` of Nest itself takes, beside `imports`. */
const FACTORY_KEYS = ['useFactory', 'useClass', 'useExisting', 'inject', 'provideInjectionTokensFrom'];

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<MultiSessionOptions>({
  moduleName: 'MultiSession',
})
  .setClassMethodName('forRoot')
  .setExtras<MultiSessionStaticOptions>(STATIC_KEYS, assemble)
  .build();

/** Sessions for an application: import it once, with `forRoot` or `forRootAsync`. */
@Module({})
export class MultiSessionModule
  extends ConfigurableModuleClass
  implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown
{
  @Inject(Blacklist) private readonly blacklist!: Blacklist;
  @Inject(SessionCleanup) private readonly cleanup!: SessionCleanup;
  @Inject(SeenGenerations) private readonly confirmed!: SeenGenerations;
  @Inject(ManagedKeys) private readonly keys!: ManagedKeys;
  @Inject(KnownDevices) private readonly devices!: KnownDevices;
  @Inject(DailyCounts) private readonly counts!: DailyCounts;
  @Inject(Telemetry) private readonly telemetry!: Telemetry;

  /** With the options at hand; the session types are those of `policies`. */
  static override forRoot(options: MultiSessionModuleOptions): DynamicModule {
    return super.forRoot({ ...options, sessionTypes: Object.keys(options.policies ?? {}) });
  }

  /** With options from a factory or a class: what Nest must know early stands beside it, `sessionTypes` above all. */
  static override forRootAsync(options: MultiSessionModuleAsyncOptions): DynamicModule {
    const known = [...Object.keys(STATIC_KEYS), ...FACTORY_KEYS];
    const faults = Object.keys(options)
      .filter((key) => !known.includes(key))
      .map((key) => `${key}: does not stand beside the factory; what does is ${known.join(', ')}`);
    if (!options.sessionTypes?.length) {
      faults.push(
        "sessionTypes: is missing; name the session types beside the factory, for example sessionTypes: ['SHORT', 'LONG']",
      );
    }
    if (faults.length > 0) throw new MultiSessionConfigurationError(faults);
    return super.forRootAsync(options);
  }

  /** @internal */
  async onModuleInit(): Promise<void> {
    // First the poll, which also tells the database's time.
    await this.blacklist.start();
    try {
      await this.keys.start();
    } catch (error) {
      // An application that does not start is not shut down either.
      await this.blacklist.stop();
      throw error;
    }
    await this.counts.start();
    this.cleanup.start();
  }

  /** @internal What was seen in use is written while the database is still there. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.cleanup.stop();
    await this.confirmed.flush();
    await this.devices.settled();
    await this.counts.flush();
  }

  /** @internal Polls until the last request has been answered. */
  async onApplicationShutdown(): Promise<void> {
    await this.blacklist.stop();
    await this.keys.stop();
    await this.counts.flushLast();
    this.telemetry.stop();
  }
}

function assemble(definition: DynamicModule, options: MultiSessionStaticOptions): DynamicModule {
  const {
    authenticator,
    sessionTypes = [],
    controller = SessionsController,
    management = controller === SessionsController && SessionManagementController,
    devices = false,
    loginGuards = [],
    admin,
    dataSource,
    passportStrategy = 'jwt',
    isGlobal = true,
    imports = [],
  } = options;
  const path = options.path ?? (controller === SessionsController ? DEFAULT_PATH : '');
  const deviceRoutes = devices === true ? DevicesController : devices;
  const adminGuards = admin ? adminGuardsOf(admin) : [];
  const adminRoutes = admin !== undefined && (admin.controller ?? AdminSessionsController);
  const controllers = [controller, management, deviceRoutes, adminRoutes].filter((routes) => routes !== false);
  const policies = sessionTypes.map((type) => ({
    provide: sessionPolicyToken(type),
    useFactory: (all: SessionPolicies) => all.named(type),
    inject: [SessionPolicies],
  }));
  const exported = [...policies.map((policy) => policy.provide), ...EXPORTED];
  return {
    ...definition,
    global: isGlobal,
    imports: [
      ...(definition.imports ?? []),
      ...imports,
      TypeOrmModule.forFeature([...MULTI_SESSION_ENTITIES], dataSource),
      ...(controllers.length > 0 && path ? [RouterModule.register([{ path, module: MultiSessionModule }])] : []),
    ],
    controllers,
    providers: [
      ...(definition.providers ?? []),
      {
        provide: CONFIG,
        useFactory: (given: MultiSessionOptions) =>
          readOptions(given, sessionTypes, controller ? path : '', {
            devices: devices !== false,
            admin: admin !== undefined,
          }),
        inject: [MODULE_OPTIONS_TOKEN],
      },
      { provide: UserAuthenticator, ...(authenticator ?? { useValue: null }) } as Provider,
      ...madeOnce([...loginGuards, ...adminGuards]),
      guardList(LOGIN_GUARDS, loginGuards),
      guardList(ADMIN_GUARDS, adminGuards),
      ...databaseProviders(dataSource),
      ...PROVIDERS,
      ...policies,
      ...(passportStrategy ? [jwtStrategyProvider(passportStrategy)] : []),
    ],
    exports: [...(definition.exports ?? []), TypeOrmModule, ...exported],
  };
}

/** @throws MultiSessionConfigurationError where there is none: these routes are never open */
function adminGuardsOf({ guard }: AdminOptions): Type<CanActivate>[] {
  const guards = [guard ?? []].flat();
  if (guards.length > 0 && guards.every((one) => typeof one === 'function')) return guards;
  throw new MultiSessionConfigurationError([
    'admin.guard: is missing; name the guard that lets administrators pass, and nobody else',
  ]);
}

/** Guards of the application's, but those that are there anyway. */
function madeOnce(guards: readonly Type<CanActivate>[]): Type<CanActivate>[] {
  return [...new Set(guards)].filter((guard) => !PROVIDERS.includes(guard));
}

function guardList(token: string, guards: readonly Type<CanActivate>[]): Provider {
  return { provide: token, useFactory: (...made: CanActivate[]) => made, inject: [...guards] };
}

function databaseProviders(dataSource: string | undefined): Provider[] {
  const make = (source: DataSource) => new Database(source);
  return [{ provide: Database, useFactory: make, inject: [getDataSourceToken(dataSource)] }];
}

const PROVIDERS: Provider[] = [
  SecretKeyGuard,
  RequiredSecretKeyGuard,
  CsrfGuard,
  JwtAuthGuard,
  LoginGuards,
  AdminGuards,
  SessionCookies,
  RefreshTransport,
  { provide: LoginAnswerFormat, useClass: DeviceLoginFormat },
  SessionEvents,
  Clock,
  { provide: HTTP_CONFIG, useFactory: (config: MultiSessionConfig) => config.http, inject: [CONFIG] },
  {
    provide: SessionPolicies,
    useFactory: (config: MultiSessionConfig) => new SessionPolicies(config.policies, config.maxActiveSessionsPerUser),
    inject: [CONFIG],
  },
  { provide: Keyring, useFactory: (config: MultiSessionConfig) => new Keyring(config.tokens), inject: [CONFIG] },
  {
    provide: ManagedKeys,
    useFactory: (
      config: MultiSessionConfig,
      database: Database,
      keyring: Keyring,
      policies: SessionPolicies,
      clock: Clock,
      moduleRef: ModuleRef,
    ) =>
      new ManagedKeys(
        database,
        keyring,
        config.tokens.managed,
        managedKeyTimes(config, policies),
        () => clock.now(),
        // Looked up when it is needed: the store needs the blacklist, which reads the keys.
        (manager, kid) => moduleRef.get(SessionStore).isKeyInUse(manager, kid),
      ),
    inject: [CONFIG, Database, Keyring, SessionPolicies, Clock, ModuleRef],
  },
  {
    provide: Blacklist,
    useFactory: (
      config: MultiSessionConfig,
      database: Database,
      clock: Clock,
      events: SessionEvents,
      keyring: Keyring,
      keys: ManagedKeys,
    ) => {
      const besides = keys.isOn
        ? [{ entity: SigningKeyEntity, poll: (manager: EntityManager) => keys.poll(manager) }]
        : [];
      const blacklist = new Blacklist(database, config.revocation, clock, besides);
      blacklist.onRevoked((revoked) => events.emit('session.revoked', revoked));
      if (keys.isOn) keyring.isComplete = () => keys.isLoaded && blacklist.isUpToDate();
      return blacklist;
    },
    inject: [CONFIG, Database, Clock, SessionEvents, Keyring, ManagedKeys],
  },
  {
    provide: SessionStore,
    useFactory: (
      config: MultiSessionConfig,
      database: Database,
      blacklist: Blacklist,
      clock: Clock,
      policies: SessionPolicies,
    ) => {
      const acceptedAfterEnd = policies.longestAccessTokenLifetime + config.tokens.clockTolerance + CLOCK_MARGIN;
      return new SessionStore(database, blacklist, config.revocation, acceptedAfterEnd, () => clock.now());
    },
    inject: [CONFIG, Database, Blacklist, Clock, SessionPolicies],
  },
  {
    provide: Telemetry,
    useFactory: (events: SessionEvents, blacklist: Blacklist) => {
      const telemetry = new Telemetry();
      events.on('session.created', ({ session }) => telemetry.sessionCreated(session.type));
      events.on('session.ended', ({ session, reason }) => telemetry.sessionEnded(session.type, reason));
      telemetry.observe(blacklist);
      return telemetry;
    },
    inject: [SessionEvents, Blacklist],
  },
  {
    provide: SeenGenerations,
    useFactory: (store: SessionStore) => new SeenGenerations((batch) => store.confirm(batch)),
    inject: [SessionStore],
  },
  {
    provide: SessionEndings,
    useFactory: (
      config: MultiSessionConfig,
      store: SessionStore,
      blacklist: Blacklist,
      events: SessionEvents,
      clock: Clock,
    ) => new SessionEndings(store, blacklist, events, clock, config.tokens),
    inject: [CONFIG, SessionStore, Blacklist, SessionEvents, Clock],
  },
  {
    provide: SessionService,
    useFactory: (
      config: MultiSessionConfig,
      keyring: Keyring,
      policies: SessionPolicies,
      store: SessionStore,
      endings: SessionEndings,
      blacklist: Blacklist,
      confirmed: SeenGenerations,
      events: SessionEvents,
      telemetry: Telemetry,
      clock: Clock,
      moduleRef: ModuleRef,
    ) =>
      new SessionService({
        tokens: config.tokens,
        policies,
        store,
        endings,
        blacklist,
        confirmed,
        events,
        telemetry,
        clock,
        accessTokens: new AccessTokens(keyring, config.tokens, () => clock.now()),
        refreshTokens: new RefreshTokens(keyring, config.tokens),
        authenticator: once(() => moduleRef.get<UserAuthenticator | null>(UserAuthenticator, { strict: true })),
      }),
    inject: [
      CONFIG,
      Keyring,
      SessionPolicies,
      SessionStore,
      SessionEndings,
      Blacklist,
      SeenGenerations,
      SessionEvents,
      Telemetry,
      Clock,
      ModuleRef,
    ],
  },
  {
    provide: SessionCleanup,
    useFactory: (
      config: MultiSessionConfig,
      store: SessionStore,
      endings: SessionEndings,
      policies: SessionPolicies,
      clock: Clock,
      devices: KnownDevices,
    ) => new SessionCleanup(store, endings, policies, config.cleanup, () => clock.now(), devices),
    inject: [CONFIG, SessionStore, SessionEndings, SessionPolicies, Clock, KnownDevices],
  },
  {
    provide: KnownDevices,
    useFactory: (config: MultiSessionConfig, database: Database, events: SessionEvents, clock: Clock) =>
      new KnownDevices(database, events, config.rememberDevices, () => clock.now()),
    inject: [CONFIG, Database, SessionEvents, Clock],
  },
  {
    provide: DailyCounts,
    useFactory: (config: MultiSessionConfig, database: Database, events: SessionEvents, clock: Clock) =>
      new DailyCounts(database, events, config.dailyCounts, () => clock.now()),
    inject: [CONFIG, Database, SessionEvents, Clock],
  },
  {
    provide: SessionAdministration,
    useFactory: (
      config: MultiSessionConfig,
      policies: SessionPolicies,
      store: SessionStore,
      endings: SessionEndings,
      clock: Clock,
    ) => new SessionAdministration({ tokens: config.tokens, policies, store, endings, clock }),
    inject: [CONFIG, SessionPolicies, SessionStore, SessionEndings, Clock],
  },
];

function managedKeyTimes({ tokens, revocation }: MultiSessionConfig, policies: SessionPolicies): ManagedKeyTimes {
  const known = 2 * (revocation.pollInterval + revocation.maxStaleness);
  const isPublic = tokens.managed?.algorithm.startsWith('HS') === false;
  const activation = isPublic ? Math.max(known, JWKS_LIFETIME) : known;
  const longest = Math.max(policies.longestRefreshTokenLifetime, policies.longestAccessTokenLifetime);
  return { activation, retention: longest + tokens.clockTolerance + activation + CLOCK_MARGIN };
}

/** What guards in other modules are built from, and what applications inject. */
const EXPORTED = [
  AdminGuards,
  DailyCounts,
  SessionAdministration,
  Telemetry,
  KnownDevices,
  HTTP_CONFIG,
  LOGIN_GUARDS,
  ManagedKeys,
  SessionService,
  SessionEvents,
  SessionPolicies,
  SessionCleanup,
  JwtAuthGuard,
  LoginGuards,
  SecretKeyGuard,
  CsrfGuard,
  SessionCookies,
  RefreshTransport,
];

/** Looking an injected class up is no work for each refresh. */
function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
