import type { InjectionToken, Provider } from '@nestjs/common';
import { AdminGuards } from '../admin/admin.guards.js';
import { DailyCounts } from '../admin/statistics/daily-counts.js';
import { DeviceLoginFormat } from '../compat/drf-jwt-devices/device-login-format.js';
import { Clock } from '../database/clock.js';
import type { Engine } from '../engine/engine.js';
import { LOGIN_GUARDS, LoginGuards } from '../http/application-guards.js';
import { CsrfGuard } from '../http/csrf.guard.js';
import { JwtAuthGuard } from '../http/jwt-auth.guard.js';
import { LoginAnswerFormat } from '../http/login-answer-format.js';
import { HTTP_CONFIG } from '../http/options.js';
import { RefreshTransport } from '../http/refresh-transport.js';
import { RequiredSecretKeyGuard, SecretKeyGuard } from '../http/secret-key.guard.js';
import { SessionCookies } from '../http/session-cookies.js';
import { ManagedKeys } from '../keys/managed-keys.js';
import { KnownDevices } from '../known-devices/known-devices.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { SessionAdministration } from '../session/administration.js';
import { SessionCleanup } from '../session/cleanup.js';
import { SessionEvents } from '../session/events.js';
import { SessionPolicies } from '../session/policies.js';
import { SessionService } from '../session/service.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { Keyring } from '../token/keyring.js';

/** The injection token of the checked options. */
export const CONFIG = 'MULTI_SESSION_CONFIG';

/** The injection token of the object graph. */
export const ENGINE = 'MULTI_SESSION_ENGINE';

/** What Nest injects from the engine. */
const FROM_ENGINE: readonly (readonly [InjectionToken, (engine: Engine) => unknown])[] = [
  [HTTP_CONFIG, ({ config }) => config.http],
  [AccessVerifier, ({ access }) => access],
  [Clock, ({ clock }) => clock],
  [DailyCounts, ({ dailyCounts }) => dailyCounts],
  [Keyring, ({ keyring }) => keyring],
  [KnownDevices, ({ knownDevices }) => knownDevices],
  [ManagedKeys, ({ managedKeys }) => managedKeys],
  [SessionAdministration, ({ administration }) => administration],
  [SessionCleanup, ({ cleanup }) => cleanup],
  [SessionEvents, ({ events }) => events],
  [SessionPolicies, ({ policies }) => policies],
  [SessionService, ({ sessions }) => sessions],
  [Telemetry, ({ telemetry }) => telemetry],
];

/** Providers that hand out parts of the engine. */
export const ENGINE_PROVIDERS: Provider[] = FROM_ENGINE.map(([provide, useFactory]) => ({
  provide,
  useFactory,
  inject: [ENGINE],
}));

/** Guards and helpers of the HTTP layer, which Nest instantiates. */
export const HTTP_PROVIDERS: Provider[] = [
  SecretKeyGuard,
  RequiredSecretKeyGuard,
  CsrfGuard,
  JwtAuthGuard,
  LoginGuards,
  AdminGuards,
  SessionCookies,
  RefreshTransport,
  { provide: LoginAnswerFormat, useClass: DeviceLoginFormat },
];

/** What guards in other modules are built from, and what applications inject. */
export const EXPORTED: InjectionToken[] = [
  HTTP_CONFIG,
  LOGIN_GUARDS,
  AccessVerifier,
  AdminGuards,
  CsrfGuard,
  DailyCounts,
  JwtAuthGuard,
  KnownDevices,
  LoginGuards,
  ManagedKeys,
  RefreshTransport,
  SecretKeyGuard,
  SessionAdministration,
  SessionCleanup,
  SessionCookies,
  SessionEvents,
  SessionPolicies,
  SessionService,
  Telemetry,
];
