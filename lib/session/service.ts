import { HttpStatus } from '@nestjs/common';
import {
  InvalidCredentialsError,
  MultiSessionConfigurationError,
  SessionLimitReachedError,
  SessionNotFoundError,
  TokenNotValidError,
} from '../errors.js';
import type { Claims } from '../token/keyring.js';
import { RefreshTokens } from '../token/refresh-token.js';
import type { UserId } from '../token/options.js';
import { type ClientInfo, fitClientInfo, storable } from './client-info.js';
import type { SessionClaims } from '../token/access-token.js';
import { isLiveSessionOf, type Session, storedClaims, toSession } from './session.js';
import { AccessVerifier } from './access-verifier.js';
import { ApplicationClaims } from './claims.js';
import { checkData, mergeData, type SessionData, type SessionDataPatch } from './data.js';
import { NEVER, SessionEntity } from './session.entity.js';
import type { EndReason } from './events.js';
import { newSessionId } from './id.js';
import { type IntrospectedToken, SessionIntrospection } from './introspection.js';
import type { SessionParts } from './session-parts.js';
import type { SessionPolicyService } from './policy.js';
import { type RefreshedSession, type RefreshOptions, SessionRefresh } from './refresh.js';
import type { CountedRow, EndedSession } from './store.js';
import { SessionTokens } from './tokens.js';
import type { AuthenticatedUser, Credentials, UserAuthenticator, UserDirectory } from './authenticator.js';

/** What a new session is made of, beside its user. */
export interface CreateSessionOptions {
  /** A session type, whatever its case. */
  type: string;
  /** What the client says of itself. Default: the device's name, else the user agent, else nothing. */
  info?: string;
  client?: ClientInfo;
  /** The application's own data, kept on the server; at most 32 KiB. */
  data?: Record<string, unknown>;
  /** The application's own claims, in each access token of the session; at most 4 KiB, never under a name that the library writes. */
  claims?: Claims;
  /** How the user has shown who they are (RFC 8176): the claim `amr`. Default: of `login`, `['pwd']`; of `create`, none. */
  amr?: readonly string[];
}

const PASSWORD = ['pwd'];

/** A new session with its tokens. */
export interface IssuedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh: string;
}

/** The sessions of one type, and how many more there may be: Infinity for any number. */
export interface SessionList {
  readonly type: string;
  readonly available: number;
  readonly sessions: readonly Session[];
}

/**
 * The life of a session: created at login, refreshed, shown, checked on each request, and ended. Every method that
 * asks the database throws `UnavailableError` while it is away.
 */
export class SessionService extends AccessVerifier {
  private readonly tokens: SessionTokens;
  private readonly claims: ApplicationClaims;
  private readonly refreshing: SessionRefresh;
  private readonly introspection: SessionIntrospection;

  constructor(private readonly parts: SessionParts) {
    super();
    this.tokens = new SessionTokens(parts);
    this.claims = new ApplicationClaims(parts);
    this.refreshing = new SessionRefresh(parts, this.tokens, this.claims);
    this.introspection = new SessionIntrospection(parts);
  }

  // ─── Beginning ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Logs a user in: asks the application's `UserAuthenticator`, then creates a session.
   * @throws InvalidSessionTypeError, InvalidCredentialsError, SessionLimitReachedError, and what the authenticator throws
   */
  async login(credentials: Credentials, options: CreateSessionOptions, request?: unknown): Promise<IssuedSession> {
    const { type } = this.parts.policies.named(options.type);
    return this.parts.telemetry.measure('login', (say) => {
      say({ 'multisession.session.type': type });
      return this.authenticateAndOpen(type, credentials, options, request);
    });
  }

  private async authenticateAndOpen(
    type: string,
    credentials: Credentials,
    options: CreateSessionOptions,
    request: unknown,
  ): Promise<IssuedSession> {
    const user = await this.authenticator().authenticate(credentials, request);
    const client = fitClientInfo(options.client ?? {});
    if (!user) {
      this.parts.events.emit('login.failed', { reason: 'invalid_credentials', type, client });
      throw new InvalidCredentialsError();
    }
    try {
      return await this.open(user, { amr: user.amr ?? PASSWORD, ...options });
    } catch (error) {
      if (error instanceof SessionLimitReachedError) {
        this.parts.events.emit('login.failed', { reason: 'session_limit_reached', type, userId: user.id, client });
      }
      throw error;
    }
  }

