import type { EntityManager } from 'typeorm';
import { SessionNotFoundError } from '../errors.js';
import type { Telemetry } from '../telemetry/telemetry.js';
import type { SessionClaims } from '../token/access-token.js';
import type { Claims } from '../token/claims.js';
import type { UserId } from '../token/options.js';
import type { SessionAccess } from './access.js';
import type { Credentials } from './authenticator.js';
import type { ClientInfo } from './client-info.js';
import type { SessionChanges } from './changes.js';
import type { SessionData, SessionDataPatch } from './data.js';
import type { SessionEndings } from './endings.js';
import type { EndReason } from './events.js';
import { canonicalSessionId } from './id.js';
import type { IntrospectedToken, SessionIntrospection } from './introspection.js';
import type { SessionList, SessionLists } from './lists.js';
import type { SessionLogin } from './login.js';
import type { CreateSessionOptions, IssuedSession, PreparedSession, TokenDelivery } from './new-session.js';
import { ALL_TYPES, type SessionPolicies } from './policies.js';
import type { SessionRefresh } from './refresh.js';
import type { RefreshedSession, RefreshOptions } from './refreshed-session.js';
import type { RenewedAccess, RenewOptions, SessionRenewal } from './renewal.js';
import type { Session, SessionSummary } from './session.js';

/** The parts to which the service delegates its calls. */
export interface SessionOperations {
  readonly login: SessionLogin;
  readonly refresh: SessionRefresh;
  readonly renewal: SessionRenewal;
  readonly access: SessionAccess;
  readonly endings: SessionEndings;
  readonly introspection: SessionIntrospection;
  readonly lists: SessionLists;
  readonly changes: SessionChanges;
}

/**
 * The life of a session: created at login, refreshed, checked on each request, listed, and ended. Inject it to build flows
 * of your own. Every method that queries the database throws `UnavailableError` while the database cannot be reached.
 *
 * This class is a facade. The code for logins is in `login.ts`, for refreshes in `refresh.ts`, for requests in `access.ts`,
 * for lists in `lists.ts`, for data and claims in `changes.ts`, and for endings in `endings.ts`.
 */
export class SessionService {
  constructor(
    private readonly operations: SessionOperations,
    private readonly policies: SessionPolicies,
    private readonly telemetry: Telemetry,
  ) {}

  // ─── Login ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Logs a user in: asks the application's `UserAuthenticator`, then creates a session.
   * @param request the framework's request, passed to the authenticator
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws InvalidCredentialsError if the authenticator returns no user
   * @throws SessionLimitReachedError if the user has as many sessions as allowed and `whenFull` is `'refuse'`
   * @throws MultiSessionConfigurationError if there is no authenticator, or the user's id is not of the type `userIdType`
   */
  async login(credentials: Credentials, options: CreateSessionOptions, request?: unknown): Promise<IssuedSession> {
    const { type } = this.policies.named(options.type);
    return this.telemetry.measure('login', (setAttributes) => {
      setAttributes({ 'multisession.session.type': type });
      return this.operations.login.login(credentials, options, request);
    });
  }

  /**
   * Creates a session for a user whom the application has authenticated itself.
   *
   * Invariant: at most `maxActiveSessions` of the type and `maxActiveSessionsPerUser` of all types are active, even if
   * several processes create sessions at once. A session is not created if the user's sessions are ended in the meantime.
   * @param request the framework's request, passed to `buildClaims`
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws SessionLimitReachedError if the user has as many sessions as allowed and `whenFull` is `'refuse'`
   * @throws SessionDataError if `data` or `claims` are too large or not JSON
   * @throws UnavailableError if the sessions of the user were ended in the meantime
   * @throws MultiSessionConfigurationError if the user's id is not of the type `userIdType`, the library writes a claim of
   * that name, or it is called inside of a transaction of the same DataSource: use `prepare` there
   */
  create(userId: UserId, options: CreateSessionOptions, request?: unknown): Promise<IssuedSession> {
    return this.operations.login.create({ id: userId }, options, request);
  }

  /**
   * Prepares a session inside of a transaction of your own, for example one that also inserts the user. Only inserts a row,
   * which is not live and has no tokens. Call `issue()` after the commit. A rollback leaves nothing behind.
   *
   * ```ts
   * const prepared = await dataSource.transaction(async (manager) => {
   *   const user = await manager.save(User, { email });
   *   return sessions.prepare(user.id, { type: 'LONG' }, manager);
   * });
   * const { access, refresh } = await prepared.issue();
   * ```
   * @param manager the EntityManager of your transaction
   * @param request the framework's request, passed to `buildClaims` by `issue()`
   * @throws the errors of `create` that concern the options. Limits are checked by `issue()`
   */
  prepare(
    userId: UserId,
    options: CreateSessionOptions,
    manager: EntityManager,
    request?: unknown,
  ): Promise<PreparedSession> {
    return this.operations.login.prepare({ id: userId }, options, manager, request);
  }

