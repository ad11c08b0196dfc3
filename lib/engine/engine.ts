import { Logger } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { AdminActions } from '../session/admin-actions.js';
import { DailyCounts } from '../admin/statistics/daily-counts.js';
import { DpopProofs } from '../binding/dpop.js';
import { Clock } from '../database/clock.js';
import { Database } from '../database/database.js';
import { Epochs } from '../database/epochs.js';
import { Job } from '../database/job.js';
import { SessionFeed } from '../feed/session-feed.js';
import { maxCookieValue } from '../http/cookie-size.js';
import { ManagedKeys } from '../keys/managed-keys.js';
import { KnownDevices } from '../known-devices/known-devices.js';
import { LegacyTokens } from '../legacy/legacy-tokens.js';
import { LookupTokens } from '../legacy/lookup-token.js';
import { EventAdministration } from '../outbox/event-administration.js';
import { Outbox } from '../outbox/outbox.js';
import { OutboxWriter } from '../outbox/outbox-writer.js';
import { EventRetention } from '../outbox/retention.js';
import { SessionHistory } from '../outbox/session-history.js';
import { Poller } from '../revocation/poller.js';
import { PushedRevocations } from '../revocation/pushed-revocations.js';
import { BlacklistPartitions } from '../revocation/blacklist-partitions.js';
import { RevocationTable } from '../revocation/revocation-table.js';
import { RevokedSessions } from '../revocation/revoked-sessions.js';
import { SessionAccess } from '../session/access.js';
import { AliasStore } from '../session/alias-store.js';
import { SessionAdministration } from '../session/administration.js';
import type { Users } from '../session/authenticator.js';
import { ChangeLog } from '../session/change-log.js';
import { ApplicationClaims } from '../session/claims.js';
import { SessionCleanup } from '../session/cleanup.js';
import { CleanupStore } from '../session/cleanup-store.js';
import { DeviceKeys } from '../session/device-keys.js';
import { EndReasons } from '../session/end-reasons.js';
import { EndAll } from '../session/end-all.js';
import { EndingStore } from '../session/ending-store.js';
import { SessionEndings } from '../session/endings.js';
import { SessionEvents } from '../session/events.js';
import { SessionIntrospection } from '../session/introspection.js';
import { LostEndings } from '../session/lost-endings.js';
import { KnownEndings } from '../session/known-endings.js';
import { SessionLogin } from '../session/login.js';
import { LoginStore } from '../session/login-store.js';
import { SessionPolicies } from '../session/policies.js';
import { OldAccess } from '../session/old-access.js';
import { OldSessionIds } from '../session/old-session-ids.js';
import { PresentedTokens } from '../session/presented-token.js';
import { ProviderSessions } from '../session/provider-sessions.js';
import { PushWriter } from '../session/push-writer.js';
import { SenderCheck } from '../session/sender-check.js';
import { SessionRefresh } from '../session/refresh.js';
import { RefreshStore } from '../session/refresh-store.js';
import { RowEndings } from '../session/row-endings.js';
import { SeenGenerations } from '../session/seen-generations.js';
import { SessionRenewal } from '../session/renewal.js';
import { SessionChanges } from '../session/changes.js';
import { SessionLists } from '../session/lists.js';
import { SessionService } from '../session/service.js';
import { SessionRows } from '../session/session-rows.js';
import { SessionStore } from '../session/store.js';
import { SessionTokens } from '../session/tokens.js';
import { UserRows } from '../session/user-row.js';
import { SignalReceiver } from '../signals/signal-receiver.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { AccessTokens } from '../token/access-token.js';
import type { Claims } from '../token/claims.js';
import { derivedKeys } from '../token/derived-keys.js';
import { Keyring } from '../token/keyring.js';
import { RefreshTokens } from '../token/refresh-token.js';
import type { MultiSessionConfig } from './options.js';
import { JOB_LEASE, keyActivation, keyRetention, SECOND_PASS_AFTER } from './timing.js';

/** What the engine needs from the application. */
export interface EnginePorts {
  /**
   * Returns the application's users. The engine calls it at each login and refresh but not at start, because the users may
   * depend on `SessionService` themselves. Default: no users. Sessions then come from `SessionService.create` only.
   */
  readonly users?: Users;
}

/** The object graph of the library, without Nest. */
export type Engine = ReturnType<typeof createEngine>;

/**
 * Builds the object graph. This is the only place that constructs it. The Nest module reads its providers from the result,
 * and so do the contract tests and the benchmarks.
 *
 * It starts no timer and sends no statement. The Nest module does both in its life-cycle hooks, with `poller.start()` and
 * the like.
 * @param config checked options: the result of `readOptions`
 * @param dataSource an initialized DataSource that has the entities of the library
 */
