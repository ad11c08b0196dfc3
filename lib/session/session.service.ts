import { HttpStatus } from '@nestjs/common';
import {
  InvalidCredentialsError,
  MultiSessionConfigurationError,
  SessionLimitReachedError,
  SessionNotFoundError,
  TokenNotValidError,
  UnavailableError,
} from '../multi-session.errors.js';
import type { Blacklist } from '../revocation/blacklist.js';
import type { AccessTokens } from '../token/access-token.js';
import type { Claims } from '../token/keyring.js';
import { type RefreshTokenClaims, RefreshTokens } from '../token/refresh-token.js';
import { reservedClaims, type TokenConfig, type UserId } from '../token/token.options.js';
import { type ClientInfo, fitClientInfo, latestClient, storable } from './client-info.js';
import type { Clock } from './clock.js';
import type { ConfirmedGenerations } from './confirmed-generations.js';
import { type CurrentSession, type Session, toSession } from './session.js';
import { NEVER, SessionEntity } from './session.entity.js';
import type { EndReason, SessionEvents, SupersededTokenEvent } from './session.events.js';
import { newSessionId } from './session-id.js';
import type { SessionPolicies } from './session.policies.js';
import type { EndedSession, NextGeneration, SessionStore } from './session.store.js';
import type { SessionPolicyService, Verdict } from './session-policy.service.js';
import type { Credentials, UserAuthenticator } from './user-authenticator.js';

/** What a new session is made of, beside its user. */
export interface CreateSessionOptions {
  /** A session type, whatever its case. */
  type: string;
  /** What the client says of itself. Default: the device's name, else the user agent, else nothing. */
  info?: string;
  client?: ClientInfo;
  /** The application's own data, kept on the server. */
  data?: Record<string, unknown>;
  /** The application's own claims, in each access token of the session; never under a name that the library writes. */
  claims?: Claims;
}

/** A new session with its tokens. */
export interface IssuedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh: string;
}

/** What a refresh hands out: `refresh` only where there is one to be stored by the client. */
export interface RefreshedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh?: string;
}

/** The sessions of one type, and how many more there may be: Infinity for any number. */
export interface SessionList {
  readonly type: string;
  readonly available: number;
  readonly sessions: readonly Session[];
}

/** What a session service works with. The module puts it together. */
export interface SessionServiceParts {
  readonly tokens: TokenConfig;
  readonly policies: SessionPolicies;
  readonly store: SessionStore;
  readonly blacklist: Blacklist;
  readonly accessTokens: AccessTokens;
  readonly refreshTokens: RefreshTokens;
  readonly confirmed: ConfirmedGenerations;
  readonly events: SessionEvents;
  readonly clock: Clock;
  /** Looked up at each login and not at start: the application's users may themselves inject the service. */
  readonly authenticator: () => UserAuthenticator | null;
}

const TRIES = 5;

/**
 * The life of a session: created at login, refreshed, shown, checked on each request, and ended. Every method that
 * asks the database throws `UnavailableError` while it is away.
 */
export class SessionService {
  constructor(private readonly parts: SessionServiceParts) {}

