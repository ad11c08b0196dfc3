import type { Clock } from '../database/clock.js';
import type { AccessTokens } from '../token/access-token.js';
import type { Claims } from '../token/keyring.js';
import type { TokenConfig } from '../token/options.js';
import type { RefreshTokens } from '../token/refresh-token.js';
import { isLiveSessionOf, type Session, toSession } from './session.js';
import type { SessionPolicies } from './policies.js';
import type { SessionStore } from './store.js';
import { contradicts } from './refresh.js';

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
 * Tells other services what a token is worth now (RFC 7662). Always reads the session's row, whatever the policy's
 * `accessCheck` says, and changes nothing: it neither counts as a use of the token nor ends a session.
 */
export class SessionIntrospection {
  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly policies: SessionPolicies,
    private readonly store: SessionStore,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /** @returns null, without a reason, for every token that is not valid, a superseded refresh token included */
  async introspect(token: string): Promise<IntrospectedToken | null> {
    return (await this.accessToken(token)) ?? (await this.refreshToken(token));
  }

  private async accessToken(token: string): Promise<IntrospectedToken | null> {
    const { accessTokens, policies, clock, config, store } = this;
    const current = accessTokens.verify(token);
    const policy = current && policies.get(current.sessionType);
    if (!policy || policy.outlived(current.issuedAt, clock.now(), config.clockTolerance)) return null;
    const row = await store.find(current.sessionId);
    if (!isLiveSessionOf(current, row, clock.now())) return null;
    const { tokenId, issuedAt, expiresAt, claims } = current;
    return { use: 'access', session: toSession(row, config), tokenId, issuedAt, expiresAt, claims };
  }

  private async refreshToken(text: string): Promise<IntrospectedToken | null> {
    const { refreshTokens, policies, clock, config, store } = this;
    const token = refreshTokens.verify(text);
    if (!token || !policies.get(token.type)) return null;
    const row = await store.find(token.sessionId);
    const isCurrent = row && !contradicts(token, row) && token.jti === row.refreshJti;
    if (!isCurrent || row.expiresAt.getTime() <= clock.now()) return null;
    return {
      use: 'refresh',
      session: toSession(row, config),
      tokenId: token.jti,
      issuedAt: token.issuedAt,
      expiresAt: row.expiresAt.getTime() / 1000,
      claims: {},
    };
  }
}
