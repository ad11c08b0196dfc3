import type { Clock } from '../database/clock.js';
import type { AccessTokens } from '../token/access-token.js';
import type { Claims } from '../token/claims.js';
import type { TokenConfig } from '../token/options.js';
import { isLiveSessionOf, type Session, toSession } from './session.js';
import type { SessionPolicies } from './policies.js';
import type { SessionStore } from './store.js';
import type { PresentedTokens } from './presented-token.js';
import { contradicts } from './refusals.js';

/** A token that is valid now, and its session. */
export interface IntrospectedToken {
  readonly use: 'access' | 'refresh';
  readonly session: Session;
  readonly tokenId: string;
  /** Seconds since 1970. */
  readonly issuedAt: number;
  /** Seconds since 1970. */
  readonly expiresAt: number;
  /** All claims of an access token; empty for a refresh token. */
  readonly claims: Readonly<Claims>;
}

/**
 * Tells other services whether a token is valid now (RFC 7662). It always reads the session's row, whatever `accessCheck`
 * the policy has. It changes nothing: it does not count as a use of the token, and it ends no session.
 */
export class SessionIntrospection {
  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly presented: PresentedTokens,
    private readonly policies: SessionPolicies,
    private readonly store: SessionStore,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /**
   * Returns the token's session if the token is valid.
   * @returns null for every token that is not valid, without a reason. A superseded refresh token is not valid
   */
  async introspect(token: string): Promise<IntrospectedToken | null> {
    return (await this.accessToken(token)) ?? (await this.refreshToken(token));
  }

  private async accessToken(token: string): Promise<IntrospectedToken | null> {
    const { accessTokens, policies, clock, config, store } = this;
    const current = accessTokens.verify(token);
    const policy = current && policies.get(current.sessionType);
    if (!policy || policy.outlived(current.issuedAt, clock.now(), config.clockTolerance)) return null;
    if (!(await accessTokens.isOfCurrentEpoch(current))) return null;
    const row = await store.find(current.sessionId);
    if (!isLiveSessionOf(current, row, policy, clock.now())) return null;
    const { tokenId, issuedAt, expiresAt, claims } = current;
    return { use: 'access', session: toSession(row, config), tokenId, issuedAt, expiresAt, claims };
  }

  private async refreshToken(text: string): Promise<IntrospectedToken | null> {
    const { presented, policies, clock, config, store } = this;
    const token = await presented.read(text);
    const policy = token && policies.get(token.type);
    if (!policy) return null;
    const row = await store.find(token.sessionId);
    const isCurrent = row && !contradicts(token, row) && token.jti === row.refreshJti;
    if (!isCurrent || !policy.isActive(row, clock.now())) return null;
    return {
      use: 'refresh',
      session: toSession(row, config),
      tokenId: token.jti,
      issuedAt: token.issuedAt,
      expiresAt: Math.floor(policy.endOf(row) / 1000),
      claims: {},
    };
  }
}
