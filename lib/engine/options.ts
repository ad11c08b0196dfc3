import { timingSafeEqual } from 'node:crypto';
import type { CanActivate, ConfigurableModuleAsyncOptions, ModuleMetadata, Type } from '@nestjs/common';
import type { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import type { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import { HTTP_CHECKS, type HttpConfig, type HttpOptions, toHttpConfig } from '../http/options.js';
import type { SessionManagementController } from '../http/session-management.controller.js';
import type { SessionsController } from '../http/sessions.controller.js';
import { MultiSessionConfigurationError } from '../errors.js';
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
import { readRevocationOptions, type RevocationConfig, type RevocationOptions } from '../revocation/options.js';
import {
  type CleanupConfig,
  type CleanupOptions,
  readCleanupOptions,
  readPolicies,
  type SessionPolicyConfig,
  type SessionPolicyOptions,
} from '../session/options.js';
import type { AnyUserDirectory } from '../session/authenticator.js';
import { type JwtOptions, readTokenOptions, type TokenConfig } from '../token/options.js';

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
  maxActiveSessionsPerUser?: number;
  /**
   * How long a user's devices are remembered. A login from any other device emits `login.new-device`. Default: `false`,
   * which turns it off, because it costs a statement after each login.
   */
  rememberDevices?: Duration | false;
  /**
   * Whether logins and endings are counted per day, for the administrators' statistics. Set it in every application that shares
   * the tables. Default: true if the option `admin` is set, else false.
   */
  dailyCounts?: boolean;
  /** The type of your user ids. Default: `'string'`. */
  userIdType?: 'string' | 'number';
  /** How processes learn that a session has ended. */
  revocation?: RevocationOptions;
  /** How expired rows are deleted. Default: every ten minutes. With `false`, call `SessionCleanup.run()` yourself. */
  cleanup?: CleanupOptions | false;
}

/**
 * How Nest provides the application's `UserAuthenticator` or `UserDirectory`. It is resolved at the first login, so it may
 * inject `SessionService`.
 */
export type AuthenticatorProvider =
  | { useClass: Type<AnyUserDirectory> }
  | { useExisting: Type<AnyUserDirectory> | string | symbol }
  | { useFactory: (...dependencies: never[]) => AnyUserDirectory | Promise<AnyUserDirectory>; inject?: unknown[] };

/** The routes for administrators, who may list and end the sessions of all users. */
export interface AdminOptions {
  /**
   * The guards that let only administrators pass, called in order: `[JwtAuthGuard, AdministratorGuard]`. Nest instantiates
   * them. Add the modules that provide their dependencies to `imports`.
   */
  guard: Type<CanActivate> | readonly Type<CanActivate>[];
  /** Your subclass of `AdminSessionsController`. Default: `AdminSessionsController`. */
  controller?: Type<AdminSessionsController>;
}

/** The options that Nest must know before it calls a factory. */
export interface MultiSessionStaticOptions {
  /**
   * The application's users: a `UserAuthenticator`, or a `UserDirectory` if they have no passwords. Without a method
   * `authenticate`, sessions come from `SessionService.create` only. Default: none.
   */
  authenticator?: AuthenticatorProvider;
  /** Only for `forRootAsync`: the names of the session types, the same as the keys of the factory's `policies`. */
  sessionTypes?: readonly string[];
  /** The prefix of the routes. Default: `'api/session'`, or no prefix if `controller` is your own class. */
  path?: string;
  /**
   * Your subclass of `SessionsController` with its own `@Controller()`, or `false` for no routes.
   * Default: `SessionsController`.
   */
  controller?: Type<SessionsController> | false;
  /**
   * The controller of `verify/`, `GET sessions` and the related routes. Set it to your subclass of
   * `SessionManagementController`, or to `false` for none. Default: `SessionManagementController` if `controller` is not
   * set, else none.
   */
  management?: Type<SessionManagementController> | false;
  /** The routes of drf-jwt-devices: true, or your subclass of `DevicesController`. Default: false. */
  devices?: boolean | Type<DevicesController>;
  /**
   * Guards that `login/` and `reauthenticate/` must pass before the password is checked, such as a captcha. Nest
   * instantiates them. Add the modules that provide their dependencies to `imports`. Default: none.
   */
  loginGuards?: readonly Type<CanActivate>[];
  /** The routes for administrators. Default: none. */
  admin?: AdminOptions;
  /** The name of the TypeORM DataSource. Default: the DataSource without a name. */
  dataSource?: string;
  /** Whether the module is global, so that guards in feature modules find their dependencies. Default: true. */
  isGlobal?: boolean;
  /** Modules whose providers the authenticator and the guards above need. */
  imports?: ModuleMetadata['imports'];
}

/** The options of `MultiSessionModule.forRoot`. */
export type MultiSessionModuleOptions = MultiSessionOptions & Omit<MultiSessionStaticOptions, 'sessionTypes'>;

/**
 * The options of `MultiSessionModule.forRootAsync`. `useFactory`, `useClass` or `useExisting` provides the values. Static
 * options stand next to it.
 */
export type MultiSessionModuleAsyncOptions = ConfigurableModuleAsyncOptions<MultiSessionOptions> &
  MultiSessionStaticOptions;

/** Maximum number of managed keys that the options may lead to. */
const MAX_MANAGED_KEYS = 1000;

/** All options, checked and completed, grouped by the part of the library that reads them. */
export interface MultiSessionConfig {
  readonly tokens: TokenConfig;
  readonly http: HttpConfig;
  readonly policies: ReadonlyMap<string, SessionPolicyConfig>;
  readonly maxActiveSessionsPerUser: number;
  /** Milliseconds; 0 turns it off. */
  readonly rememberDevices: number;
  readonly dailyCounts: boolean;
  readonly revocation: RevocationConfig;
  readonly cleanup: CleanupConfig;
}

/**
 * Checks the options once, at start.
 * @param sessionTypes the session types that Nest knows statically, which must be the keys of `policies`
 * @param path the prefix of the routes. Default: the root
 * @param routes the optional routes: `devices` needs a permanent session type, `admin` turns daily counts on
 * @throws MultiSessionConfigurationError that names every fault
 */
export function readOptions(
  given: MultiSessionOptions,
  sessionTypes: readonly string[],
  path = '',
  routes: { devices?: boolean; admin?: boolean } = {},
): MultiSessionConfig {
  const faults = new OptionFaults();
  const {
    jwt: tokens,
    policies,
    maxActiveSessionsPerUser,
    rememberDevices,
    dailyCounts,
    revocation,
    cleanup,
    ...http
  } = checkObject(given, 'options', faults, {
    jwt: (value: unknown) => readTokenOptions(value ?? {}, given?.userIdType ?? 'string', faults),
    policies: (value: unknown) => value,
    maxActiveSessionsPerUser: withDefault(Infinity, positiveInteger),
    rememberDevices: (value: unknown, name: string, all: OptionFaults) =>
      value === undefined || value === false ? 0 : duration()(value, name, all),
    dailyCounts: withDefault(routes.admin === true, boolean),
    userIdType: withDefault('string', oneOf('string', 'number')),
    revocation: (value: unknown) => readRevocationOptions(value, faults),
    cleanup: (value: unknown) => readCleanupOptions(value, faults),
    ...HTTP_CHECKS,
  });
  const config = {
    tokens,
    http: toHttpConfig(http, tokens.header, `/${path.replace(/^\/+|\/+$/g, '')}`),
    policies: readPolicies(policies, tokens.accessTokenLifetime, faults),
    maxActiveSessionsPerUser,
    rememberDevices,
    dailyCounts,
    revocation,
    cleanup,
  };
  checkTypesAgree(sessionTypes, [...config.policies.keys()], faults);
  checkSecretsDiffer(config, faults);
  if (config.http.permanentTokenHeader.toLowerCase() === config.http.accessTokenHeader)
    faults.add('permanentTokenHeader', 'must differ from jwt.header.name, the header of access tokens');
  if (routes.devices && ![...config.policies.values()].some(({ permanent }) => permanent))
    faults.add(
      'devices',
      'needs a permanent session type; add one, for example policies: { DEVICE: PERMANENT_DEVICE }',
    );
  checkKeysAreFew(config, faults);
  if (faults.list.length > 0)
    throw new MultiSessionConfigurationError(faults.list.map((fault) => fault.replace(/^options\./, '')));
  return config;
}

/**
 * Limits the number of managed keys. A key is kept as long as one of its tokens can be live, and every poll reads all keys.
 */
function checkKeysAreFew({ tokens, policies }: MultiSessionConfig, faults: OptionFaults): void {
  const longest = Math.max(...[...policies.values()].map((policy) => policy.refreshTokenLifetime));
  const keys = tokens.managed?.rotateEvery ? longest / tokens.managed.rotateEvery : 0;
  if (keys > MAX_MANAGED_KEYS)
    faults.add(
      'jwt.managed.rotateEvery',
      `is so short that ${Math.round(keys)} keys would be kept for the longest refresh token; at most ${MAX_MANAGED_KEYS} are allowed, so make it longer`,
    );
}

function checkTypesAgree(declared: readonly string[], configured: readonly string[], faults: OptionFaults): void {
  const missing = declared.filter((type) => !configured.includes(type));
  const undeclared = configured.filter((type) => !declared.includes(type));
  if (missing.length > 0)
    faults.add('sessionTypes', `names ${missing.join(', ')}, which policies does not; use the same names in both`);
  if (undeclared.length > 0)
    faults.add(
      'sessionTypes',
      `does not name ${undeclared.join(', ')}, which policies does; use the same names in both`,
    );
}

/**
 * Checks that the secret key differs from the other secrets. Front ends may know the secret key, but whoever knows the
 * signing secret can forge tokens of any user.
 */
function checkSecretsDiffer({ tokens, http }: MultiSessionConfig, faults: OptionFaults): void {
  const secrets = tokens.keys.flatMap((key) => (key.verifyingKey.type === 'secret' ? [key.verifyingKey.export()] : []));
  secrets.push(...(tokens.managed?.encryptionKeys ?? []).map((key) => Buffer.from(key)));
  for (const secretKey of http.secretKeys || []) {
    const bytes = Buffer.from(secretKey);
    if (secrets.some((secret) => secret.length === bytes.length && timingSafeEqual(secret, bytes))) {
      faults.add(
        'secretKey',
        'must differ from the signing secret and the encryption key: whoever knows it could sign tokens; choose another',
      );
    }
  }
}
