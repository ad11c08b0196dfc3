import {
  type BeforeApplicationShutdown,
  ConfigurableModuleBuilder,
  type DynamicModule,
  Module,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
  Scope,
} from '@nestjs/common';
import { ModuleRef, ModulesContainer, RouterModule } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { ADMIN_GUARDS } from '../admin/admin.guards.js';
import { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import type { SchemaCheck } from '../database/schema-check.js';
import type { Engine } from '../engine/engine.js';
import type {
  MultiSessionConfig,
  MultiSessionModuleAsyncOptions,
  MultiSessionModuleOptions,
  MultiSessionOptions,
  MultiSessionStaticOptions,
} from '../engine/options.js';
import { MultiSessionConfigurationError } from '../errors.js';
import { LOGIN_GUARDS } from '../http/application-guards.js';
import { SESSION_ROUTES_AT, type SessionRoutes } from '../http/cookie-path.js';
import { dbscBeside } from '../http/dbsc-beside.js';
import { SessionManagementController } from '../http/session-management.controller.js';
import { SessionsController } from '../http/sessions.controller.js';
import { OptionFaults } from '../option-check.js';
import { SecurityReport } from '../report/security-report.js';
import { UserAuthenticator } from '../session/authenticator.js';
import { sessionPolicyToken } from '../session/policy.js';
import { SignalsController } from '../signals/signals.controller.js';
import { StreamsController } from '../streams/streams.controller.js';
import { eventHandlersIn } from './event-handlers.js';
import { MULTI_SESSION_ENTITIES } from './entities.js';
import {
  ENGINE_PROVIDERS,
  engineProvider,
  EXPORTED,
  guardList,
  HTTP_PROVIDERS,
  instantiatedOnce,
  usersProviderIn,
} from './providers.js';
import { SessionHealthIndicator } from './session-health.indicator.js';
import { CHECK, CONFIG, ENGINE } from './tokens.js';
import { checkStart, type StartCheck, type StaticContext, tryOptions } from './start-check.js';
import { checkAsyncOptions, checkStaticOptions, STATIC_CHECKS } from './static-options.js';
import { assertUsable } from './users.js';
import { ROUTE_PATH } from './prefix-warning.js';

const DEFAULT_PATH = 'api/session';

// The builder removes only the keys that it knows from the options. `assemble` sets the defaults, because a key may also be
// given as undefined.
const STATIC_KEYS = Object.fromEntries(Object.keys(STATIC_CHECKS).map((key) => [key, undefined]));

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<MultiSessionOptions>({
  moduleName: 'MultiSession',
})
  .setClassMethodName('forRoot')
  .setExtras<MultiSessionStaticOptions>(STATIC_KEYS, assemble)
  .build();

/** Provides sessions to an application. Import it once, with `forRoot` or `forRootAsync`. */
@Module({})
export class MultiSessionModule
  extends ConfigurableModuleClass
  implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown
{
  private started?: { engine: Engine; schema: SchemaCheck };

  /** @internal */
  constructor(
    private readonly moduleRef: ModuleRef,
    private readonly modules: ModulesContainer,
  ) {
    super();
  }

  /**
   * Takes the options as values. The session types are the keys of `policies`.
   * @throws MultiSessionConfigurationError if a static option is not valid. Faults of the values stop the start
   */
  static override forRoot(options: MultiSessionModuleOptions): DynamicModule {
    const faults = new OptionFaults();
    const sessionTypes = typesOf(options?.policies);
    checkStaticOptions(options ?? {}, faults);
    if (faults.list.length > 0) {
      const isValue = ([name]: [string, unknown]) => !(name in STATIC_CHECKS);
      const values = Object.fromEntries(Object.entries(options).filter(isValue)) as object as MultiSessionOptions;
      const ofValues = tryOptions(values, [
        sessionTypes,
        {
          devices: false,
          admin: false,
          signals: options.signals === true,
          eventStreams: options.eventStreams === true,
        },
      ]).faults;
      throw new MultiSessionConfigurationError([...faults.list, ...ofValues]);
    }
    return super.forRoot({ ...options, sessionTypes });
  }

  /**
   * Takes the options from a factory or a class. Pass the static options next to it, because Nest must know them before it
   * calls the factory. `sessionTypes` is required.
   * @throws MultiSessionConfigurationError if `sessionTypes` is missing, or a static option is unknown or not valid
   */
  static override forRootAsync(options: MultiSessionModuleAsyncOptions): DynamicModule {
    const faults = new OptionFaults();
    checkAsyncOptions(options ?? {}, faults);
    if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
    return super.forRootAsync(options);
  }

  /**
   * Starts the engine.
   * @internal
   */
  async onModuleInit(): Promise<void> {
    if (!this.isConfigured()) return;
    const { engine, schema, isSchemaKnown } = this.parts();
    this.started = { engine, schema };
    if (!isSchemaKnown) schema.retry();
    const { telemetry, push, poller, managedKeys, dailyCounts, outbox, cleanup } = engine;
    for (const handler of eventHandlersIn(this.modules, outbox.isOn)) outbox.add(handler);
    await telemetry.start();
    push.start();
    // Poll before the rest starts, because the first poll also learns the database's time.
    await poller.start();
    try {
      await managedKeys.start();
    } catch (error) {
      // Nest does not call the shutdown hooks of an application that failed to start.
      await push.stop();
      await poller.stop();
      throw error;
    }
    await dailyCounts.start();
    outbox.start();
    cleanup.start();
  }

  /**
   * Writes what is still in memory while the database connection is open.
   * @internal
   */
  async beforeApplicationShutdown(): Promise<void> {
    if (!this.started) return;
    const { feed, cleanup, seen, knownDevices, dailyCounts, outbox } = this.started.engine;
    feed.close();
    outbox.streams.close();
    await cleanup.stop();
    await seen.flush();
    await knownDevices.settled();
    await outbox.stop();
    await dailyCounts.stop();
  }

  /**
   * Stops the engine. Polls go on until here, when the last request has been answered.
   * @internal
   */
  async onApplicationShutdown(): Promise<void> {
    if (!this.started) return;
    const { push, poller, managedKeys, dailyCounts, telemetry } = this.started.engine;
    this.started.schema.stop();
    await push.stop();
    await poller.stop();
    await managedKeys.stop();
    await dailyCounts.flushLast();
    telemetry.stop();
  }

  /**
   * Whether this is the module that `forRoot` returned. A feature module may also import the plain class, which does nothing.
   * @throws MultiSessionConfigurationError if only the plain class was imported
   */
  private isConfigured(): boolean {
    const configured = [...this.modules.values()].filter((module) => module.providers.has(ENGINE));
    if (configured.length === 0) {
      throw new MultiSessionConfigurationError([
        'MultiSessionModule: is imported without options; import MultiSessionModule.forRoot({ … }) once',
      ]);
    }
    return configured.some((module) => (module.instance as unknown) === this);
  }

  private parts(): StartCheck & { engine: Engine } {
    // Nest does not instantiate providers that depend on a request-scoped one.
    if (this.moduleRef.introspect(ENGINE).scope !== Scope.DEFAULT) {
      throw new MultiSessionConfigurationError([
        'useFactory: the options or the DataSource depend on a request-scoped provider, but are read once, at start; ' +
          'inject only providers with the default scope',
      ]);
    }
    const engine = this.moduleRef.get<Engine>(ENGINE);
    assertUsable(this.moduleRef, usersProviderIn(this.modules));
    return { ...this.moduleRef.get<StartCheck>(CHECK), engine };
  }
}

function typesOf(policies: unknown): string[] {
  return typeof policies === 'object' && policies !== null ? Object.keys(policies) : [];
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
    signals = false,
    eventStreams = false,
    dataSource,
    isGlobal = true,
    imports = [],
  } = options;
  const path = options.path ?? (controller === SessionsController ? DEFAULT_PATH : '');
  const deviceRoutes = devices === true ? DevicesController : devices;
  const adminGuards = admin ? [admin.guard].flat() : [];
  const adminRoutes = admin !== undefined && (admin.controller ?? AdminSessionsController);
  const dbsc = controller !== false && dbscBeside(controller);
  const signalRoutes = signals && SignalsController;
  const streamRoutes = eventStreams && StreamsController;
  const controllers = [controller, dbsc, management, deviceRoutes, adminRoutes, signalRoutes, streamRoutes].filter(
    (routes) => routes !== false,
  );
  const policies = sessionTypes.map((type) => ({
    provide: sessionPolicyToken(type),
    useFactory: (engine: Engine) => engine.policies.named(type),
    inject: [ENGINE],
  }));
  const context: StaticContext = [
    sessionTypes,
    { devices: devices !== false, admin: admin !== undefined, signals, eventStreams },
  ];
  const check = {
    provide: CHECK,
    useFactory: (given: MultiSessionOptions, source: DataSource, modules: ModulesContainer) =>
      checkStart(given, context, source, modules, ENGINE),
    inject: [MODULE_OPTIONS_TOKEN, getDataSourceToken(dataSource), ModulesContainer],
  };
  const reported = { sessions: controller !== false, management: management !== false, admin: admin !== undefined };
  const routes: SessionRoutes = { controller, module: MultiSessionModule, path, dbsc };
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
      check,
      { provide: CONFIG, useFactory: ({ config }: StartCheck) => config, inject: [CHECK] },
      { provide: UserAuthenticator, ...(authenticator ?? { useValue: null }) } as Provider,
      engineProvider(dataSource),
      SessionHealthIndicator,
      ...ENGINE_PROVIDERS,
      ...HTTP_PROVIDERS,
      { provide: ROUTE_PATH, useValue: controllers.length > 0 ? path : '' },
      ...instantiatedOnce([...loginGuards, ...adminGuards]),
      guardList(LOGIN_GUARDS, loginGuards),
      guardList(ADMIN_GUARDS, adminGuards),
      { provide: SESSION_ROUTES_AT, useValue: routes },
      {
        provide: SecurityReport,
        useFactory: (config: MultiSessionConfig) => new SecurityReport(config, reported),
        inject: [CONFIG],
      },
      ...policies,
    ],
    exports: [...(definition.exports ?? []), TypeOrmModule, ...policies.map((policy) => policy.provide), ...EXPORTED],
  };
}
