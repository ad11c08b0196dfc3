import type { Claims } from '../token/keyring.js';
import { storedClaims, userIdOf } from './session.js';
import { handedOutAt, type SessionEntity } from './session.entity.js';
import type { SessionParts } from './session-parts.js';
import type { SessionPolicyService } from './policy.js';

/** Makes the tokens of a session from its row. */
export class SessionTokens {
  constructor(private readonly parts: Pick<SessionParts, 'tokens' | 'accessTokens' | 'refreshTokens'>) {}

  /** An access token that speaks for the session from `now` on. @param built claims that are laid over the stored ones */
  access(row: SessionEntity, policy: SessionPolicyService, now: number, built?: Claims): string {
    const { claims, amr } = storedClaims(row);
    const lifetime = policy.config.accessTokenLifetime;
    return this.parts.accessTokens.issue(
      {
        userId: userIdOf(row, this.parts.tokens),
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

  /** The session's current refresh token, to the letter as often as it is asked for. */
  refresh(row: SessionEntity, { config }: SessionPolicyService): string {
    return this.parts.refreshTokens.issue({
      sessionId: row.id,
      userId: userIdOf(row, this.parts.tokens),
      type: row.type,
      generation: row.generation,
      jti: row.refreshJti,
      expiresAt: config.permanent ? null : row.expiresAt.getTime(),
      issuedAt: handedOutAt(row),
      kid: row.refreshKid,
    });
  }
}