  /**
   * Creates a session for a user whom the application has authenticated in a way of its own.
   *
   * Invariant: however many are created at once on however many processes, no more than `maxActiveSessions` of
   * the type and `maxActiveSessionsPerUser` of all types are active.
   * @throws InvalidSessionTypeError, SessionLimitReachedError, SessionDataError
   */
  create(userId: UserId, options: CreateSessionOptions): Promise<IssuedSession> {
    return this.open({ id: userId }, options);
  }

  private async open(user: AuthenticatedUser, options: CreateSessionOptions): Promise<IssuedSession> {
    const { policies, store, clock } = this.parts;
    const policy = policies.named(options.type);
    this.assertUserId(user.id);
    this.claims.check(options.claims);
    if (options.data) checkData(options.data);
    const now = clock.now();
    const row = this.newRow(user.id, policy, options, now);
    // Before the session is there: what the application throws leaves none behind.
    const built = await this.claims.build(row, user);

    const types = policies.countedTypes(policy);
    const evicted = await store.create(row, types && ((active) => this.evictedBy(policy, active)), types);

    return this.issue(row, policy, now, evicted, built);
  }

  /**
   * Asks a session's user for their credentials again. The session ends and a new one takes its place, of the same type and
   * device, with its data and claims: one transaction, and no limit is counted, so nobody else's session goes for it (OWASP ASVS 5.0, 7.2.4).
   * @throws TokenNotValidError where the session is not active any more, InvalidCredentialsError for another user's credentials
   * too, and what the authenticator throws
   */
  async reauthenticate(
    current: Pick<SessionClaims, 'sessionId' | 'userId' | 'sessionType'>,
    credentials: Credentials,
    options: { client?: ClientInfo } = {},
    request?: unknown,
  ): Promise<IssuedSession> {
    const { policies, store, clock, events } = this.parts;
    const policy = policies.get(current.sessionType);
    if (!policy) throw new TokenNotValidError('access');
    const client = fitClientInfo(options.client ?? {});
    const user = await this.authenticator().authenticate(credentials, request);
    const { userId } = current;
    if (!user || String(user.id) !== String(userId)) {
      events.emit('login.failed', { reason: 'invalid_credentials', type: policy.type, userId, client });
      throw new InvalidCredentialsError();
    }
    const now = clock.now();
    const old = await store.find(current.sessionId);
    if (!isLiveSessionOf(current, old, now)) throw new TokenNotValidError('access');
    const { info, deviceName } = old;
    const device = { ...client, deviceName: client.deviceName ?? deviceName };
    const row = this.newRow(userId, policy, { type: policy.type, info, client: device }, now);
    const amr = user.amr ?? PASSWORD;
    const keep = (session: SessionEntity) => {
      const { claims } = storedClaims(session);
      return Object.assign(row, { data: session.data, claims: { ...claims, amr: [...amr] } });
    };
    // Before the old one goes: what the application throws leaves everything as it was.
    const built = await this.claims.build(keep(old), user);
    const ended = await store.replace(old, 'reauthenticated', keep);
    if (!ended) throw new TokenNotValidError('access');
    return this.issue(row, policy, now, [ended], built);
  }

  // ─── Refresh ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Gives a new access token for a refresh token, and a new refresh token where the policy hands one out. What happens is in
   * `session-refresh.ts`.
   * @param refreshToken several, where duplicate cookies make it uncertain which is meant: the first that is granted counts,
   * and none ends a session before all have been judged
   * @throws SessionNotFoundError for an unknown token or an inactive user, TokenNotValidError for one that is expired, reused
   * or of another type
   */
  refresh(refreshToken: string | readonly string[], options: RefreshOptions = {}): Promise<RefreshedSession> {
    return this.refreshing.refresh(refreshToken, options);
  }

  // ─── Each request ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Who asks with this access token. Answers at once where memory tells, and with a promise where a row has to be read:
   * under `accessCheck: 'session'`, and while the blacklist is stale. To be awaited in either case.
   * @throws TokenNotValidError
   */
  verify(accessToken: string): SessionClaims | Promise<SessionClaims> {
    const current = this.parts.accessTokens.verify(accessToken);
    if (!current) throw new TokenNotValidError('access');
    return this.admit(current);
  }

