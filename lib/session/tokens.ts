import type { AccessTokens } from '../token/access-token.js';
import type { Claims } from '../token/claims.js';
import type { RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig } from '../token/options.js';
import { confirmationOf } from './binding.js';
import { type ShownRow, storedClaims, userIdOf } from './session.js';
import { handedOutAt, type SessionEntity } from './session.entity.js';
import type { SessionPolicyService } from './policy.js';

/** The columns of a session's row from which its tokens and its `Session` are made. */
export type TokenRow = ShownRow & Pick<SessionEntity, 'generation' | 'refreshJti' | 'parentJti' | 'refreshKid'>;

/** Issues the tokens of a session from its row. */
export class SessionTokens {
  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly config: TokenConfig,
  ) {}

  /**
   * Issues an access token for the session.
   * @param now the time of issue, in milliseconds since 1970
   * @param built claims from `buildClaims`, which override the stored ones
   * @param notAfter the latest expiry of the token, in milliseconds since 1970. Default: no bound but the session's
   */
  access(row: TokenRow, policy: SessionPolicyService, now: number, built?: Claims, notAfter = Infinity): string {
    const { claims, amr, authenticatedAt = row.createdAt.getTime() } = storedClaims(row);
    const lifetime = policy.config.accessTokenLifetime;
    return this.accessTokens.issue(
      {
        userId: userIdOf(row, this.config),
        sessionId: row.id,
        type: row.type,
        generation: row.generation,
        claims: built ? { ...claims, ...built } : claims,
        amr,
        authenticatedAt,
        expiresAt: Math.min(policy.boundOf(row), notAfter),
        lifetime,
        confirmation: confirmationOf(row),
      },
      now,
    );
  }

  /** Issues the session's current refresh token. The same row always gives the same text, byte for byte. */
  refresh(row: TokenRow, policy: SessionPolicyService): string {
    return this.refreshTokens.issue({
      sessionId: row.id,
      userId: userIdOf(row, this.config),
      type: row.type,
      generation: row.generation,
      jti: row.refreshJti,
      parentJti: row.parentJti,
      expiresAt: policy.config.permanent ? null : policy.boundOf(row),
      issuedAt: handedOutAt(row),
      kid: row.refreshKid,
    });
  }
}
