import type { AccessTokens } from '../token/access-token.js';
import type { Claims } from '../token/keyring.js';
import type { RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig } from '../token/options.js';
import { storedClaims, userIdOf } from './session.js';
import { handedOutAt, type SessionEntity } from './session.entity.js';
import type { SessionPolicyService } from './policy.js';

/** Issues the tokens of a session from its row. */
export class SessionTokens {
  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly config: TokenConfig,
  ) {}

  /**
   * Issues an access token of the session.
   * @param now the time of issue, in milliseconds since 1970
   * @param built claims of `buildClaims`, which override the stored ones
   */
  access(row: SessionEntity, policy: SessionPolicyService, now: number, built?: Claims): string {
    const { claims, amr } = storedClaims(row);
    const lifetime = policy.config.accessTokenLifetime;
    return this.accessTokens.issue(
      {
        userId: userIdOf(row, this.config),
        sessionId: row.id,
        type: row.type,
        generation: row.generation,
        claims: built ? { ...claims, ...built } : claims,
        amr,
        authenticatedAt: row.createdAt.getTime(),
        expiresAt: row.expiresAt.getTime(),
        lifetime,
      },
      now,
    );
  }

  /** Issues the session's current refresh token. The same row always gives the same text, byte for byte. */
  refresh(row: SessionEntity, { config }: SessionPolicyService): string {
    return this.refreshTokens.issue({
      sessionId: row.id,
      userId: userIdOf(row, this.config),
      type: row.type,
      generation: row.generation,
      jti: row.refreshJti,
      expiresAt: config.permanent ? null : row.expiresAt.getTime(),
      issuedAt: handedOutAt(row),
      kid: row.refreshKid,
    });
  }
}
