import { SessionNotFoundError } from '../errors.js';
import type { Clock } from '../database/clock.js';
import type { Telemetry } from '../telemetry/telemetry.js';
import type { SessionClaims } from '../token/access-token.js';
import type { Claims } from '../token/keyring.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { SessionAccess } from './access.js';
import type { Credentials } from './authenticator.js';
import type { ApplicationClaims } from './claims.js';
import type { ClientInfo } from './client-info.js';
import { mergeData, type SessionData, type SessionDataPatch } from './data.js';
import type { SessionEndings } from './endings.js';
import type { EndReason } from './events.js';
import type { IntrospectedToken, SessionIntrospection } from './introspection.js';
import type { CreateSessionOptions, IssuedSession, SessionLogin } from './login.js';
import { ALL_TYPES, type SessionPolicies } from './policies.js';
import type { RefreshedSession, RefreshOptions, SessionRefresh } from './refresh.js';
import { type Session, storedClaims, toSession } from './session.js';
import type { SessionStore } from './store.js';
import type { SessionTokens } from './tokens.js';

/**
 * The active sessions of one type. `available` says how many more of this type the user may have; Infinity if there is no
 * limit.
 */
export interface SessionList {
  readonly type: string;
  readonly available: number;
  readonly sessions: readonly Session[];
}

/** The parts to which the service delegates its calls. */
export interface SessionOperations {
  readonly login: SessionLogin;
  readonly refresh: SessionRefresh;
  readonly access: SessionAccess;
  readonly endings: SessionEndings;
  readonly introspection: SessionIntrospection;
}

/**
 * The life of a session: created at login, refreshed, checked on each request, listed, and ended. Inject it to build flows
 * of your own. Every method that queries the database throws `UnavailableError` while the database cannot be reached.
 *
 * This class is a facade. The code for logins is in `login.ts`, for refreshes in `refresh.ts`, for requests in `access.ts`,
 * and for endings in `endings.ts`.
 */
export class SessionService {
  constructor(
    private readonly operations: SessionOperations,
    private readonly store: SessionStore,
    private readonly policies: SessionPolicies,
    private readonly tokens: SessionTokens,
    private readonly claims: ApplicationClaims,
    private readonly telemetry: Telemetry,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
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
   * several processes create sessions at once.
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws SessionLimitReachedError if the user has as many sessions as allowed and `whenFull` is `'refuse'`
   * @throws SessionDataError if `data` or `claims` are too large or not JSON
   * @throws MultiSessionConfigurationError if the user's id is not of the type `userIdType`, or the library writes a claim
   * of that name
   */
  create(userId: UserId, options: CreateSessionOptions): Promise<IssuedSession> {
    return this.operations.login.open({ id: userId }, options);
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
    options: { client?: ClientInfo } = {},
    request?: unknown,
  ): Promise<IssuedSession> {
    return this.operations.login.reauthenticate(current, credentials, options, request);
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
   * Lists a user's active sessions by type, the earliest created first.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @throws InvalidSessionTypeError if there is no such session type
   */
  async list(userId: UserId, options: { type?: string } = {}): Promise<SessionList[]> {
    const { policies } = this;
    const asked = policies.namedOrAll(options.type ?? ALL_TYPES);
    const types = asked.flatMap((policy) => [policy.type, ...(policies.countedTypes(policy) ?? [])]);
    const rows = await this.store.listActive(String(userId), [...new Set(types)]);
    return asked.map((policy) => {
      const sessions = rows.filter((row) => row.type === policy.type).map((row) => toSession(row, this.config));
      return { type: policy.type, available: policies.available(policy, rows), sessions };
    });
  }

  /** Returns the session with this id, or null if it is not active. */
  async get(sessionId: string): Promise<Session | null> {
    const row = await this.store.find(sessionId);
    if (!row || row.expiresAt.getTime() <= this.clock.now() || !this.policies.get(row.type)) return null;
    return toSession(row, this.config);
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
    const row = await this.store.change(sessionId, ({ data }) => ({ data: mergeData(data, patch) }));
    if (!row) throw new SessionNotFoundError();
    return row.data as SessionData;
  }

  /**
   * Merges a patch into a session's claims as `mergeData` does, and issues an access token with them at once. Older access
   * tokens stay valid until they expire.
   * @param current the claims of the caller's access token. The new token has the same generation. With a later one, it
   * would seem to prove that the client has received the later refresh token
   * @throws SessionNotFoundError if the session is not active
   * @throws SessionDataError if the claims would exceed 4 KiB or are not JSON
   * @throws MultiSessionConfigurationError for the name of a claim that the library writes
   */
  async regenerate(
    current: Pick<SessionClaims, 'sessionId' | 'generation'>,
    claims: SessionDataPatch,
  ): Promise<RefreshedSession> {
    this.claims.check(claims);
    const now = this.clock.now();
    const row = await this.store.change(current.sessionId, (old) => {
      const merged = mergeData(old.claims, claims);
      this.claims.check(storedClaims({ claims: merged }).claims ?? {});
      return { claims: merged };
    });
    const policy = row && this.policies.get(row.type);
    if (!policy) throw new SessionNotFoundError();
    const built = await this.claims.build(row, await this.claims.userOf(row));
    const asked = Object.assign(row, { generation: Math.min(current.generation, row.generation) });
    return { session: toSession(row, this.config), access: this.tokens.access(asked, policy, now, built) };
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
   * @throws SessionNotFoundError (404) if there is no such active session
   */
  destroy(sessionId: string, options: { userId?: UserId; reason?: EndReason } = {}): Promise<void> {
    const { userId, reason = 'destroyed' } = options;
    return this.operations.endings.endOne(sessionId, { userId, reason });
  }

  /**
   * Ends all sessions of a user except one. If the one to keep is not an active session of this user, no session ends.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @returns how many were ended
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws TokenNotValidError if the session to keep is not active
   */
  destroyOthers(userId: UserId, keptSessionId: string, options: { type?: string } = {}): Promise<number> {
    return this.operations.endings.endOthers(userId, keptSessionId, options.type ?? ALL_TYPES);
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
    options: { type?: string } = {},
  ): Promise<number> {
    return this.operations.endings.endOthersByToken(current, refreshToken, options.type ?? ALL_TYPES);
  }

  /**
   * Ends the given sessions of a user in one transaction, all or none.
   * @param options.except this session is kept even if it is in the list
   * @returns how many were ended
   * @throws SessionNotFoundError (404) if one of them is not active or is another user's
   */
  destroyMany(userId: UserId, sessionIds: readonly string[], options: { except?: string } = {}): Promise<number> {
    return this.operations.endings.endMany(userId, sessionIds, options.except);
  }

  /**
   * Ends a user's sessions, for example after a password change or when you disable an account.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @param options.except a session to keep
   * @param options.reason Default: `'destroyed'`
   * @returns how many were ended
   * @throws InvalidSessionTypeError if there is no such session type
   */
  destroyAll(userId: UserId, options: { type?: string; except?: string; reason?: EndReason } = {}): Promise<number> {
    const { type = ALL_TYPES, except, reason = 'destroyed' } = options;
    return this.operations.endings.endAll(userId, { type, except, reason });
  }
}
