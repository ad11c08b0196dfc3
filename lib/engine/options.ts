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

/** The values: what `forRoot` takes beside the static part, and what the factory of `forRootAsync` returns. */
export interface MultiSessionOptions extends HttpOptions {
  /** Keys, names of claims, and the lifetime of access tokens. */
  jwt: JwtOptions;
  /** A policy for each session type, by its name. */
  policies: Record<string, SessionPolicyOptions>;
  /**
   * How many sessions a user may have over all types. A login when they are reached does what `whenFull` of its type says, with
   * the sessions of every type. Default: any number.
   */
  maxActiveSessionsPerUser?: number;
  /**
   * For how long the devices that a user logs in from are remembered, so that `login.new-device` tells of others; `false` for not
   * at all. Default: `false`, since it costs a statement behind each login.
   */
  rememberDevices?: Duration | false;
  /**
   * Whether logins and endings are counted by the day, for the figures of administrators. To be set in every application that
   * shares the tables. Default: true where the option `admin` is set, else false.
   */
  dailyCounts?: boolean;
  /** What a user's id is read back as. Default: `'string'`. */
  userIdType?: 'string' | 'number';
  /** How processes learn that a session has ended. */
  revocation?: RevocationOptions;
  /** How expired rows are deleted. Default: every ten minutes. `false`: the application calls `SessionCleanup.run()`. */
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

/** Who may see and end everybody's sessions. */
export interface AdminOptions {
  /**
   * What lets administrators pass, and nobody else: one or several, one after the other, as `[JwtAuthGuard, AdministratorGuard]`.
   * They are made by Nest, from what `imports` has.
   */
  guard: Type<CanActivate> | readonly Type<CanActivate>[];
  /** A class of the application's that extends `AdminSessionsController`. Default: `AdminSessionsController`. */
  controller?: Type<AdminSessionsController>;
}

/** The names that Nest must know before anything runs. */
export interface MultiSessionStaticOptions {
  /**
   * The application's users: a `UserAuthenticator`, or a `UserDirectory` if they have no passwords. Default: none. Without
   * `authenticate`, sessions come from `SessionService.create` only.
   */
  authenticator?: AuthenticatorProvider;
  /** `forRootAsync` alone: the names of the session types, the same as the factory's `policies`. */
  sessionTypes?: readonly string[];
  /** The prefix of the routes. Default: `'api/session'`; none where `controller` is a class of the application. */
  path?: string;
  /** A subclass of `SessionsController` under its own `@Controller()`, or `false` for no routes. Default: `SessionsController`. */
  controller?: Type<SessionsController> | false;
  /**
   * `GET sessions` and the routes beside it, and `verify/`: a class of the application's that extends `SessionManagementController`,
   * or `false` for none. Default: `SessionManagementController` where `controller` is not set, else none.
   */
  management?: Type<SessionManagementController> | false;
  /** The routes of drf-jwt-devices: true, or a class of the application's that extends `DevicesController`. Default: false. */
  devices?: boolean | Type<DevicesController>;
  /**
   * Guards that each login and `reauthenticate/` must pass beyond the secret key, before a password is looked at: a captcha, a
   * second factor. They are made by Nest, from what `imports` has. Default: none.
   */
  loginGuards?: readonly Type<CanActivate>[];
  /** The routes of administrators. Default: none. */
  admin?: AdminOptions;
  /** The name of the TypeORM DataSource. Default: the default one. */
  dataSource?: string;
  /** Default: true, since guards in feature modules find what they need only so. */
  isGlobal?: boolean;
  /** Modules whose providers the authenticator needs. */
  imports?: ModuleMetadata['imports'];
}

/** What `MultiSessionModule.forRoot` takes. */
export type MultiSessionModuleOptions = MultiSessionOptions & Omit<MultiSessionStaticOptions, 'sessionTypes'>;

/** What `MultiSessionModule.forRootAsync` takes: `useFactory`, `useClass` or `useExisting` for the values, the rest beside it. */
export type MultiSessionModuleAsyncOptions = ConfigurableModuleAsyncOptions<MultiSessionOptions> &
  MultiSessionStaticOptions;

/** So many managed keys are kept at most. */
const MAX_MANAGED_KEYS = 1000;

/** All options, checked and completed, each room's own apart. */
export interface MultiSessionConfig {
  readonly tokens: TokenConfig;
  readonly http: HttpConfig;
  readonly policies: ReadonlyMap<string, SessionPolicyConfig>;
  readonly maxActiveSessionsPerUser: number;
  /** Milliseconds; 0 for not at all. */
  readonly rememberDevices: number;
  readonly dailyCounts: boolean;
  readonly revocation: RevocationConfig;
  readonly cleanup: CleanupConfig;
}

/**
 * Checks the options once, at start.
 * @param sessionTypes the names that were given statically; they must be those of `policies`
 * @param path where the routes are. Default: at the root
 * @param routes which routes there are beside the usual ones: `devices` need a permanent session type, `admin` wants daily counts
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
    faults.add('permanentTokenHeader', 'must not be jwt.header.name, in which access tokens travel');
  if (routes.devices && ![...config.policies.values()].some(({ permanent }) => permanent))
    faults.add(
      'devices',
      'needs a permanent session type; give one, for example policies: { DEVICE: PERMANENT_DEVICE }',
    );
  checkKeysAreFew(config, faults);
  if (faults.list.length > 0)
    throw new MultiSessionConfigurationError(faults.list.map((fault) => fault.replace(/^options\./, '')));
  return config;
}

/** Each key is kept as long as a token of it can be live, and read with every poll. */
function checkKeysAreFew({ tokens, policies }: MultiSessionConfig, faults: OptionFaults): void {
  const longest = Math.max(...[...policies.values()].map((policy) => policy.refreshTokenLifetime));
  const keys = tokens.managed?.rotateEvery ? longest / tokens.managed.rotateEvery : 0;
  if (keys > MAX_MANAGED_KEYS)
    faults.add(
      'jwt.managed.rotateEvery',
      `would keep ${Math.round(keys)} keys, since a refresh token can live so long`,
    );
}

function checkTypesAgree(declared: readonly string[], configured: readonly string[], faults: OptionFaults): void {
  const missing = declared.filter((type) => !configured.includes(type));
  const undeclared = configured.filter((type) => !declared.includes(type));
  if (missing.length > 0) faults.add('sessionTypes', `names ${missing.join(', ')}, which policies does not`);
  if (undeclared.length > 0) faults.add('sessionTypes', `does not name ${undeclared.join(', ')}, which policies does`);
}

/** Who knows the secret key may log in; who knows the signing secret may be anybody. */
function checkSecretsDiffer({ tokens, http }: MultiSessionConfig, faults: OptionFaults): void {
  const secrets = tokens.keys.flatMap((key) => (key.verifyingKey.type === 'secret' ? [key.verifyingKey.export()] : []));
  secrets.push(...(tokens.managed?.encryptionKeys ?? []).map((key) => Buffer.from(key)));
  for (const secretKey of http.secretKeys || []) {
    const bytes = Buffer.from(secretKey);
    if (secrets.some((secret) => secret.length === bytes.length && timingSafeEqual(secret, bytes))) {
      faults.add(
        'secretKey',
        'must not be the signing secret, nor the encryption key: whoever knows it could sign tokens; give another',
      );
    }
  }
}
