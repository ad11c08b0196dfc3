import type { Clock } from '../database/clock.js';
import { TokenNotValidError } from '../errors.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { AccessTokens, SessionClaims } from '../token/access-token.js';
import type { Claims } from '../token/keyring.js';
import type { TokenConfig } from '../token/options.js';
import { AccessVerifier } from './access-verifier.js';
import type { SessionPolicies } from './policies.js';
import type { SeenGenerations } from './seen-generations.js';
import { isLiveSessionOf } from './session.js';
import type { SessionStore } from './store.js';

/** Checks the access token of each request against its policy, and against memory or the session's row. */
export class SessionAccess extends AccessVerifier {
  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly policies: SessionPolicies,
    private readonly revoked: RevokedSessions,
    private readonly store: SessionStore,
    private readonly seen: SeenGenerations,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {
    super();
  }

  verify(token: string): SessionClaims | Promise<SessionClaims> {
    const claims = this.accessTokens.verify(token);
    if (!claims) throw new TokenNotValidError('access');
    return this.admit(claims);
  }

  /** Does the same for claims whose signature has been verified elsewhere, as passport-jwt does. */
  verifyClaims(verified: Claims): SessionClaims | Promise<SessionClaims> {
    const claims = this.accessTokens.fromVerifiedClaims(verified);
    if (!claims) throw new TokenNotValidError('access');
    return this.admit(claims);
  }

  now(): number {
    return this.clock.now();
  }

  private admit(claims: SessionClaims): SessionClaims | Promise<SessionClaims> {
    const { policies, revoked, clock, config } = this;
    const policy = policies.get(claims.sessionType);
    // A type that was removed from the options fails closed.
    if (!policy || policy.outlived(claims.issuedAt, clock.now(), config.clockTolerance))
      throw new TokenNotValidError('access');
    const { accessCheck } = policy.config;
    if (accessCheck === 'session' || (accessCheck === 'blacklist' && !revoked.isFresh()))
      return this.admitByRow(claims);
    if (accessCheck === 'blacklist' && revoked.has(claims.sessionId)) throw new TokenNotValidError('access');
    this.seen.note(claims.sessionId, claims.generation);
    return claims;
  }

  private async admitByRow(claims: SessionClaims): Promise<SessionClaims> {
    const row = await this.store.findForCheck(claims.sessionId);
    if (!isLiveSessionOf(claims, row, this.clock.now())) throw new TokenNotValidError('access');
    this.seen.note(claims.sessionId, claims.generation);
    return claims;
  }
}