  /** The same for claims whose signature has been verified elsewhere, as passport-jwt does. @throws TokenNotValidError */
  verifyClaims(claims: Claims): SessionClaims | Promise<SessionClaims> {
    const current = this.parts.accessTokens.fromVerifiedClaims(claims);
    if (!current) throw new TokenNotValidError('access');
    return this.admit(current);
  }

  private admit(current: SessionClaims): SessionClaims | Promise<SessionClaims> {
    const { policies, blacklist, confirmed, clock, tokens } = this.parts;
    const policy = policies.get(current.sessionType);
    // A type that has gone fails closed.
    if (!policy || policy.outlived(current.issuedAt, clock.now(), tokens.clockTolerance))
      throw new TokenNotValidError('access');
    const { accessCheck } = policy.config;
    if (accessCheck === 'session' || (accessCheck === 'blacklist' && !blacklist.isFresh()))
      return this.admitByRow(current);
    if (accessCheck === 'blacklist' && blacklist.has(current.sessionId)) throw new TokenNotValidError('access');
    confirmed.note(current.sessionId, current.generation);
    return current;
  }

  private async admitByRow(current: SessionClaims): Promise<SessionClaims> {
    const { store, clock, confirmed } = this.parts;
    const row = await store.findForCheck(current.sessionId);
    if (!isLiveSessionOf(current, row, clock.now())) throw new TokenNotValidError('access');
    confirmed.note(current.sessionId, current.generation);
    return current;
  }

  // ─── Looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * A user's active sessions by type, the earliest created first.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @throws InvalidSessionTypeError
   */
  async list(userId: UserId, options: { type?: string } = {}): Promise<SessionList[]> {
    const { policies, store } = this.parts;
    const asked = policies.namedOrAll(options.type ?? 'ALL');
    const types = asked.flatMap((policy) => [policy.type, ...(policies.countedTypes(policy) ?? [])]);
    const rows = await store.listActive(String(userId), [...new Set(types)]);
    return asked.map((policy) => {
      const sessions = rows.filter((row) => row.type === policy.type).map((row) => toSession(row, this.parts.tokens));
      return { type: policy.type, available: policies.available(policy, rows), sessions };
    });
  }

  /** The session of this id, if it is active. */
  async get(sessionId: string): Promise<Session | null> {
    const row = await this.parts.store.find(sessionId);
    if (!row || row.expiresAt.getTime() <= this.parts.clock.now() || !this.parts.policies.get(row.type)) return null;
    return toSession(row, this.parts.tokens);
  }

  /**
   * What a token is worth at this moment, by its session's row, for services that ask (RFC 7662). Nothing is changed by it.
   * @returns null for whatever is not valid; a superseded refresh token is not
   */
  introspect(token: string): Promise<IntrospectedToken | null> {
    return this.introspection.introspect(token);
  }

  // ─── Data and claims ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** What the application keeps with a session, on the server alone. @throws SessionNotFoundError (404) */
  async getData(sessionId: string): Promise<SessionData> {
    const session = await this.get(sessionId);
    if (!session) throw new SessionNotFoundError();
    return (session.data ?? {}) as SessionData;
  }

  /**
   * Merges into it: each key replaces the one that is there, null takes it away. Of any number at once none is lost.
   * @returns the data after it
   * @throws SessionNotFoundError (404), SessionDataError (400) for more than 32 KiB and for what JSON cannot say
   */
  async mergeData(sessionId: string, patch: SessionDataPatch): Promise<SessionData> {
    const row = await this.parts.store.change(sessionId, ({ data }) => ({ data: mergeData(data, patch) }));
    if (!row) throw new SessionNotFoundError();
    return row.data as SessionData;
  }

