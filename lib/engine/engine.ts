import type { DataSource } from 'typeorm';
import { DailyCounts } from '../admin/statistics/daily-counts.js';
import { Clock } from '../database/clock.js';
import { Database } from '../database/database.js';
import { ManagedKeys } from '../keys/managed-keys.js';
import { KnownDevices } from '../known-devices/known-devices.js';
import { Poller } from '../revocation/poller.js';
import { PushedRevocations } from '../revocation/pushed-revocations.js';
import { RevocationTable } from '../revocation/revocation-table.js';
import { RevokedSessions } from '../revocation/revoked-sessions.js';
import { SessionAccess } from '../session/access.js';
import { SessionAdministration } from '../session/administration.js';
import type { UserDirectory } from '../session/authenticator.js';
import { ChangeLog } from '../session/change-log.js';
import { ApplicationClaims } from '../session/claims.js';
import { SessionCleanup } from '../session/cleanup.js';
import { SessionEndings } from '../session/endings.js';
import { SessionEvents } from '../session/events.js';
import { SessionIntrospection } from '../session/introspection.js';
import { SessionLogin } from '../session/login.js';
import { SessionPolicies } from '../session/policies.js';
import { PushWriter } from '../session/push-writer.js';
import { SessionRefresh } from '../session/refresh.js';
import { SeenGenerations } from '../session/seen-generations.js';
import { SessionService } from '../session/service.js';
import { SessionStore } from '../session/store.js';
import { SessionTokens } from '../session/tokens.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { AccessTokens } from '../token/access-token.js';
import { Keyring } from '../token/keyring.js';
import { RefreshTokens } from '../token/refresh-token.js';
import type { MultiSessionConfig } from './options.js';
import { entryLife, keyActivation, keyRetention } from './timing.js';

/** What the engine asks of the application around it. */
export interface EnginePorts {
  /**
   * Returns the application's users. Called at each login and refresh and not at start, since the users may themselves
   * depend on `SessionService`. Default: there are none, and only `SessionService.create` makes sessions.
   */
  readonly users?: () => UserDirectory | null;
}

/** The object graph of the library, without Nest. */
export type Engine = ReturnType<typeof createEngine>;

/**
 * Builds the object graph. This is the only place that constructs it: the Nest module reads its providers from the result,
 * and so do the contract tests and the benchmarks.
 *
 * Nothing is started: no timer runs and no statement is sent before `poller.start()` and the like, which the Nest module
 * calls in its life-cycle hooks.
 * @param config checked options: the result of `readOptions`
 * @param dataSource an initialized DataSource that knows the entities of the library
 */
export function createEngine(config: MultiSessionConfig, dataSource: DataSource, ports: EnginePorts = {}) {
  const users = ports.users ?? (() => null);
  const clock = new Clock();
  const now = () => clock.now();
  const database = new Database(dataSource);
  const events = new SessionEvents();
  const policies = new SessionPolicies(config.policies, config.maxActiveSessionsPerUser);

  const keyring = new Keyring(config.tokens);
  const accessTokens = new AccessTokens(keyring, config.tokens, now);
  const refreshTokens = new RefreshTokens(keyring, config.tokens);
  const tokens = new SessionTokens(accessTokens, refreshTokens, config.tokens);

  const revoked = new RevokedSessions(config.revocation);
  revoked.onRevoked((session) => events.emit('session.revoked', session));
  const revocations = new RevocationTable(database);
  const push = new PushedRevocations(database, config.revocation, revoked, now);

  const changes = new ChangeLog(push.isTransactional ? [new PushWriter(push)] : []);
  const acceptedAfterEnd = entryLife(policies.longestAccessTokenLifetime, config.tokens.clockTolerance);
  const times = { acceptedAfterEnd, overlap: config.revocation.overlap, now };
  const store = new SessionStore(database, revocations, changes, times);
  const seen = new SeenGenerations((batch) => store.confirm(batch));
  const endings = new SessionEndings(store, policies, refreshTokens, revoked, push, events, clock, config.tokens);
  const claims = new ApplicationClaims(config.tokens, users);

  const managedKeys = new ManagedKeys(
    database,
    keyring,
    config.tokens.managed,
    keyTimes(config, policies),
    now,
    (manager, kid) => store.isKeyInUse(manager, kid),
  );
  if (managedKeys.isOn) keyring.isComplete = () => managedKeys.isLoaded && revoked.isUpToDate();
  const poller = new Poller(database, config.revocation, clock, revocations, revoked, managedKeys);

  const telemetry = new Telemetry();
  events.on('session.created', ({ session }) => telemetry.sessionCreated(session.type));
  events.on('session.ended', ({ session, reason }) => telemetry.sessionEnded(session.type, reason));
  telemetry.observe(revoked);

  const access = new SessionAccess(accessTokens, policies, revoked, store, seen, clock, config.tokens);
  const login = new SessionLogin(
    store,
    policies,
    endings,
    tokens,
    refreshTokens,
    claims,
    users,
    events,
    clock,
    config.tokens,
  );
  const refresh = new SessionRefresh(
    store,
    policies,
    endings,
    refreshTokens,
    tokens,
    claims,
    users,
    seen,
    events,
    telemetry,
    clock,
    config.tokens,
  );
  const introspection = new SessionIntrospection(accessTokens, refreshTokens, policies, store, clock, config.tokens);
  const sessions = new SessionService(
    { login, refresh, access, endings, introspection },
    store,
    policies,
    tokens,
    claims,
    telemetry,
    clock,
    config.tokens,
  );

  const knownDevices = new KnownDevices(database, events, config.rememberDevices, now);
  const dailyCounts = new DailyCounts(database, events, config.dailyCounts, now);
  const administration = new SessionAdministration(policies, store, endings, clock, config.tokens);
  const cleanup = new SessionCleanup(store, endings, policies, config.cleanup, now, knownDevices);

  return {
    config,
    database,
    clock,
    events,
    policies,
    keyring,
    managedKeys,
    revoked,
    revocations,
    push,
    poller,
    store,
    seen,
    endings,
    telemetry,
    access,
    sessions,
    knownDevices,
    dailyCounts,
    administration,
    cleanup,
  };
}

function keyTimes({ tokens, revocation }: MultiSessionConfig, policies: SessionPolicies) {
  const isPublic = tokens.managed?.algorithm.startsWith('HS') === false;
  const activation = keyActivation(revocation, isPublic);
  const longest = Math.max(policies.longestRefreshTokenLifetime, policies.longestAccessTokenLifetime);
  return { activation, retention: keyRetention(longest, tokens.clockTolerance, activation) };
}
