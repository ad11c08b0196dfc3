import type { EntityManager } from 'typeorm';
import type { Clock } from '../database/clock.js';
import {
  InvalidCredentialsError,
  MultiSessionConfigurationError,
  SessionLimitReachedError,
  SessionNotFoundError,
  TokenNotValidError,
  UnavailableError,
} from '../errors.js';
import type { SessionClaims } from '../token/access-token.js';
import type { Claims } from '../token/claims.js';
import { RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { AuthenticatedUser, Credentials, UserAuthenticator, UserDirectory, Users } from './authenticator.js';
import { bindingOf } from './binding.js';
import type { ApplicationClaims } from './claims.js';
import { type ClientInfo, fitClientInfo, storable } from './client-info.js';
import { checkData } from './data.js';
import type { SessionEndings } from './endings.js';
import type { SessionEvents } from './events.js';
import { newSessionId } from './id.js';
import type { SessionPolicies } from './policies.js';
import type { SessionPolicyService } from './policy.js';
import type { ProviderSessions } from './provider-sessions.js';
import type { CreateSessionOptions, IssuedSession, PreparedSession, TokenDelivery } from './new-session.js';
import { isLiveSessionOf, storedClaims, toSession } from './session.js';
import { NEVER, SessionEntity } from './session.entity.js';
import type { EndedSession } from './change-log.js';
import type { CreateRules, LoginStore, NewSession } from './login-store.js';
import type { CountedRow } from './session-sql.js';
import type { SessionStore } from './store.js';
import type { SessionTokens } from './tokens.js';

const PASSWORD = ['pwd'];
const MAX_USERNAME = 255;

/**
 * Creates sessions: with credentials (`login`), without (`create`), inside of a transaction of the application (`prepare`), or
 * in place of another session (`reauthenticate`).
 */
export class SessionLogin {
  /** @param users returns the application's users, or null if it has none */
  constructor(
    private readonly store: SessionStore,
    private readonly loginStore: LoginStore,
    private readonly policies: SessionPolicies,
    private readonly endings: SessionEndings,
    private readonly tokens: SessionTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly claims: ApplicationClaims,
    private readonly users: Users,
    private readonly events: SessionEvents,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
    private readonly providers: ProviderSessions,
  ) {}

  /** See `SessionService.login`. */
  async login(credentials: Credentials, options: CreateSessionOptions, request: unknown): Promise<IssuedSession> {
    const { type } = this.policies.named(options.type);
    const startedAt = this.clock.earliest();
    const user = await (await this.authenticator(request)).authenticate(credentials, request);
    const client = fitClientInfo(options.client ?? {});
    if (!user) {
      const username = usernameOf(credentials);
      this.events.emit('login.failed', { reason: 'invalid_credentials', type, username, client });
      throw new InvalidCredentialsError();
    }
    try {
      return await this.open(user, { amr: user.amr ?? PASSWORD, ...options }, startedAt, request);
    } catch (error) {
      if (error instanceof SessionLimitReachedError) {
        this.events.emit('login.failed', {
          reason: 'session_limit_reached',
          type,
          userId: user.id,
          username: usernameOf(credentials),
          client,
        });
      }
      throw error;
    }
  }

  /** See `SessionService.create`. */
  async create(user: AuthenticatedUser, options: CreateSessionOptions, request?: unknown): Promise<IssuedSession> {
    this.assertOutsideTransaction('create', 'prepare(userId, options, manager), and call issue() after the commit');
    return this.open(user, options, this.startOf(options), request);
  }

  /** See `SessionService.prepare`. */
  async prepare(
    user: AuthenticatedUser,
    options: CreateSessionOptions,
    manager: EntityManager,
    request?: unknown,
  ): Promise<PreparedSession> {
    const session = this.newSession(user, options, this.startOf(options));
    await this.loginStore.prepare(session, manager);
    const { row, policy } = session;
    return {
      id: row.id,
      issue: async () => {
        if (this.store.isInsideTransaction)
          throw new MultiSessionConfigurationError(
            ['issue() was called while the transaction of prepare() is open; call it after the commit'],
            'runtime',
          );
        const now = this.clock.now();
        // The row has no expiry yet. `buildClaims` and the check see the one that it is about to get.
        row.expiresAt = new Date(policy.firstExpiry(now));
        const built = await this.claims.build(row, user, request);
        options.checkTokens?.(this.tokensOf(row, policy, now, built));
        await this.providers.record(row.id, options.provider);
        const ended = await this.loginStore.issue(session, this.rules(policy, options));
        if (!ended) throw new SessionNotFoundError();
        return this.issue(session, now, ended, built, options.provider !== undefined);
      },
    };
  }

  private async open(
    user: AuthenticatedUser,
    options: CreateSessionOptions,
    startedAt: number,
    request: unknown,
  ): Promise<IssuedSession> {
    const session = this.newSession(user, options, startedAt);
    const { row, policy } = session;
    const now = this.clock.now();
    // Build before the insert: if the application throws here, no session is left behind.
    const built = await this.claims.build(row, user, request);
    options.checkTokens?.(this.tokensOf(row, policy, now, built));
    await this.providers.record(row.id, options.provider);
    const ended = await this.loginStore.create(session, this.rules(policy, options));
    return this.issue(session, now, ended, built, options.provider !== undefined);
  }

  private startOf({ startedAt }: CreateSessionOptions): number {
    const earliest = this.clock.earliest();
    return startedAt ? Math.min(startedAt.getTime(), earliest) : earliest;
  }

  /** Which sessions a new session of this type evicts, and which it replaces. */
  private rules(policy: SessionPolicyService, { replaces = [] }: CreateSessionOptions): CreateRules {
    return {
      chooseEvicted: (active) => this.evictedBy(policy, active),
      limit: this.policies.limitOf(policy),
      replaces,
    };
  }

  /** Refuses a call that would need a second connection while the caller's transaction holds the first. */
  private assertOutsideTransaction(method: string, remedy: string): void {
    if (!this.store.isInsideTransaction) return;
    throw new MultiSessionConfigurationError(
      [
        `${method} was called inside of a transaction of the same DataSource, where a rollback could not undo it; use ${remedy}`,
      ],
      'runtime',
    );
  }

  /** See `SessionService.reauthenticate`. */
  async reauthenticate(
    current: Pick<SessionClaims, 'sessionId' | 'userId' | 'sessionType'>,
    credentials: Credentials,
    options: { client?: ClientInfo } & TokenDelivery,
    request: unknown,
  ): Promise<IssuedSession> {
    const policy = this.policies.get(current.sessionType);
    if (!policy) throw new TokenNotValidError('access');
    const client = fitClientInfo(options.client ?? {});
    const startedAt = this.clock.earliest();
    const user = await (await this.authenticator(request)).authenticate(credentials, request);
    const { userId } = current;
    if (!user || String(user.id) !== String(userId)) {
      const username = usernameOf(credentials);
      this.events.emit('login.failed', { reason: 'invalid_credentials', type: policy.type, userId, username, client });
      throw new InvalidCredentialsError();
    }
    const now = this.clock.now();
    const old = await this.store.find(current.sessionId);
    if (!isLiveSessionOf(current, old, policy, now)) throw new TokenNotValidError('access');
    const { info, deviceName } = old;
    const device = { ...client, deviceName: client.deviceName ?? deviceName };
    const { transport = old.transport, persistent, checkTokens, proof } = options;
    const session = this.newSession({ id: userId }, { type: policy.type, info, client: device, proof }, startedAt);
    const { row } = session;
    const amr = user.amr ?? PASSWORD;
    const takeOver = ({ data, claims, persistent: before }: SessionEntity) => {
      Object.assign(row, {
        data,
        transport,
        persistent: persistent === undefined ? before : Number(persistent),
        claims: { ...storedClaims({ claims }).claims, amr: [...amr] },
      });
      return session;
    };
    // Build before the old session ends: if the application throws here, nothing has changed.
    const built = await this.claims.build(takeOver(old).row, user, request);
    await this.providers.copy(old.id, row.id);
    const ended = await this.loginStore.replace(old, 'reauthenticated', (locked) => {
      const taken = takeOver(locked);
      checkTokens?.(this.tokensOf(taken.row, policy, now, built));
      return taken;
    });
    if (!ended) throw new TokenNotValidError('access');
    return this.issue(session, now, [ended], built, true);
  }

  /**
   * Runs after the commit. Publishes the evicted sessions and the new one, and issues the tokens of the new one.
   * @param mayBeOvertaken whether a signal of an identity provider may have ended the new session already
   * @throws UnavailableError if such a signal has
   */
  private async issue(
    { row, policy, startedAt }: PolicedSession,
    now: number,
    evicted: EndedSession[],
    built: Claims | undefined,
    mayBeOvertaken: boolean,
  ): Promise<IssuedSession> {
    this.endings.publish(evicted);
    if (mayBeOvertaken && (await this.providers.isOvertaken(row.id, startedAt))) {
      await this.endings.end(row, 'identity-provider');
      throw new UnavailableError(new Error('the identity provider has ended the login in the meantime'));
    }
    const issued = this.tokensOf(row, policy, now, built);
    this.events.emit('session.created', { session: issued.session });
    return issued;
  }

  private tokensOf(
    row: SessionEntity,
    policy: SessionPolicyService,
    now: number,
    built: Claims | undefined,
  ): IssuedSession {
    return {
      session: toSession(row, this.config),
      access: this.tokens.access(row, policy, now, built),
      refresh: this.tokens.refresh(row, policy),
    };
  }

  private newSession(user: AuthenticatedUser, options: CreateSessionOptions, startedAt: number): PolicedSession {
    const policy = this.policies.named(options.type);
    this.assertUserId(user.id);
    this.claims.check(options.claims);
    if (options.data) checkData(options.data);
    this.providers.check(options.provider);
    const { refreshTokenLifetime: lifetime, absoluteLifetime = null } = policy.config;
    return { row: this.newRow(user.id, policy, options, startedAt), policy, lifetime, absoluteLifetime, startedAt };
  }

  private newRow(
    userId: UserId,
    policy: SessionPolicyService,
    options: CreateSessionOptions,
    startedAt: number,
  ): SessionEntity {
    const now = this.clock.now();
    const client = fitClientInfo(options.client ?? {});
    const absolute = policy.absoluteExpiry(now);
    const row: SessionEntity = {
      // The id tells when the login started, so that an ending of everybody's sessions finds those that were in progress.
      id: newSessionId(startedAt, String(userId)),
      userId: String(userId),
      type: policy.type,
      generation: 0,
      parentGeneration: null,
      refreshJti: RefreshTokens.newJti(),
      parentJti: null,
      refreshKid: this.refreshTokens.kid,
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
      claims: claimsToStore(options),
      accessLifetime: policy.config.accessTokenLifetime / 1000,
      preparedAt: null,
      transport: options.transport ?? null,
      persistent: options.persistent === undefined ? null : Number(options.persistent),
      clientChangedAt: null,
      binding: options.proof ? bindingOf(options.proof) : null,
      pendingBinding: null,
      bindingKey: null,
    };
    return Object.assign(new SessionEntity(), row);
  }

  private async authenticator(request: unknown): Promise<UserAuthenticator> {
    const users: (UserDirectory & Partial<UserAuthenticator>) | null = await this.users(request);
    if (users?.authenticate) return users as UserAuthenticator;
    throw new MultiSessionConfigurationError(
      [
        users
          ? `authenticator: ${users.constructor.name} has no method authenticate, so no user can log in with a password; ` +
            'extend UserAuthenticator, or create sessions with SessionService.create'
          : 'authenticator: is missing, so no user can log in with a password; give one that extends UserAuthenticator',
      ],
      'runtime',
    );
  }

  private evictedBy(policy: SessionPolicyService, active: readonly CountedRow[]): CountedRow[] {
    const now = this.clock.now();
    const counted = active.filter((row) => this.policies.isActive(row, now));
    const evicted = this.policies.evicted(policy, counted);
    if (evicted.length > 0 && policy.config.whenFull === 'refuse') throw new SessionLimitReachedError();
    return evicted;
  }

  private assertUserId(userId: UserId): void {
    const { userIdType } = this.config;
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
    const given = typeof userId;
    const isOther = given !== userIdType && (given === 'string' || given === 'number');
    const remedy = isOther ? `set userIdType: '${given}', or convert the id` : 'correct the id';
    throw new MultiSessionConfigurationError(
      [`a user's id must be ${wanted} (option userIdType: '${userIdType}'); got a ${given}; ${remedy}`],
      'runtime',
    );
  }
}

/** Returns the user name for an event, cut to a length that fits into a log. */
function usernameOf({ username }: Partial<Credentials>): string {
  return storable(String(username ?? '').slice(0, MAX_USERNAME));
}

/** A new session with its policy. */
interface PolicedSession extends NewSession {
  readonly policy: SessionPolicyService;
}

/** The column `claims` holds the application's claims, and those of the library that depend on the login. */
function claimsToStore({ claims, amr, authenticatedAt }: CreateSessionOptions): Claims | null {
  if (!amr?.length && !authenticatedAt) return claims ?? null;
  return {
    ...claims,
    ...(amr?.length && { amr: [...amr] }),
    ...(authenticatedAt && { auth_time: Math.floor(authenticatedAt.getTime() / 1000) }),
  };
}
