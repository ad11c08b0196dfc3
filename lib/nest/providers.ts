import type { CanActivate, InjectionToken, Provider, Type } from '@nestjs/common';
import { ModuleRef, ModulesContainer } from '@nestjs/core';
import { getDataSourceToken } from '@nestjs/typeorm';
import type { DataSource } from 'typeorm';
import { AdminGuards } from '../admin/admin.guards.js';
import { DpopProofs } from '../binding/dpop.js';
import { DailyCounts } from '../admin/statistics/daily-counts.js';
import { DeviceLoginFormat } from '../compat/drf-jwt-devices/device-login-format.js';
import { DbscChallenges } from '../binding/dbsc-challenge.js';
import { SessionConnections } from '../connections/session-connections.js';
import { Clock } from '../database/clock.js';
import { createEngine, type Engine } from '../engine/engine.js';
import type { MultiSessionConfig } from '../engine/options.js';
import { SessionFeed } from '../feed/session-feed.js';
import { LOGIN_GUARDS, LoginGuards } from '../http/application-guards.js';
import { GatewayAuthorization } from '../http/authorize.js';
import { CookieAnswers } from '../http/cookie-answers.js';
import { CookieEvidence } from '../http/cookie-evidence.js';
import { CookiePath } from '../http/cookie-path.js';
import { CsrfGuard } from '../http/csrf.guard.js';
import { DbscOffer } from '../http/dbsc-offer.js';
import { DbscRedirect } from '../http/dbsc-redirect.js';
import { DeviceProofs } from '../http/device-proofs.js';
import { DeviceProofGuard } from '../http/device-proof.guard.js';
import { DpopTransport } from '../http/dpop-transport.js';
import { JwtAuthGuard } from '../http/jwt-auth.guard.js';
import { LoginAnswerFormat } from '../http/login-answer-format.js';
import { HTTP_CONFIG } from '../http/options.js';
import { ProvenRefresh } from '../http/proven-refresh.js';
import { RefreshTransport } from '../http/refresh-transport.js';
import { RouteRulesCheck } from '../http/route-rules-check.js';
import { BackendCallers, BackendKeyGuard, OwnBackendKeyGuard, SecretKeyGuard } from '../http/secret-key.guard.js';
import { SessionCookies } from '../http/session-cookies.js';
import { ManagedKeys } from '../keys/managed-keys.js';
import { KnownDevices } from '../known-devices/known-devices.js';
import { EventAdministration } from '../outbox/event-administration.js';
import { EventStreams } from '../outbox/event-streams.js';
import { SessionHistory } from '../outbox/session-history.js';
import { SecurityReport } from '../report/security-report.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { UserAuthenticator } from '../session/authenticator.js';
import { SessionAdministration } from '../session/administration.js';
import { SessionCleanup } from '../session/cleanup.js';
import { DeviceKeys } from '../session/device-keys.js';
import { EndedSessions } from '../session/ended-sessions.js';
import { SessionEvents } from '../session/events.js';
import { OldSessionIds } from '../session/old-session-ids.js';
import { SessionPolicies } from '../session/policies.js';
import { SessionService } from '../session/service.js';
import { SignalReceiver } from '../signals/signal-receiver.js';
import { StreamMetadata } from '../streams/stream-metadata.js';
import { StreamReceivers } from '../streams/stream-receivers.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { derivedKeys } from '../token/derived-keys.js';
import { Keyring } from '../token/keyring.js';
import { FastifyBodies } from './fastify-bodies.js';
import { PrefixWarning } from './prefix-warning.js';
import { SessionHealthIndicator } from './session-health.indicator.js';
import { CONFIG, ENGINE } from './tokens.js';
import { type UsersProvider, usersOf } from './users.js';