  /**
   * Merges into a session's claims as `mergeData` does, and gives whoever asks an access token with them at once. Those that were
   * issued before stay good until they expire.
   * @param current of the access token that asks: the new one is of the same generation, since one of a later would show that its
   * refresh token had arrived
   * @throws SessionNotFoundError (404), SessionDataError, MultiSessionConfigurationError for a name that the library writes
   */
  async regenerate(
    current: Pick<SessionClaims, 'sessionId' | 'generation'>,
    claims: SessionDataPatch,
  ): Promise<RefreshedSession> {
    const { policies, store, clock, tokens } = this.parts;
    this.claims.check(claims);
    const now = clock.now();
    const row = await store.change(current.sessionId, (old) => {
      const merged = mergeData(old.claims, claims);
      this.claims.check(storedClaims({ claims: merged }).claims ?? {});
      return { claims: merged };
    });
    const policy = row && policies.get(row.type);
    if (!policy) throw new SessionNotFoundError();
    const built = await this.claims.build(row, await this.claims.userOf(row));
    const asked = Object.assign(row, { generation: Math.min(current.generation, row.generation) });
    return { session: toSession(row, tokens), access: this.tokens.access(asked, policy, now, built) };
  }

  /** The database's time, in milliseconds. */
  now(): number {
    return this.parts.clock.now();
  }

