import type { Clock } from '../database/clock.js';
import {
  InvalidCredentialsError,
  MultiSessionConfigurationError,
  SessionLimitReachedError,
  TokenNotValidError,
} from '../errors.js';
import type { SessionClaims } from '../token/access-token.js';
import type { Claims } from '../token/keyring.js';
import { RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { AuthenticatedUser, Credentials, UserAuthenticator, UserDirectory } from './authenticator.js';
import type { ApplicationClaims } from './claims.js';
import { type ClientInfo, fitClientInfo, storable } from './client-info.js';
import { checkData } from './data.js';
import type { SessionEndings } from './endings.js';
import type { SessionEvents } from './events.js';
import { newSessionId } from './id.js';
import type { SessionPolicies } from './policies.js';
import type { SessionPolicyService } from './policy.js';
import { isLiveSessionOf, type Session, storedClaims, toSession } from './session.js';
import { NEVER, SessionEntity } from './session.entity.js';
import type { CountedRow, EndedSession, SessionStore } from './store.js';
import type { SessionTokens } from './tokens.js';

/** What a new session is made of, besides its user. */
export interface CreateSessionOptions {
  /** The session type, in any case. */
  type: string;
  /** What the client says about itself. Default: the device's name, else the user agent, else empty. */
  info?: string;
  client?: ClientInfo;
  /** The application's own data, kept on the server; at most 32 KiB as JSON. */
  data?: Record<string, unknown>;
  /**
   * The application's own claims, written to each access token of the session; at most 4 KiB as JSON. They must not use the
   * names of claims that the library writes.
   */
  claims?: Claims;
  /** How the user has authenticated (RFC 8176): the claim `amr`. Default: `['pwd']` for `login`, none for `create`. */
  amr?: readonly string[];
}

/** A new session with its tokens. */
export interface IssuedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh: string;
}

const PASSWORD = ['pwd'];

/** How a session begins: with credentials, without (`create`), or in place of another (`reauthenticate`). */
export class SessionLogin {
  /** @param users looks up the application's users; undefined or null if it has none */
  constructor(
    private readonly store: SessionStore,
    private readonly policies: SessionPolicies,
    private readonly endings: SessionEndings,
    private readonly tokens: SessionTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly claims: ApplicationClaims,
    private readonly users: () => UserDirectory | null,
    private readonly events: SessionEvents,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /** See `SessionService.login`. */
  async login(credentials: Credentials, options: CreateSessionOptions, request: unknown): Promise<IssuedSession> {
    const { type } = this.policies.named(options.type);
    const user = await this.authenticator().authenticate(credentials, request);
    const client = fitClientInfo(options.client ?? {});
    if (!user) {
      this.events.emit('login.failed', { reason: 'invalid_credentials', type, client });
      throw new InvalidCredentialsError();
    }
    try {
      return await this.open(user, { amr: user.amr ?? PASSWORD, ...options });
    } catch (error) {
      if (error instanceof SessionLimitReachedError) {
        this.events.emit('login.failed', { reason: 'session_limit_reached', type, userId: user.id, client });
      }
      throw error;
    }
  }

  /** See `SessionService.create`. */
  async open(user: AuthenticatedUser, options: CreateSessionOptions): Promise<IssuedSession> {
    const policy = this.policies.named(options.type);
    this.assertUserId(user.id);
    this.claims.check(options.claims);
    if (options.data) checkData(options.data);
    const now = this.clock.now();
    const row = this.newRow(user.id, policy, options, now);
    // Before the insert: if the application throws here, it leaves no session behind.
    const built = await this.claims.build(row, user);

    const types = this.policies.countedTypes(policy);
    const evicted = await this.store.create(row, types && ((active) => this.evictedBy(policy, active)), types);

    return this.issue(row, policy, now, evicted, built);
  }

  /** See `SessionService.reauthenticate`. */
  async reauthenticate(
    current: Pick<SessionClaims, 'sessionId' | 'userId' | 'sessionType'>,
    credentials: Credentials,
    options: { client?: ClientInfo },
    request: unknown,
  ): Promise<IssuedSession> {
    const policy = this.policies.get(current.sessionType);
    if (!policy) throw new TokenNotValidError('access');
    const client = fitClientInfo(options.client ?? {});
    const user = await this.authenticator().authenticate(credentials, request);
    const { userId } = current;
    if (!user || String(user.id) !== String(userId)) {
      this.events.emit('login.failed', { reason: 'invalid_credentials', type: policy.type, userId, client });
      throw new InvalidCredentialsError();
    }
    const now = this.clock.now();
    const old = await this.store.find(current.sessionId);
    if (!isLiveSessionOf(current, old, now)) throw new TokenNotValidError('access');
    const { info, deviceName } = old;
    const device = { ...client, deviceName: client.deviceName ?? deviceName };
    const row = this.newRow(userId, policy, { type: policy.type, info, client: device }, now);
    const amr = user.amr ?? PASSWORD;
    const takeOver = (session: SessionEntity) => {
      const { claims } = storedClaims(session);
      return Object.assign(row, { data: session.data, claims: { ...claims, amr: [...amr] } });
    };
    // Before the old session ends: if the application throws here, nothing has changed.
    const built = await this.claims.build(takeOver(old), user);
    const ended = await this.store.replace(old, 'reauthenticated', takeOver);
    if (!ended) throw new TokenNotValidError('access');
    return this.issue(row, policy, now, [ended], built);
  }

  /** Runs after the commit: publishes the evicted sessions and the new one, and issues its tokens. */
  private issue(
    row: SessionEntity,
    policy: SessionPolicyService,
    now: number,
    evicted: EndedSession[],
    built: Claims | undefined,
  ): IssuedSession {
    this.endings.publish(evicted);
    const session = toSession(row, this.config);
    this.events.emit('session.created', { session });
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
      claims: options.amr?.length ? { ...options.claims, amr: [...options.amr] } : (options.claims ?? null),
    };
    return Object.assign(new SessionEntity(), row);
  }

  private authenticator(): UserAuthenticator {
    const users: (UserDirectory & Partial<UserAuthenticator>) | null = this.users();
    if (users?.authenticate) return users as UserAuthenticator;
    throw new MultiSessionConfigurationError([
      users
        ? `authenticator: ${users.constructor.name} has no method authenticate, so no user can log in with a password; ` +
          'extend UserAuthenticator, or create sessions with SessionService.create'
        : 'authenticator: is missing, so no user can log in with a password; give one that extends UserAuthenticator',
    ]);
  }

  private evictedBy(policy: SessionPolicyService, active: readonly CountedRow[]): CountedRow[] {
    const evicted = this.policies.evicted(policy, active);
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
    throw new MultiSessionConfigurationError([`a user's id must be ${wanted} (option userIdType: '${userIdType}')`]);
  }
}
