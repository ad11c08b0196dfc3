import type { CanActivate, ConfigurableModuleAsyncOptions, ModuleMetadata, Type } from '@nestjs/common';
import type { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import type { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import { HTTP_CHECKS, type HttpConfig, type HttpOptions, toHttpConfig } from '../http/options.js';
import type { SessionManagementController } from '../http/session-management.controller.js';
import type { SessionsController } from '../http/sessions.controller.js';
import { MultiSessionConfigurationError } from '../errors.js';
import {
  checkLegacyTokens,
  type LegacyTokenConfig,
  type LegacyTokenOptions,
  readLegacyTokens,
} from '../legacy/options.js';
import {
  boolean,
  checkObject,
  type Duration,
  duration,
  OptionFaults,
  oneOf,
  positiveInteger,
  withDefault,
} from '../option-check.js';
import {
  type IdentityProviderConfig,
  type IdentityProviderOptions,
  readIdentityProviders,
} from '../signals/options.js';
import { type EventsConfig, type EventsOptions, readEventsOptions } from '../outbox/options.js';
import { readRevocationOptions, type RevocationConfig, type RevocationOptions } from '../revocation/options.js';
import { type CleanupConfig, type CleanupOptions, readCleanupOptions } from '../session/cleanup-options.js';
import { readPolicies, type SessionPolicyConfig, type SessionPolicyOptions } from '../session/options.js';
import type { AnyUserDirectory } from '../session/authenticator.js';
import { DEFAULT_MAX_SESSIONS } from '../session/policies.js';
import { type JwtOptions, readTokenOptions, type TokenConfig } from '../token/options.js';
import { checkSignals, checkStreamRoutes, checkTogether, checkTypesAgree } from './option-rules.js';

/**
 * The options that are values. You pass them to `forRoot` together with the static options, or return them from the factory
 * of `forRootAsync`.
 */
export interface MultiSessionOptions extends HttpOptions {
  /** Signing keys, claim names, and the lifetime of access tokens. */
  jwt: JwtOptions;
  /** A policy for each session type, by the type's name. */
  policies: Record<string, SessionPolicyOptions>;
  /**
   * How many active sessions a user may have over all types. When the limit is reached, `whenFull` of the new session's type
   * decides. Sessions of that type are evicted first. Default: no limit.
   */
  maxActiveSessionsPerUser?: number | undefined;
  /**
   * The most active sessions that a user may have over all types, even if no policy sets a limit. It bounds the work that one
   * user can cause. Logins at the same moment may exceed it. When it is reached, `whenFull` of the new session's type decides.
   * At most 1,000. Default: 100.
   */
  maxSessions?: number | undefined;
  /**
   * How long a user's devices are remembered. A login from any other device emits `login.new-device`. Default: `false`,
   * which turns it off, because it costs a statement after each login.
   */
  rememberDevices?: Duration | false | undefined;
  /**
   * Whether logins and endings are counted per day, for the administrators' statistics. Set it in every application that shares
   * the tables. Default: true if the option `admin` is set, else false.
   */
  dailyCounts?: boolean | undefined;
  /**
   * Keeps events in the database until they are delivered, to handlers marked with `@OnSessionEvent` and to webhooks. Set it in
   * every application that shares the tables. Default: false.
   */
  events?: EventsOptions | boolean | undefined;
  /** How long it is recorded what administrators did. Default: `'400d'`. */
  adminActionRetention?: Duration | undefined;
  /**
   * The identity providers that may end sessions, by logout tokens, security events or requests. Needs the static option
   * `signals`. Default: none.
   */
  identityProviders?: IdentityProviderOptions[] | undefined;
  /** The type of your user ids. Default: `'string'`. */
  userIdType?: 'string' | 'number' | undefined;
  /** How processes learn that a session has ended. */
  revocation?: RevocationOptions | undefined;
  /** How expired rows are deleted. Default: every ten minutes. With `false`, call `SessionCleanup.run()` yourself. */
  cleanup?: CleanupOptions | false | undefined;
  /**
   * The systems whose sessions you have imported, so that the tokens that their clients hold go on working. Default: none.
   */
  legacyTokens?: LegacyTokenOptions[] | undefined;
}

/**
 * How Nest provides the application's `UserAuthenticator` or `UserDirectory`. It is resolved at the first login, so it may
 * inject `SessionService`.
 */
export type AuthenticatorProvider =
  | { useClass: Type<AnyUserDirectory> }
  | { useExisting: Type<AnyUserDirectory> | string | symbol }
  | {
      useFactory: (...dependencies: never[]) => AnyUserDirectory | Promise<AnyUserDirectory>;
      inject?: unknown[] | undefined;
    };

/** The routes for administrators, who may list and end the sessions of all users. */
export interface AdminOptions {
  /**
   * The guards that let only administrators pass, called in order: `[JwtAuthGuard, AdministratorGuard]`. Nest instantiates
   * them. Add the modules that provide their dependencies to `imports`.
   */
  guard: Type<CanActivate> | readonly Type<CanActivate>[];
  /** Your subclass of `AdminSessionsController`. Default: `AdminSessionsController`. */
  controller?: Type<AdminSessionsController> | undefined;
}

/** The options that Nest must know before it calls a factory. */
export interface MultiSessionStaticOptions {
  /**
   * The application's users: a `UserAuthenticator`, or a `UserDirectory` if they have no passwords. Without a method
   * `authenticate`, sessions come from `SessionService.create` only. Default: none.
   */
  authenticator?: AuthenticatorProvider | undefined;
  /** Only for `forRootAsync`: the names of the session types, the same as the keys of the factory's `policies`. */
  sessionTypes?: readonly string[] | undefined;
  /** The prefix of the routes. Default: `'api/session'`, or no prefix if `controller` is your own class. */
  path?: string | undefined;
  /**
   * Your subclass of `SessionsController` with its own `@Controller()`, or `false` for no routes.
   * Default: `SessionsController`.
   */
  controller?: Type<SessionsController> | false | undefined;
  /**
   * The controller of `verify/`, `GET sessions` and the related routes. Set it to your subclass of
   * `SessionManagementController`, or to `false` for none. Default: `SessionManagementController` if `controller` is not
   * set, else none.
   */
  management?: Type<SessionManagementController> | false | undefined;
  /** The routes of drf-jwt-devices: true, or your subclass of `DevicesController`. Default: false. */
  devices?: boolean | Type<DevicesController> | undefined;
  /**
   * Guards that `login/` and `reauthenticate/` must pass before the password is checked, such as a captcha. Nest
   * instantiates them. Add the modules that provide their dependencies to `imports`. Default: none.
   */
  loginGuards?: readonly Type<CanActivate>[] | undefined;
  /** The routes for administrators. Default: none. */
  admin?: AdminOptions | undefined;
  /** Whether the routes exist at which the option `identityProviders` takes signals. Default: false. */
  signals?: boolean | undefined;
  /** Whether the routes exist at which receivers manage the streams of the option `events`, and poll them. Default: false. */
  eventStreams?: boolean | undefined;
  /** The name of the TypeORM DataSource. Default: the DataSource without a name. */
  dataSource?: string | undefined;
  /** Whether the module is global, so that guards in feature modules find their dependencies. Default: true. */
  isGlobal?: boolean | undefined;
  /** Modules whose providers the authenticator and the guards above need. */
  imports?: ModuleMetadata['imports'] | undefined;
}

/** The options of `MultiSessionModule.forRoot`. */
export type MultiSessionModuleOptions = MultiSessionOptions & Omit<MultiSessionStaticOptions, 'sessionTypes'>;

/**
 * The options of `MultiSessionModule.forRootAsync`. `useFactory`, `useClass` or `useExisting` provides the values. Static
 * options stand next to it.
 */
export type MultiSessionModuleAsyncOptions = ConfigurableModuleAsyncOptions<MultiSessionOptions> &
  MultiSessionStaticOptions;

/** The largest `maxSessions`: one transaction must be able to end all sessions of a user. */
const MAX_MAX_SESSIONS = 1000;
/** 400 days. */
const ADMIN_ACTION_RETENTION = 400 * 86_400_000;

/** All options, checked and completed, grouped by the part of the library that reads them. */
export interface MultiSessionConfig {
  readonly tokens: TokenConfig;
  readonly http: HttpConfig;
  readonly policies: ReadonlyMap<string, SessionPolicyConfig>;
  readonly maxActiveSessionsPerUser: number;
  readonly maxSessions: number;
  /** Milliseconds; 0 turns it off. */
  readonly rememberDevices: number;
  readonly dailyCounts: boolean;
  /** Null if it is off. */
  readonly events: EventsConfig | null;
  /** Milliseconds. */
  readonly adminActionRetention: number;
  readonly identityProviders: readonly IdentityProviderConfig[];
  readonly revocation: RevocationConfig;
  readonly cleanup: CleanupConfig;
  readonly legacyTokens: readonly LegacyTokenConfig[];
}

/**
 * Checks the options once, at start.
 * @param sessionTypes the session types that Nest knows statically, which must be the keys of `policies`
 * @param routes the optional routes: `devices` needs a permanent session type, `admin` turns daily counts on, `signals` needs
 * identity providers, and `eventStreams` needs streams whose receivers have keys
 * @throws MultiSessionConfigurationError that names every fault
 */
export function readOptions(
  given: MultiSessionOptions,
  sessionTypes: readonly string[],
  routes: { devices?: boolean; admin?: boolean; signals?: boolean; eventStreams?: boolean } = {},
): MultiSessionConfig {
  const faults = new OptionFaults();
  const {
    jwt: tokens,
    policies,
    maxActiveSessionsPerUser,
    maxSessions,
    rememberDevices,
    dailyCounts,
    events,
    adminActionRetention,
    identityProviders,
    revocation,
    cleanup,
    legacyTokens,
    ...http
  } = checkObject(given, 'options', faults, {
    jwt: (value: unknown) => readTokenOptions(value ?? {}, given?.userIdType ?? 'string', faults),
    policies: (value: unknown) => value,
    maxActiveSessionsPerUser: withDefault(Infinity, positiveInteger),
    maxSessions: withDefault(DEFAULT_MAX_SESSIONS, positiveInteger),
    rememberDevices: (value: unknown, name: string, all: OptionFaults) =>
      value === undefined || value === false ? 0 : duration()(value, name, all),
    dailyCounts: withDefault(routes.admin === true, boolean),
    events: readEventsOptions,
    adminActionRetention: withDefault(ADMIN_ACTION_RETENTION, duration()),
    identityProviders: readIdentityProviders,
    userIdType: withDefault('string', oneOf('string', 'number')),
    revocation: (value: unknown) => readRevocationOptions(value, faults),
    cleanup: (value: unknown) => readCleanupOptions(value, faults),
    legacyTokens: readLegacyTokens,
    ...HTTP_CHECKS,
  });
  const hasLifetime = given?.jwt?.accessTokenLifetime !== undefined;
  const readTypes = readPolicies(policies, tokens.accessTokenLifetime, faults, hasLifetime);
  const isBinding = [...readTypes.values()].some(({ binding }) => binding !== 'off');
  const config = {
    tokens,
    http: toHttpConfig(http, tokens.header, isBinding),
    policies: readTypes,
    maxActiveSessionsPerUser,
    maxSessions,
    rememberDevices,
    dailyCounts,
    events,
    adminActionRetention,
    identityProviders,
    revocation,
    cleanup,
    legacyTokens,
  };
  if (maxSessions > MAX_MAX_SESSIONS)
    faults.add('maxSessions', `must be at most ${MAX_MAX_SESSIONS}; got ${maxSessions}`);
  checkTypesAgree(sessionTypes, [...config.policies.keys()], faults);
  checkTogether(config, faults);
  checkLegacyTokens(config, faults);
  if (config.http.permanentTokenHeader.toLowerCase() === config.http.accessTokenHeader)
    faults.add('permanentTokenHeader', 'must differ from jwt.header.name, the header of access tokens');
  checkSignals(identityProviders, routes.signals, faults);
  checkStreamRoutes(config, routes.eventStreams, faults);
  if (routes.devices && ![...config.policies.values()].some(({ permanent }) => permanent))
    faults.add(
      'devices',
      'needs a permanent session type; add one, for example policies: { DEVICE: PERMANENT_DEVICE }',
    );
  if (faults.list.length > 0)
    throw new MultiSessionConfigurationError(faults.list.map((fault) => fault.replace(/^options\./, '')));
  return config;
}
