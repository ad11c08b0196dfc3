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
import { RouterModule } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ADMIN_GUARDS } from '../admin/admin.guards.js';
import { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import type { Engine } from '../engine/engine.js';
import {
  type AdminOptions,
  type MultiSessionModuleAsyncOptions,
  type MultiSessionModuleOptions,
  type MultiSessionOptions,
  type MultiSessionStaticOptions,
  readOptions,
} from '../engine/options.js';
import { MultiSessionConfigurationError } from '../errors.js';
import { LOGIN_GUARDS } from '../http/application-guards.js';
import { SessionManagementController } from '../http/session-management.controller.js';
import { SessionsController } from '../http/sessions.controller.js';
import { UserAuthenticator } from '../session/authenticator.js';
import { sessionPolicyToken } from '../session/policy.js';
import { MULTI_SESSION_ENTITIES } from './entities.js';
import {
  CONFIG,
  ENGINE,
  ENGINE_PROVIDERS,
  engineProvider,
  EXPORTED,
  guardList,
  HTTP_PROVIDERS,
  instantiatedOnce,
} from './providers.js';

const DEFAULT_PATH = 'api/session';

// The builder removes only the keys that it knows from the options. `assemble` sets the defaults, because a key may also be
// given as undefined.
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
  isGlobal: undefined,
  imports: undefined,
};

/** The options of Nest's own `forRootAsync`, besides `imports`. */
const FACTORY_KEYS = ['useFactory', 'useClass', 'useExisting', 'inject', 'provideInjectionTokensFrom'];

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
  @Inject(ENGINE) private readonly engine!: Engine;

  /** Takes the options as values. The session types are the keys of `policies`. */
  static override forRoot(options: MultiSessionModuleOptions): DynamicModule {
    return super.forRoot({ ...options, sessionTypes: Object.keys(options.policies ?? {}) });
  }

  /**
   * Takes the options from a factory or a class. Pass the static options next to it, because Nest must know them before it
   * calls the factory. `sessionTypes` is required.
   * @throws MultiSessionConfigurationError if `sessionTypes` is missing or a key is not a static option
   */
  static override forRootAsync(options: MultiSessionModuleAsyncOptions): DynamicModule {
    const known = [...Object.keys(STATIC_KEYS), ...FACTORY_KEYS];
    const faults = Object.keys(options)
      .filter((key) => !known.includes(key))
      .map(
        (key) =>
          `${key}: is not a static option, so return it from the factory; static options are ${known.join(', ')}`,
      );
    if (!options.sessionTypes?.length) {
      faults.push(
        "sessionTypes: is missing; name the session types beside the factory, for example sessionTypes: ['SHORT', 'LONG']",
      );
    }
    if (faults.length > 0) throw new MultiSessionConfigurationError(faults);
    return super.forRootAsync(options);
  }

  /**
   * Starts the engine.
   * @internal
   */
  async onModuleInit(): Promise<void> {
    const { telemetry, push, poller, managedKeys, dailyCounts, cleanup } = this.engine;
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
    cleanup.start();
  }

  /**
   * Writes what is still in memory while the database connection is open.
   * @internal
   */
  async beforeApplicationShutdown(): Promise<void> {
    const { cleanup, seen, knownDevices, dailyCounts } = this.engine;
    await cleanup.stop();
    await seen.flush();
    await knownDevices.settled();
    await dailyCounts.flush();
  }

  /**
   * Stops the engine. Polls go on until here, when the last request has been answered.
   * @internal
   */
  async onApplicationShutdown(): Promise<void> {
    const { push, poller, managedKeys, dailyCounts, telemetry } = this.engine;
    await push.stop();
    await poller.stop();
    await managedKeys.stop();
    await dailyCounts.flushLast();
    telemetry.stop();
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
    useFactory: (engine: Engine) => engine.policies.named(type),
    inject: [ENGINE],
  }));
  const config = {
    provide: CONFIG,
    useFactory: (given: MultiSessionOptions) =>
      readOptions(given, sessionTypes, controller ? path : '', {
        devices: devices !== false,
        admin: admin !== undefined,
      }),
    inject: [MODULE_OPTIONS_TOKEN],
  };
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
      config,
      { provide: UserAuthenticator, ...(authenticator ?? { useValue: null }) } as Provider,
      engineProvider(dataSource),
      ...ENGINE_PROVIDERS,
      ...HTTP_PROVIDERS,
      ...instantiatedOnce([...loginGuards, ...adminGuards]),
      guardList(LOGIN_GUARDS, loginGuards),
      guardList(ADMIN_GUARDS, adminGuards),
      ...policies,
    ],
    exports: [...(definition.exports ?? []), TypeOrmModule, ...policies.map((policy) => policy.provide), ...EXPORTED],
  };
}

/**
 * Returns the guards of the administrators' routes.
 * @throws MultiSessionConfigurationError if there is no guard, because these routes must never be open
 */
function adminGuardsOf({ guard }: AdminOptions): Type<CanActivate>[] {
  const guards = [guard ?? []].flat();
  if (guards.length > 0 && guards.every((one) => typeof one === 'function')) return guards;
  throw new MultiSessionConfigurationError([
    'admin.guard: is missing; name the guard class that lets administrators pass and refuses all others',
  ]);
}
