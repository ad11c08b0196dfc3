import type { Clock } from '../database/clock.js';
import { TokenNotValidError } from '../errors.js';
import type { AccessTokens, SessionClaims } from '../token/access-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { Users } from './authenticator.js';
import type { SessionPolicies } from './policies.js';
import type { SessionEntity } from './session.entity.js';
import { storedClaims, userIdOf } from './session.js';

/** An access token of an old system, after its signature has been verified. */
export interface OldAccessToken {
  /** The id of its session in the old system. */
  readonly oldKey: string;
  readonly userId: UserId;
  /** Seconds since 1970. */
  readonly expiresAt: number;
  /** All claims, frozen. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Reads access tokens of the systems that an application has moved away from. */
export interface OldAccessTokens {
  /** Verifies a signature. Returns undefined if the old system has not signed the text. Sends no statement. */
  verify(text: string): OldAccessToken | undefined;
  /** Finds the session of a verified token, expired or not. Null if it has ended. */
  find(token: OldAccessToken): Promise<SessionEntity | null>;
}

/**
 * Accepts the long-lived tokens of django-token-manager. Such a token practically never expires, and its client never refreshes
 * it. So each request reads the session's row and asks for the user, as the old system did.
 */
export class OldAccess {
  constructor(
    private readonly old: OldAccessTokens,
    private readonly accessTokens: AccessTokens,
    private readonly policies: SessionPolicies,
    private readonly users: Users,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /** See `AccessVerifier.verifyOld`. */
  verify(text: string): Promise<SessionClaims> | undefined {
    const token = this.old.verify(text);
    return token && this.admit(token);
  }

  private async admit(token: OldAccessToken): Promise<SessionClaims> {
    const { clock, policies, config } = this;
    const isCurrent = token.expiresAt * 1000 > clock.now() - config.clockTolerance;
    const row = isCurrent ? await this.old.find(token) : null;
    const policy = row && policies.get(row.type);
    if (!policy || row.userId !== String(token.userId) || !policy.isActive(row, clock.now()))
      throw new TokenNotValidError('access');
    const { amr, authenticatedAt = row.createdAt.getTime() } = storedClaims(row);
    const session: SessionClaims = {
      userId: userIdOf(row, config),
      sessionId: row.id,
      sessionType: policy.type,
      generation: row.generation,
      tokenId: row.id,
      // The token has no `iat`. It was issued at the login.
      issuedAt: Math.floor(row.createdAt.getTime() / 1000),
      expiresAt: Math.floor(Math.min(token.expiresAt, policy.endOf(row) / 1000)),
      authenticatedAt: Math.floor(authenticatedAt / 1000),
      amr,
      claims: token.claims,
    };
    if (!(await this.accessTokens.isOfCurrentEpoch(session)) || !(await this.isActiveUser(session.userId)))
      throw new TokenNotValidError('access');
    return session;
  }

  private async isActiveUser(userId: UserId): Promise<boolean> {
    const users = await this.users();
    return !users?.findActive || (await users.findActive(userId)) !== null;
  }
}