  // ─── Beginning ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Logs a user in: asks the application's `UserAuthenticator`, then creates a session.
   * @throws InvalidSessionTypeError, InvalidCredentialsError, SessionLimitReachedError, and what the authenticator throws
   */
  async login(credentials: Credentials, options: CreateSessionOptions, request?: unknown): Promise<IssuedSession> {
    const { type } = this.parts.policies.named(options.type);
    const authenticator = this.parts.authenticator();
    if (!authenticator)
      throw new MultiSessionConfigurationError(['authenticator: is missing, so nobody can log in; give one']);
    const user = await authenticator.authenticate(credentials, request);
    const client = fitClientInfo(options.client ?? {});
    if (!user) {
      this.parts.events.emit('login.failed', { reason: 'invalid_credentials', type, client });
      throw new InvalidCredentialsError();
    }
    try {
      return await this.create(user.id, options);
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
   * Invariant: however many are created at once on however many processes, no more than `maxActiveSessions` are active.
   * @throws InvalidSessionTypeError, SessionLimitReachedError
   */
  async create(userId: UserId, options: CreateSessionOptions): Promise<IssuedSession> {
    const { policies, store, clock, events } = this.parts;
    const policy = policies.named(options.type);
    this.assertUserId(userId);
    this.assertClaims(options.claims);
    const now = clock.now();
    const row = this.newRow(userId, policy, options, now);

    const limited = Number.isFinite(policy.config.maxActiveSessions);
    const evicted = await store.create(row, limited ? (active) => evictedBy(policy, active) : undefined);

    this.announceEnded(evicted);
    const session = toSession(row, this.parts.tokens);
    events.emit('session.created', { session });
    return { session, access: this.issueAccess(row, policy, now), refresh: this.writeRefresh(row) };
  }

  // ─── Refresh ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Gives a new access token for a refresh token, and a new refresh token where the policy hands one out.
   *
   * When all goes well it is one statement, which rotates by compare-and-swap on what the token itself states. Only where
   * that misses is the row read, and `SessionPolicyService.judge` says what the token is.
   *
   * @param refreshToken several, where duplicate cookies make it uncertain which is meant: the first that is granted counts,
   * and none ends a session before all have been judged
   * @param options.type where given, the type that the session must have; with another, the session is destroyed
   * @param options.client where given, a new generation writes it to the session: who refreshed last
   * @throws SessionNotFoundError for an unknown token or an inactive user, TokenNotValidError for one that is expired, reused
   * or of another type
   */
  async refresh(
    refreshToken: string | readonly string[],
    options: { type?: string; client?: ClientInfo } = {},
  ): Promise<RefreshedSession> {
    if (typeof refreshToken !== 'string') return this.refreshOneOf(refreshToken, options);
    const { policies, refreshTokens, store, clock, confirmed } = this.parts;
    const expected = options.type === undefined ? undefined : policies.named(options.type);
    const token = refreshTokens.read(refreshToken);
    if (!token) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    const policy = policies.get(token.type);
    if (!policy) throw new TokenNotValidError('refresh');
    if (expected && expected !== policy) return this.refuseOtherType(token);
    await this.assertUserActive(token);

    let now = clock.now();
    const unread = await this.refreshUnread(policy, token, now, options.client);
    if (unread) return this.refreshed(unread, policy, now);

    // A miss of a compare-and-swap means that another request has just changed the row: read it again and judge again.
    for (let attempt = 0; attempt < TRIES; attempt++) {
      now = clock.now();
      const row = await store.find(token.sessionId);
      if (!row || contradicts(token, row)) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
      const seen = Math.max(row.confirmedGeneration, confirmed.highest(row.id));
      const verdict = policy.judge(row, token, now, seen);
      const outcome = await this.carryOut(verdict, policy, row, token, now, options.client);
      if (outcome) return this.refreshed(outcome, policy, now);
    }
    throw new UnavailableError(new Error('a session changed at each of several attempts to refresh it'));
  }

  /** Only where none of them would be granted is each refused as it deserves, and may end its session. */
  private async refreshOneOf(
    refreshTokens: readonly string[],
    options: { type?: string; client?: ClientInfo },
  ): Promise<RefreshedSession> {
    if (refreshTokens.length === 1) return this.refresh(refreshTokens[0], options);
    for (const token of refreshTokens) {
      if (await this.wouldGrant(token, options.type)) return this.refresh(token, options);
    }
    let refusal: Refusal | undefined;
    for (const token of refreshTokens) {
      try {
        return await this.refresh(token, options);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        refusal ??= error;
      }
    }
    throw refusal ?? new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  /** What `refresh` would come to, with nothing changed. */
  private async wouldGrant(refreshToken: string, type: string | undefined): Promise<boolean> {
    const { policies, refreshTokens, store, clock, confirmed } = this.parts;
    const expected = type === undefined ? undefined : policies.named(type);
    const token = refreshTokens.read(refreshToken);
    const policy = token && policies.get(token.type);
    if (!policy || (expected && expected !== policy) || !(await this.isUserActive(token))) return false;
    const row = await store.find(token.sessionId);
    if (!row || contradicts(token, row)) return false;
    const seen = Math.max(row.confirmedGeneration, confirmed.highest(row.id));
    const { kind } = policy.judge(row, token, clock.now(), seen);
    return kind !== 'reuse' && kind !== 'expired';
  }

  /** The one statement of a refresh that goes well. @returns undefined where the row must be read to tell */
  private async refreshUnread(
    policy: SessionPolicyService,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo | undefined,
  ): Promise<Granted | undefined> {
    const { store } = this.parts;
    const { updateLastLogin, absoluteLifetime, reuseGrace, blacklistAfterRotation } = policy.config;
    const row = { expiresAt: new Date(token.expiresAt), absoluteExpiresAt: null };
    if (token.expiresAt <= now) return undefined;
    if (!policy.handsOut(row, now)) {
      const kept = updateLastLogin ? await store.touch(token, now) : null;
      return kept ? { row: kept, handedOut: false } : undefined;
    }
    const withoutBound = policy.extensionDue(row, now);
    if (withoutBound && absoluteLifetime !== undefined) return undefined;
    const next = this.nextGeneration(policy, row, now, client);
    const rotated = await store.rotate(token, next, now, {
      grace: reuseGrace,
      unread: true,
      withoutBound,
      blacklistParent: blacklistAfterRotation,
    });
    return rotated ? { row: rotated, handedOut: true, rotated: true } : undefined;
  }

  /** Does what the verdict says. @returns undefined where the row has changed meanwhile @throws where the token is refused */
  private async carryOut(
    verdict: Verdict,
    policy: SessionPolicyService,
    row: SessionEntity,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo | undefined,
  ): Promise<Granted | undefined> {
    const { store, events, confirmed } = this.parts;
    const { updateLastLogin, reuseGrace, blacklistAfterRotation } = policy.config;
    switch (verdict.kind) {
      case 'keep': {
        if (!updateLastLogin) confirmed.note(row.id, token.generation);
        const kept = updateLastLogin ? await store.touch(token, now) : row;
        return kept ? { row: kept, handedOut: false } : undefined;
      }
      case 'renew':
        confirmed.note(row.id, token.generation);
        return { row, handedOut: true };
      case 'rotate': {
        const next = this.nextGeneration(policy, row, now, client);
        const rotated = await store.rotate(token, next, now, {
          grace: reuseGrace,
          blacklistParent: blacklistAfterRotation,
        });
        return rotated ? { row: rotated, handedOut: true, rotated: true } : undefined;
      }
      case 'replay':
        events.emit('refresh.replayed', this.supersededEvent(row, token, now, client));
        return { row, handedOut: true };
      case 'recover': {
        const next = this.nextGeneration(policy, row, now, client);
        const recovered = await store.recover(row, next, now, { blacklistLost: blacklistAfterRotation });
        if (recovered) events.emit('refresh.recovered', this.supersededEvent(row, token, now, client));
        return recovered ? { row: recovered, handedOut: true, rotated: true } : undefined;
      }
      case 'reuse':
        await this.end(row, 'reuse');
        events.emit('refresh.reused', { ...this.supersededEvent(row, token, now, client), reuse: verdict.reuse });
        throw new TokenNotValidError('refresh');
      case 'expired':
        await this.end(row, 'expired', { expiredAt: now });
        throw new TokenNotValidError('refresh');
    }
  }

  /** The session of a token that names the wrong type is destroyed, where the token is its current one. */
  private async refuseOtherType(token: RefreshTokenClaims): Promise<never> {
    const row = await this.parts.store.find(token.sessionId);
    if (!row) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    await this.end(row, 'mismatch', { jti: token.jti });
    throw new TokenNotValidError('refresh');
  }

  private async assertUserActive(token: RefreshTokenClaims): Promise<void> {
    if (await this.isUserActive(token)) return;
    const row = await this.parts.store.find(token.sessionId);
    if (row) await this.end(row, 'user-inactive');
    throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  private async isUserActive({ userId }: RefreshTokenClaims): Promise<boolean> {
    const authenticator = this.parts.authenticator();
    return !authenticator?.findActive || Boolean(await authenticator.findActive(userId));
  }

  // ─── Each request ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Who asks with this access token. Answers at once where memory tells, and with a promise where a row has to be read:
   * under `accessCheck: 'session'`, and while the blacklist is stale. To be awaited in either case.
   * @throws TokenNotValidError
   */
  verify(accessToken: string): CurrentSession | Promise<CurrentSession> {
    const current = this.parts.accessTokens.verify(accessToken);
    if (!current) throw new TokenNotValidError('access');
    return this.admit(current);
  }

  /** The same for claims whose signature has been verified elsewhere, as passport-jwt does. @throws TokenNotValidError */
  verifyClaims(claims: Claims): CurrentSession | Promise<CurrentSession> {
    const current = this.parts.accessTokens.read(claims);
    if (!current) throw new TokenNotValidError('access');
    return this.admit(current);
  }

  private admit(current: CurrentSession): CurrentSession | Promise<CurrentSession> {
    const { policies, blacklist, confirmed, clock, tokens } = this.parts;
    const policy = policies.get(current.sessionType);
    // A type that has gone fails closed. And no token is taken for longer than its type's lifetime is now: blacklist entries
    // are kept no longer than that, so a token from before the lifetime was shortened could outlive its entry.
    if (!policy || clock.now() >= current.issuedAt * 1000 + policy.config.accessTokenLifetime + tokens.clockTolerance) {
      throw new TokenNotValidError('access');
    }
    const { accessCheck } = policy.config;
    if (accessCheck === 'session' || (accessCheck === 'blacklist' && !blacklist.isFresh()))
      return this.admitByRow(current);
    if (accessCheck === 'blacklist' && blacklist.has(current.sessionId)) throw new TokenNotValidError('access');
    confirmed.note(current.sessionId, current.generation);
    return current;
  }

  private async admitByRow(current: CurrentSession): Promise<CurrentSession> {
    const { store, clock, confirmed } = this.parts;
    const row = await store.find(current.sessionId);
    // Who has our signing key could name another user beside the id of a live session.
    const isTheirs = row?.userId === String(current.userId) && row.type === current.sessionType;
    if (!isTheirs || row.expiresAt.getTime() <= clock.now()) throw new TokenNotValidError('access');
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
    const policies = this.parts.policies.namedOrAll(options.type ?? 'ALL');
    const rows = await this.parts.store.listActive(
      String(userId),
      policies.map((policy) => policy.type),
    );
    return policies.map((policy) => {
      const sessions = rows.filter((row) => row.type === policy.type).map((row) => toSession(row, this.parts.tokens));
      return { type: policy.type, available: policy.available(sessions.length), sessions };
    });
  }

  /** The session of this id, if it is active. */
  async get(sessionId: string): Promise<Session | null> {
    const row = await this.parts.store.find(sessionId);
    if (!row || row.expiresAt.getTime() <= this.parts.clock.now() || !this.parts.policies.get(row.type)) return null;
    return toSession(row, this.parts.tokens);
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
      const token = this.parts.refreshTokens.read(text);
      const row = token && (await this.parts.store.find(token.sessionId));
      if (row && row.expiresAt.getTime() > this.parts.clock.now() && (await this.end(row, 'logout'))) found = true;
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
    if (row && isTheirs && isActive && (await this.end(row, options.reason ?? 'destroyed'))) return;
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
    return this.announceEnded(ended);
  }

  /**
   * The same as `destroyOthers`, where the one to be kept proves itself by its refresh token, of whatever generation.
   * @throws as `destroyOthers`; also TokenNotValidError where the token is not of the session that asks
   */
  async destroyOthersByToken(
    current: CurrentSession,
    refreshToken: string | readonly string[],
    options: { type?: string } = {},
  ): Promise<number> {
    this.parts.policies.namedOrAll(options.type ?? 'ALL');
    const { refreshTokens } = this.parts;
    if (![refreshToken].flat().some((token) => refreshTokens.read(token)?.sessionId === current.sessionId))
      throw new TokenNotValidError('refresh');
    return this.destroyOthers(current.userId, current.sessionId, options);
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
    return this.announceEnded(ended);
  }

  /** @returns whether it was this process that ended it */
  private async end(
    row: SessionEntity,
    reason: EndReason,
    condition?: { jti?: string; expiredAt?: number },
  ): Promise<boolean> {
    const ended = await this.parts.store.end(row, reason, condition);
    if (ended) this.announceEnded([ended]);
    return ended !== undefined;
  }

  /** After the commit: this process refuses their access tokens from here on. @internal @returns how many */
  announceEnded(ended: readonly EndedSession[]): number {
    const { blacklist, events, clock, tokens, store } = this.parts;
    const now = clock.now();
    const expiresAt = now + store.acceptedAfterEnd;
    const revoked = ended.filter(({ row }) => row.expiresAt.getTime() > now);
    blacklist.announce(
      revoked.map(({ row, reason }) => ({ sessionId: row.id, userId: row.userId, reason, expiresAt })),
    );
    for (const { row, reason } of ended) events.emit('session.ended', { session: toSession(row, tokens), reason });
    return ended.length;
  }

  // ─── Pieces ───────────────────────────────────────────────────────────────────────────────────────────────────────────

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
      ...client,
      data: options.data ?? null,
      claims: options.claims ?? null,
    };
    return Object.assign(new SessionEntity(), row);
  }

  private nextGeneration(
    policy: SessionPolicyService,
    row: Pick<SessionEntity, 'expiresAt' | 'absoluteExpiresAt'>,
    now: number,
    client: ClientInfo | undefined,
  ): NextGeneration {
    return {
      jti: RefreshTokens.newJti(),
      kid: this.parts.refreshTokens.kid,
      expiresAt: policy.nextExpiry(row, now),
      ...(policy.config.updateLastLogin && { lastUpdate: now }),
      ...(client && { client: latestClient(client) }),
    };
  }

  private refreshed(
    { row, handedOut, rotated = false }: Granted,
    policy: SessionPolicyService,
    now: number,
  ): RefreshedSession {
    const session = toSession(row, this.parts.tokens);
    this.parts.events.emit('session.refreshed', { session, rotated });
    const access = this.issueAccess(row, policy, now);
    return handedOut ? { session, access, refresh: this.writeRefresh(row) } : { session, access };
  }

  private issueAccess(row: SessionEntity, policy: SessionPolicyService, now: number): string {
    const { userId } = toSession(row, this.parts.tokens);
    const lifetime = policy.config.accessTokenLifetime;
    return this.parts.accessTokens.issue(
      {
        userId,
        sessionId: row.id,
        type: row.type,
        generation: row.generation,
        claims: row.claims,
        expiresAt: row.expiresAt.getTime(),
        lifetime,
      },
      now,
    );
  }

  private writeRefresh(row: SessionEntity): string {
    const { userId } = toSession(row, this.parts.tokens);
    return this.parts.refreshTokens.write({
      sessionId: row.id,
      userId,
      type: row.type,
      generation: row.generation,
      jti: row.refreshJti,
      expiresAt: row.expiresAt.getTime(),
      issuedAt: handedOutAt(row),
      kid: row.refreshKid,
    });
  }

  private supersededEvent(
    row: SessionEntity,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo = {},
  ): SupersededTokenEvent {
    return {
      session: toSession(row, this.parts.tokens),
      presentedGeneration: token.generation,
      currentGeneration: row.generation,
      age: now - handedOutAt(row),
      client: fitClientInfo(client),
    };
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

  private assertClaims(claims: Claims = {}): void {
    const taken = reservedClaims(this.parts.tokens).filter((name) => Object.hasOwn(claims, name));
    if (taken.length === 0) return;
    throw new MultiSessionConfigurationError([
      `claims: ${taken.join(', ')} are written by the library; choose other names`,
    ]);
  }
}

/** A refresh that is granted: the row after it, and whether the answer carries a refresh token. */
interface Granted {
  readonly row: SessionEntity;
  readonly handedOut: boolean;
  /** Whether a new generation began. */
  readonly rotated?: boolean;
}

type Refusal = TokenNotValidError | SessionNotFoundError;

/** Told apart from a fault of the server, which no other token can make up for. */
function isRefusal(error: unknown): error is Refusal {
  return error instanceof TokenNotValidError || error instanceof SessionNotFoundError;
}

/** Since when there is the current refresh token: `rotatedAt`, or the login where there was no rotation. */
function handedOutAt({ rotatedAt, createdAt }: SessionEntity): number {
  return Math.max(rotatedAt.getTime(), createdAt.getTime());
}

/** Who has our signing key and a token of their own could state another type or generation in it: no such token was written. */
function contradicts(token: RefreshTokenClaims, row: SessionEntity): boolean {
  return token.type !== row.type || (token.jti === row.refreshJti && token.generation !== row.generation);
}

function evictedBy(policy: SessionPolicyService, active: readonly SessionEntity[]): SessionEntity[] {
  const evicted = policy.evicted(active);
  if (evicted.length > 0 && policy.config.whenFull === 'refuse') throw new SessionLimitReachedError();
  return evicted;
}
