import type { CanActivate, InjectionToken, Provider, Type } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { getDataSourceToken } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { AdminGuards } from '../admin/admin.guards.js';
import { DailyCounts } from '../admin/statistics/daily-counts.js';
import { DeviceLoginFormat } from '../compat/drf-jwt-devices/device-login-format.js';
import { Clock } from '../database/clock.js';
import { createEngine, type Engine } from '../engine/engine.js';
import type { MultiSessionConfig } from '../engine/options.js';
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
import { UserAuthenticator, type UserDirectory } from '../session/authenticator.js';
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

/** The injection tokens of the parts of the engine. */
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

/** The dependencies of guards in other modules, and the providers that applications inject. */
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

/**
 * Provides the engine.
 * @param dataSource the name of the DataSource. Default: the default one
 */
export function engineProvider(dataSource: string | undefined): Provider {
  return {
    provide: ENGINE,
    useFactory: (config: MultiSessionConfig, source: DataSource, moduleRef: ModuleRef) => {
      let users: UserDirectory | null | undefined;
      return createEngine(config, source, {
        users: () => {
          if (users === undefined) users = moduleRef.get<UserDirectory | null>(UserAuthenticator, { strict: true });
          return users;
        },
      });
    },
    inject: [CONFIG, getDataSourceToken(dataSource), ModuleRef],
  };
}

/** Returns the application's guards as providers, without those that this module provides anyway. */
export function instantiatedOnce(guards: readonly Type<CanActivate>[]): Type<CanActivate>[] {
  return [...new Set(guards)].filter((guard) => !HTTP_PROVIDERS.includes(guard));
}

/** Provides the instances of these guards as one list. */
export function guardList(token: string, guards: readonly Type<CanActivate>[]): Provider {
  return { provide: token, useFactory: (...instances: CanActivate[]) => instances, inject: [...guards] };
}