  /**
   * Checks the credentials of a session's user again (OWASP ASVS 5.0, 7.2.4). In one transaction, the session ends and a new
   * one replaces it, with the same type, device, data and claims. Limits do not apply, so no other session is evicted.
   * @throws TokenNotValidError if the session is no longer active
   * @throws InvalidCredentialsError if the credentials are wrong or another user's
   */
  reauthenticate(
    current: Pick<SessionClaims, 'sessionId' | 'userId' | 'sessionType'>,
    credentials: Credentials,
    options: { client?: ClientInfo } & TokenDelivery = {},
    request?: unknown,
  ): Promise<IssuedSession> {
    return this.operations.login.reauthenticate(canonical(current), credentials, options, request);
  }

  // ─── Refresh ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Exchanges a refresh token for a new access token, and for a new refresh token if the policy rotates.
   * @param refreshToken one token, or several if duplicate cookies make it unclear which one is meant. The first that is
   * granted counts. A token ends its session only if none can be granted
   * @throws SessionNotFoundError if the token is unknown or its user is no longer active
   * @throws TokenNotValidError if the token is expired, reused, or of another session type
   */
  refresh(refreshToken: string | readonly string[], options: RefreshOptions = {}): Promise<RefreshedSession> {
    return this.operations.refresh.refresh(refreshToken, options);
  }

  /**
   * Issues an access token for a refresh token and leaves everything else as it is, for a server that renders pages and cannot
   * hand new tokens to the client. Does not rotate, extend or end the session, and records no client.
   *
   * The access token states the generation of the presented token. It expires no later than a session's access tokens so far.
   * @param refreshToken one token, or several if duplicate cookies make it unclear which one is meant. The first that is
   * granted counts
   * @throws RenewalNotAllowedError if the policy does not allow it (option `renewal`), or the last refresh is too long ago
   * @throws SessionNotFoundError if the token is unknown or its user is no longer active
   * @throws SessionProofRequiredError if `isProven` is false
   * @throws TokenNotValidError if the token is expired, or was used after its successor. The session goes on
   */
  renew(refreshToken: string | readonly string[], options: RenewOptions = {}): Promise<RenewedAccess> {
    return this.operations.renewal.renew(refreshToken, options);
  }

  // ─── Each request ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Verifies an access token. Always await it: it answers synchronously if memory is enough, and with a promise if a row
   * must be read. That is the case with `accessCheck: 'session'`, and with `'blacklist'` while memory is stale.
   * @throws TokenNotValidError if the token is forged or expired, or its session has ended
   */
  verify(accessToken: string): SessionClaims | Promise<SessionClaims> {
    return this.operations.access.verify(accessToken);
  }

  /**
   * Does the same as `verify` for claims whose signature has been verified elsewhere, for example by passport-jwt.
   * @throws TokenNotValidError under the same conditions as `verify`
   */
  verifyClaims(claims: Claims): SessionClaims | Promise<SessionClaims> {
    return this.operations.access.verifyClaims(claims);
  }

  // ─── Lists and single sessions ────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Lists a user's active sessions by type, the earliest created first. Sessions of types that this process does not know come
   * last: they are refused here, but the user can end them.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @param options.brief leaves out `data`, `claims` and `amr`, and cuts `info` after 1,000 characters, which is enough for a
   * page of sessions and does not read large columns. Default: false
   * @throws InvalidSessionTypeError if there is no such session type
   */
  list(userId: UserId, options: { type?: string | undefined; brief: true }): Promise<SessionList<SessionSummary>[]>;
  list(userId: UserId, options?: { type?: string | undefined; brief?: false | undefined }): Promise<SessionList[]>;
  async list(
    userId: UserId,
    options: { type?: string | undefined; brief?: boolean | undefined } = {},
  ): Promise<SessionList<SessionSummary>[]> {
    return this.operations.lists.list(userId, options.type ?? ALL_TYPES, options.brief ?? false);
  }

  /** Returns the session with this id, or null if it is not active. */
  async get(sessionId: string): Promise<Session | null> {
    return this.operations.lists.get(canonicalSessionId(sessionId));
  }

  /**
   * Tells another service whether a token is valid now (RFC 7662). Reads the session's row and changes nothing.
   * @returns null for every token that is not valid, including a superseded refresh token
   */
  introspect(token: string): Promise<IntrospectedToken | null> {
    return this.operations.introspection.introspect(token);
  }

  // ─── Data and claims ──────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Returns the application's own data of a session.
   * @throws SessionNotFoundError (404) if the session is not active
   */
  async getData(sessionId: string): Promise<SessionData> {
    const session = await this.get(sessionId);
    if (!session) throw new SessionNotFoundError();
    return (session.data ?? {}) as SessionData;
  }

  /**
   * Merges a patch into a session's data. Each key of the patch replaces the old value of that key, and null removes the
   * key. Concurrent merges never overwrite each other, even across processes.
   * @returns the data after the merge
   * @throws SessionNotFoundError (404) if the session is not active
   * @throws SessionDataError (400) if the data would exceed 32 KiB or is not JSON
   */
  async mergeData(sessionId: string, patch: SessionDataPatch): Promise<SessionData> {
    return this.operations.changes.mergeData(canonicalSessionId(sessionId), patch);
  }