/** The injection tokens of the parts of the engine. */
const FROM_ENGINE: readonly (readonly [InjectionToken, (engine: Engine) => unknown])[] = [
  [HTTP_CONFIG, ({ config }) => config.http],
  [AccessVerifier, ({ access }) => access],
  [Clock, ({ clock }) => clock],
  [CookieEvidence, ({ config, keyring }) => new CookieEvidence(config.http.cookies, config.tokens, keyring)],
  [DbscChallenges, ({ config }) => new DbscChallenges(derivedKeys(config.tokens, 'dbsc challenge'))],
  [DailyCounts, ({ dailyCounts }) => dailyCounts],
  [DpopProofs, ({ dpop }) => dpop],
  [DeviceKeys, ({ deviceKeys }) => deviceKeys],
  [EventAdministration, ({ eventAdministration }) => eventAdministration],
  [EventStreams, ({ outbox }) => outbox.streams],
  [SessionHistory, ({ history }) => history],
  [Keyring, ({ keyring }) => keyring],
  [EndedSessions, ({ knownEndings }) => knownEndings],
  [KnownDevices, ({ knownDevices }) => knownDevices],
  [ManagedKeys, ({ managedKeys }) => managedKeys],
  [OldSessionIds, ({ oldSessionIds }) => oldSessionIds],
  [SessionAdministration, ({ administration }) => administration],
  [SessionCleanup, ({ cleanup }) => cleanup],
  [SessionFeed, ({ feed }) => feed],
  [SessionEvents, ({ events }) => events],
  [SessionPolicies, ({ policies }) => policies],
  [SessionService, ({ sessions }) => sessions],
  [SignalReceiver, ({ signals }) => signals],
  [StreamReceivers, ({ config }) => new StreamReceivers(config.events, config.tokens)],
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
  BackendKeyGuard,
  OwnBackendKeyGuard,
  BackendCallers,
  CsrfGuard,
  GatewayAuthorization,
  JwtAuthGuard,
  RouteRulesCheck,
  LoginGuards,
  AdminGuards,
  CookiePath,
  SessionCookies,
  CookieAnswers,
  DbscOffer,
  DbscRedirect,
  { provide: DeviceProofs, useExisting: DbscRedirect },
  DeviceProofGuard,
  ProvenRefresh,
  RefreshTransport,
  DpopTransport,
  SessionConnections,
  FastifyBodies,
  StreamMetadata,
  PrefixWarning,
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
  DeviceProofs,
  DeviceProofGuard,
  DpopTransport,
  EndedSessions,
  EventAdministration,
  JwtAuthGuard,
  KnownDevices,
  LoginGuards,
  ManagedKeys,
  RefreshTransport,
  SecretKeyGuard,
  SecurityReport,
  SessionAdministration,
  SessionCleanup,
  SessionConnections,
  SessionCookies,
  SessionEvents,
  SessionHealthIndicator,
  SessionHistory,
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
    useFactory: (config: MultiSessionConfig, source: DataSource, moduleRef: ModuleRef, modules: ModulesContainer) =>
      createEngine(config, source, { users: usersOf(moduleRef, usersProviderIn(modules)) }),
    inject: [CONFIG, getDataSourceToken(dataSource), ModuleRef, ModulesContainer],
  };
}

/** Finds the provider of the application's users among all modules. */
export function usersProviderIn(modules: ModulesContainer): UsersProvider {
  const own = [...modules.values()].find((module) => module.providers.has(ENGINE));
  return own?.getProviderByKey(UserAuthenticator) as UsersProvider;
}

/** Returns the application's guards as providers, without those that this module provides anyway. */
export function instantiatedOnce(guards: readonly Type<CanActivate>[]): Type<CanActivate>[] {
  return [...new Set(guards)].filter((guard) => !HTTP_PROVIDERS.includes(guard));
}

/** Provides the instances of these guards as one list. */
export function guardList(token: string, guards: readonly Type<CanActivate>[]): Provider {
  return { provide: token, useFactory: (...instances: CanActivate[]) => instances, inject: [...guards] };
}