  // ─── Ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Ends the session of a refresh token, of whatever generation: who wants to leave may leave. Of several, as duplicate
   * cookies are, each ends its session.
   * @throws SessionNotFoundError (401) where there is none
   */
  async logout(refreshToken: string | readonly string[]): Promise<void> {
    let found = false;
    for (const text of [refreshToken].flat()) {
      const token = this.parts.refreshTokens.verify(text);
      const row = token && (await this.parts.store.find(token.sessionId));
      if (row && row.expiresAt.getTime() > this.parts.clock.now() && (await this.parts.endings.end(row, 'logout')))
        found = true;
    }
    if (!found) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  /**
   * Ends one session; its access tokens are refused from then on, on other processes within the poll interval.
   * @param options.userId where given, the session must be this user's
   * @param options.reason default: `'destroyed'`
   * @throws SessionNotFoundError (404)
   */
  async destroy(sessionId: string, options: { userId?: UserId; reason?: EndReason } = {}): Promise<void> {
    const row = await this.parts.store.find(sessionId);
    const isTheirs = options.userId === undefined || row?.userId === String(options.userId);
    const isActive = row && row.expiresAt.getTime() > this.parts.clock.now();
    if (row && isTheirs && isActive && (await this.parts.endings.end(row, options.reason ?? 'destroyed'))) return;
    throw new SessionNotFoundError();
  }

  /**
   * Ends all sessions of a user but one, which must be an active one of the same user, or nothing is ended.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @returns how many were ended
   * @throws InvalidSessionTypeError, TokenNotValidError where the one to be kept is not active
   */
  async destroyOthers(userId: UserId, keptSessionId: string, options: { type?: string } = {}): Promise<number> {
    const { policies, store } = this.parts;
    const types = policies.namedOrAll(options.type ?? 'ALL').map((policy) => policy.type);
    const ended = await store.endOfUser(String(userId), policies.types, 'destroyed', (active) => {
      if (!active.some((row) => row.id === keptSessionId)) throw new TokenNotValidError('refresh');
      return active.filter((row) => row.id !== keptSessionId && types.includes(row.type));
    });
    return this.parts.endings.announce(ended);
  }

  /**
   * The same as `destroyOthers`, where the one to be kept proves itself by its refresh token, of whatever generation.
   * @throws as `destroyOthers`; also TokenNotValidError where the token is not of the session that asks
   */
  async destroyOthersByToken(
    current: SessionClaims,
    refreshToken: string | readonly string[],
    options: { type?: string } = {},
  ): Promise<number> {
    this.parts.policies.namedOrAll(options.type ?? 'ALL');
    const { refreshTokens } = this.parts;
    if (![refreshToken].flat().some((token) => refreshTokens.verify(token)?.sessionId === current.sessionId))
      throw new TokenNotValidError('refresh');
    return this.destroyOthers(current.userId, current.sessionId, options);
  }

  /**
   * Ends those of a user's sessions that are named, all or none, in one transaction.
   * @param options.except is left out, where it is named
   * @returns how many were ended
   * @throws SessionNotFoundError (404) where one of them is not active, or another user's
   */
  async destroyMany(userId: UserId, sessionIds: readonly string[], options: { except?: string } = {}): Promise<number> {
    const { policies, store, endings } = this.parts;
    const ended = await store.endOfUser(String(userId), policies.types, 'destroyed', (active) => {
      const named = active.filter((row) => sessionIds.includes(row.id));
      if (named.length < new Set(sessionIds).size) throw new SessionNotFoundError();
      return named.filter((row) => row.id !== options.except);
    });
    return endings.announce(ended);
  }

  /**
   * Ends a user's sessions: after a change of password, or when an account is disabled.
   * @param options.type one type, or `ALL`. Default: `ALL`
   * @param options.except a session to keep
   * @param options.reason default: `'destroyed'`
   * @returns how many were ended
   * @throws InvalidSessionTypeError
   */
  async destroyAll(
    userId: UserId,
    options: { type?: string; except?: string; reason?: EndReason } = {},
  ): Promise<number> {
    const types = this.parts.policies.namedOrAll(options.type ?? 'ALL').map((policy) => policy.type);
    const ended = await this.parts.store.endOfUser(String(userId), types, options.reason ?? 'destroyed', (active) =>
      active.filter((row) => row.id !== options.except),
    );
    return this.parts.endings.announce(ended);
  }

  // ─── Pieces ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** After the commit: tells of the new session and of those that went for it, and makes its tokens. */
  private issue(
    row: SessionEntity,
    policy: SessionPolicyService,
    now: number,
    gone: EndedSession[],
    built: Claims | undefined,
  ): IssuedSession {
    this.parts.endings.announce(gone);
    const session = toSession(row, this.parts.tokens);
    this.parts.events.emit('session.created', { session });
    return { session, access: this.tokens.access(row, policy, now, built), refresh: this.tokens.refresh(row, policy) };
  }

  private newRow(
    userId: UserId,
    policy: SessionPolicyService,
    options: CreateSessionOptions,
    now: number,
  ): SessionEntity {
    const client = fitClientInfo(options.client ?? {});
    const absolute = policy.absoluteExpiry(now);
    const row: SessionEntity = {
      id: newSessionId(now),
      userId: String(userId),
      type: policy.type,
      generation: 0,
      parentGeneration: null,
      refreshJti: RefreshTokens.newJti(),
      parentJti: null,
      refreshKid: this.parts.refreshTokens.kid,
      confirmedGeneration: 0,
      createdAt: new Date(now),
      lastUpdate: new Date(now),
      rotatedAt: NEVER,
      expiresAt: new Date(policy.firstExpiry(now)),
      absoluteExpiresAt: absolute === null ? null : new Date(absolute),
      info: storable(options.info?.trim() || client.deviceName || client.userAgent || ''),
      userAgent: client.userAgent,
      ipAddress: client.ipAddress,
      deviceName: client.deviceName,
      data: options.data ?? null,
      claims: options.amr?.length ? { ...options.claims, amr: [...options.amr] } : (options.claims ?? null),
    };
    return Object.assign(new SessionEntity(), row);
  }

  private authenticator(): UserAuthenticator {
    const directory: (UserDirectory & Partial<UserAuthenticator>) | null = this.parts.authenticator();
    if (directory?.authenticate) return directory as UserAuthenticator;
    throw new MultiSessionConfigurationError([
      directory
        ? `authenticator: ${directory.constructor.name} has no method authenticate, so users cannot log in with a password; ` +
          'extend UserAuthenticator, or create sessions with SessionService.create'
        : 'authenticator: is missing, so users cannot log in with a password; ' +
          'give a UserAuthenticator, or create sessions with SessionService.create',
    ]);
  }

  private evictedBy(policy: SessionPolicyService, active: readonly CountedRow[]): CountedRow[] {
    const evicted = this.parts.policies.evicted(policy, active);
    if (evicted.length > 0 && policy.config.whenFull === 'refuse') throw new SessionLimitReachedError();
    return evicted;
  }

  private assertUserId(userId: UserId): void {
    const { userIdType } = this.parts.tokens;
    const isValid =
      userIdType === 'number'
        ? Number.isSafeInteger(userId)
        : typeof userId === 'string' &&
          userId !== '' &&
          userId.length <= 255 &&
          !userId.includes('\0') &&
          userId.isWellFormed();
    if (isValid) return;
    const wanted = userIdType === 'number' ? 'a whole number' : 'a string of 1 to 255 characters';
    throw new MultiSessionConfigurationError([`a user's id must be ${wanted} (option userIdType: '${userIdType}')`]);
  }
}