export function createEngine(config: MultiSessionConfig, dataSource: DataSource, ports: EnginePorts = {}) {
  const users: Users = ports.users ?? (() => null);
  const clock = new Clock();
  const now = () => clock.now();
  const database = new Database(dataSource);
  const events = new SessionEvents();
  const policies = new SessionPolicies(config.policies, config.maxActiveSessionsPerUser, config.maxSessions);

  const revoked = new RevokedSessions(
    config.revocation,
    (text) => new Logger('MultiSession').warn(text),
    () => clock.read(),
  );
  revoked.onRevoked((session) => events.emit('session.revoked', session));
  const epochs = new Epochs(database, () => revoked.isUpToDate());

  const keyring = new Keyring(config.tokens);
  const accessTokens = new AccessTokens(keyring, config.tokens, now, epochs);
  const refreshTokens = new RefreshTokens(keyring, config.tokens, epochs);
  const tokens = new SessionTokens(accessTokens, refreshTokens, config.tokens);

  const revocations = new RevocationTable(database);
  const push = new PushedRevocations(database, config.revocation, pushSecrets(config), revoked, clock);
  const dpop = new DpopProofs(() => derivedKeys(config.tokens, 'dpop nonce'), now);
  dpop.listen((proof) => push.publishProof(proof));
  push.listenForProofs((proof) => dpop.addUsed(proof));

  const cleanupJob = new Job(database, 'cleanup', JOB_LEASE, true);
  const adminActions = new AdminActions(database, cleanupJob, config.adminActionRetention, now, config.tokens);
  const changes = new ChangeLog([
    adminActions,
    ...(config.events ? [new OutboxWriter(database, now)] : []),
    ...(push.isTransactional ? [new PushWriter(push)] : []),
  ]);
  const history = new SessionHistory(database, config.tokens);
  const telemetry = new Telemetry();
  const sign = (given: Claims, audience: string) => keyring.signFor(given, 'secevent+jwt', audience);
  const outbox = new Outbox(database, events, config.events, config.tokens, now, sign, telemetry);
  const times = {
    longestAccessLifetime: policies.longestAccessTokenLifetime,
    assumedAccessSeconds: config.tokens.assumedAccessLifetime / 1000,
    overlap: config.revocation.overlap,
    now,
  };
  const hasEnded = (sessionId: string) => revoked.hasEnded(sessionId);
  const userRows = new UserRows(database);
  const rows = new SessionRows(database, now);
  const rowEndings = new RowEndings(database, changes, times);
  const store = new SessionStore(database, rows, hasEnded);
  const aliases = new AliasStore(database);
  const { legacyTokens } = config;
  const oldTokens = new LegacyTokens(legacyTokens, aliases, epochs, now, config.tokens);
  const presented = new PresentedTokens(refreshTokens, oldTokens);
  const oldSessionIds = new OldSessionIds(aliases, new Set(legacyTokens.map(({ system }) => system)));
  const providerSessions = new ProviderSessions(
    database,
    new Set(config.identityProviders.map(({ issuer }) => issuer)),
    cleanupJob,
  );
  const loginStore = new LoginStore(database, userRows, rows, rowEndings, changes);
  const refreshStore = new RefreshStore(database, revocations, times.assumedAccessSeconds, changes);
  const endingStore = new EndingStore(database, userRows, rows, rowEndings, now);
  const partitions = new BlacklistPartitions(database);
  const cleanupStore = new CleanupStore(database, cleanupJob, userRows, rowEndings, revocations, partitions, times);
  const lost = new LostEndings(database, userRows, rows, rowEndings, revocations, revoked, now);
  const seen = new SeenGenerations((batch) => refreshStore.confirm(batch));
  const endings = new SessionEndings(
    store,
    endingStore,
    policies,
    presented,
    revoked,
    push,
    events,
    clock,
    config.tokens,
    lost,
  );
  const deviceKeys = new DeviceKeys(database, refreshStore, policies, endings);
  const claims = new ApplicationClaims(config.tokens, users);

  const managedKeys = new ManagedKeys(
    database,
    keyring,
    config.tokens.managed,
    keyTimes(config, policies),
    now,
    epochs,
    (kid) => store.isKeyInUse(kid),
  );
  if (managedKeys.isOn) keyring.isComplete = () => managedKeys.isLoaded && revoked.isUpToDate();
  const poller = new Poller(database, config.revocation, clock, revoked, epochs, lost, managedKeys);

  const feed = new SessionFeed(revoked, epochs, clock, config.revocation, policies, config.tokens);

  events.on('session.created', ({ session }) => telemetry.sessionCreated(session.type));
  events.on('session.ended', ({ session, reason }) => telemetry.sessionEnded(session.type, reason));
  telemetry.observe(revoked);

  const lookup = legacyTokens.find(({ system }) => system === 'django-token-manager');
  const oldAccess =
    lookup &&
    new OldAccess(new LookupTokens(lookup, aliases, now), accessTokens, policies, users, clock, config.tokens);
  const access = new SessionAccess(
    accessTokens,
    policies,
    revoked,
    store,
    seen,
    clock,
    config.tokens,
    new SenderCheck(dpop),
    oldAccess,
  );
  const knownEndings = new KnownEndings(events, accessTokens, policies, revoked, store, clock);
  const login = new SessionLogin(
    store,
    loginStore,
    policies,
    endings,
    tokens,
    refreshTokens,
    claims,
    users,
    events,
    clock,
    config.tokens,
    providerSessions,
  );
  const refresh = new SessionRefresh(
    store,
    refreshStore,
    policies,
    endings,
    presented,
    refreshTokens,
    tokens,
    claims,
    users,
    seen,
    events,
    telemetry,
    clock,
    config.tokens,
    changes,
    new EndReasons(database, config.events ? history : undefined),
  );
  const renewal = new SessionRenewal(
    refreshStore,
    policies,
    refreshTokens,
    tokens,
    claims,
    users,
    seen,
    events,
    telemetry,
    config.tokens,
    times.assumedAccessSeconds,
    hasEnded,
  );
  const introspection = new SessionIntrospection(accessTokens, presented, policies, store, clock, config.tokens);
  const lists = new SessionLists(store, policies, clock, config.tokens);
  const maxCookieToken = maxCookieValue(config.http.cookies, 'access');
  const dataChanges = new SessionChanges(store, policies, tokens, claims, clock, config.tokens, maxCookieToken);
  const sessions = new SessionService(
    { login, refresh, renewal, access, endings, introspection, lists, changes: dataChanges },
    policies,
    telemetry,
  );

  const knownDevices = new KnownDevices(database, userRows, events, config.rememberDevices, cleanupJob, changes);
  const dailyCounts = new DailyCounts(database, events, config.dailyCounts, now);
  const endAllJob = new Job(database, 'end-all', JOB_LEASE);
  const endAll = new EndAll(endAllJob, endingStore, endings, SECOND_PASS_AFTER, adminActions);
  const administration = new SessionAdministration(policies, store, endAll, clock, config.tokens, adminActions, users);
  const oldEvents = new EventRetention(database, config.events?.retention ?? 0, cleanupJob);
  const eventAdministration = new EventAdministration(database, outbox, now, adminActions);
  if (outbox.isOn) telemetry.observeEvents(() => eventAdministration.status());
  const cleanup = new SessionCleanup(
    cleanupJob,
    cleanupStore,
    endings,
    config.cleanup,
    endAll,
    knownDevices,
    oldEvents,
    providerSessions,
    adminActions,
  );
  const signals = new SignalReceiver(
    config.identityProviders,
    providerSessions,
    endings,
    store,
    users,
    clock,
    config.tokens,
  );

  return {
    config,
    database,
    clock,
    epochs,
    events,
    policies,
    keyring,
    managedKeys,
    revoked,
    revocations,
    push,
    dpop,
    poller,
    feed,
    store,
    aliases,
    oldSessionIds,
    loginStore,
    refreshStore,
    endingStore,
    cleanupStore,
    seen,
    endings,
    lost,
    deviceKeys,
    telemetry,
    access,
    knownEndings,
    sessions,
    knownDevices,
    dailyCounts,
    outbox,
    history,
    eventAdministration,
    changes,
    adminActions,
    administration,
    endAll,
    cleanup,
    signals,
  };
}

/** The secrets that authenticate pushed messages and nonces, the writing one first. All processes of an application have them. */
function pushSecrets({ tokens, revocation }: MultiSessionConfig) {
  const own = revocation.pushKey ?? tokens.managed?.encryptionKeys;
  return own ?? tokens.keys.flatMap(({ signingKey }) => signingKey ?? []);
}

function keyTimes({ tokens, revocation }: MultiSessionConfig, policies: SessionPolicies) {
  const isPublic = tokens.managed?.algorithm.startsWith('HS') === false;
  const activation = keyActivation(revocation, isPublic);
  const longest = Math.max(policies.longestRefreshTokenLifetime, policies.longestAccessTokenLifetime);
  return {
    activation,
    longestLifetime: longest,
    // Processes with other policies sign with the same key.
    retention: (lifetime: number | null) => keyRetention(Math.max(longest, lifetime ?? 0), activation),
  };
}
