import type { Claims } from '../token/keyring.js';
import { isLiveSessionOf, type Session, toSession } from './session.js';
import type { SessionParts } from './session-parts.js';
import { contradicts } from './refresh.js';

/** A token that is valid now, with its session. */
export interface IntrospectedToken {
  readonly use: 'access' | 'refresh';
  readonly session: Session;
  readonly tokenId: string;
  /** Seconds since 1970. */
  readonly issuedAt: number;
  /** Seconds since 1970. */
  readonly expiresAt: number;
  /** All claims of an access token; none of a refresh token. */
  readonly claims: Readonly<Claims>;
}

/**
 * What a token is worth at this moment, for others to ask (RFC 7662). It reads the session's row, whatever the policy's
 * `accessCheck`, and changes nothing: nothing is noted as seen in use, and nothing is ended.
 */
export class SessionIntrospection {
  constructor(private readonly parts: SessionParts) {}

  /** @returns null for whatever is not valid, with no reason given; a superseded refresh token is not valid */
  async introspect(token: string): Promise<IntrospectedToken | null> {
    return (await this.accessToken(token)) ?? (await this.refreshToken(token));
  }

  private async accessToken(token: string): Promise<IntrospectedToken | null> {
    const { accessTokens, policies, clock, tokens, store } = this.parts;
    const current = accessTokens.verify(token);
    const policy = current && policies.get(current.sessionType);
    if (!policy || policy.outlived(current.issuedAt, clock.now(), tokens.clockTolerance)) return null;
    const row = await store.find(current.sessionId);
    if (!isLiveSessionOf(current, row, clock.now())) return null;
    const { tokenId, issuedAt, expiresAt, claims } = current;
    return { use: 'access', session: toSession(row, tokens), tokenId, issuedAt, expiresAt, claims };
  }

  private async refreshToken(text: string): Promise<IntrospectedToken | null> {
    const { refreshTokens, policies, clock, tokens, store } = this.parts;
    const token = refreshTokens.verify(text);
    if (!token || !policies.get(token.type)) return null;
    const row = await store.find(token.sessionId);
    const isCurrent = row && !contradicts(token, row) && token.jti === row.refreshJti;
    if (!isCurrent || row.expiresAt.getTime() <= clock.now()) return null;
    return {
      use: 'refresh',
      session: toSession(row, tokens),
      tokenId: token.jti,
      issuedAt: token.issuedAt,
      expiresAt: row.expiresAt.getTime() / 1000,
      claims: {},
    };
  }
}