  /**
   * Merges a patch into a session's claims as `mergeData` does, and issues an access token with them at once. Older access
   * tokens stay valid until they expire. The new token expires no later than the caller's: only a refresh token can make a
   * session's access last longer.
   * @param current the claims of the caller's access token. The new token has the same generation. With a later one, it
   * would seem to prove that the client has received the later refresh token
   * @param request the framework's request, passed to `findActive` and `buildClaims`
   * @throws SessionNotFoundError if the session is not active
   * @throws SessionDataError if the claims would exceed 4 KiB or are not JSON, or if the session's tokens travel in cookies and
   * an access token with the claims would not fit into one. The session is unchanged
   * @throws MultiSessionConfigurationError for the name of a claim that the library writes
   */
  async regenerate(
    current: Pick<SessionClaims, 'sessionId' | 'generation' | 'expiresAt'>,
    claims: SessionDataPatch,
    request?: unknown,
  ): Promise<RefreshedSession> {
    return this.operations.changes.regenerate(canonical(current), claims, request);
  }

  // ─── Ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Ends the session of a refresh token. Any generation is accepted. If duplicate cookies give several tokens, each ends its
   * session.
   * @throws SessionNotFoundError (401) if no session was ended
   */
  logout(refreshToken: string | readonly string[]): Promise<void> {
    return this.operations.endings.logout(refreshToken);
  }

  /**
   * Ends one session. This process refuses its access tokens at once, and the others within the poll interval.
   * @param options.userId if given, the session must be this user's
   * @param options.reason Default: `'destroyed'`
   * @param options.by the id of who ends it, for durable events and, with the reason `'admin'`, the record of
   * administrators' actions. Default: not known
   * @throws SessionNotFoundError (404) if there is no such active session
   */
  destroy(
    sessionId: string,
    options: { userId?: UserId | undefined; reason?: EndReason | undefined; by?: UserId | undefined } = {},
  ): Promise<void> {
    const { userId, reason = 'destroyed', by } = options;
    return this.operations.endings.endOne(canonicalSessionId(sessionId), { userId, reason, by });
  }

  /**
   * Ends all sessions of a user except one. If the one to keep is not an active session of this user, no session ends.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @returns how many were ended
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws TokenNotValidError if the session to keep is not active
   */
  destroyOthers(userId: UserId, keptSessionId: string, options: { type?: string | undefined } = {}): Promise<number> {
    return this.operations.endings.endOthers(userId, canonicalSessionId(keptSessionId), options.type ?? ALL_TYPES);
  }

  /**
   * Does the same as `destroyOthers`, and keeps the caller's session. The caller proves it with a refresh token of any
   * generation.
   * @param current the claims of the caller's access token
   * @throws TokenNotValidError if the refresh token belongs to another session than the access token
   * @throws the errors of `destroyOthers`
   */
  destroyOthersByToken(
    current: SessionClaims,
    refreshToken: string | readonly string[],
    options: { type?: string | undefined } = {},
  ): Promise<number> {
    return this.operations.endings.endOthersByToken(canonical(current), refreshToken, options.type ?? ALL_TYPES);
  }

  /**
   * Ends the given sessions of a user in one transaction, all or none.
   * @param options.except this session is kept even if it is in the list
   * @returns how many were ended
   * @throws SessionNotFoundError (404) if one of them is not active or is another user's
   */
  destroyMany(
    userId: UserId,
    sessionIds: readonly string[],
    options: { except?: string | undefined } = {},
  ): Promise<number> {
    return this.operations.endings.endMany(
      userId,
      sessionIds.map(canonicalSessionId),
      options.except && canonicalSessionId(options.except),
    );
  }

  /**
   * Ends a user's sessions, for example after a password change or when you disable an account. `ALL` means every session,
   * including those of types that this process does not know.
   *
   * Invariant: a login that started before this call returned a result does not survive it, on any process. To rely on this,
   * call it after the commit of what it protects, such as the new password.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @param options.except a session to keep
   * @param options.reason Default: `'destroyed'`
   * @param options.by the id of who ends them, for durable events and, with the reason `'admin'`, the record of
   * administrators' actions. Default: not known
   * @returns how many were ended
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws MultiSessionConfigurationError if it is called inside of a transaction of the same DataSource
   */
  destroyAll(
    userId: UserId,
    options: {
      type?: string | undefined;
      except?: string | undefined;
      reason?: EndReason | undefined;
      by?: UserId | undefined;
    } = {},
  ): Promise<number> {
    const { type = ALL_TYPES, except, reason = 'destroyed', by } = options;
    return this.operations.endings.endAll(userId, { type, except: except && canonicalSessionId(except), reason, by });
  }
}

function canonical<Current extends Pick<SessionClaims, 'sessionId'>>(current: Current): Current {
  return { ...current, sessionId: canonicalSessionId(current.sessionId) };
}
