import { type AccessCall, WRONG_KEY } from '../binding/access-sender.js';
import type { Clock } from '../database/clock.js';
import { DeviceProofRequiredError, TokenNotValidError } from '../errors.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { AccessTokens, SessionClaims } from '../token/access-token.js';
import type { Claims } from '../token/claims.js';
import type { TokenConfig } from '../token/options.js';
import { AccessVerifier } from './access-verifier.js';
import type { SessionPolicies } from './policies.js';
import type { SessionPolicyService } from './policy.js';
import type { SeenGenerations } from './seen-generations.js';
import type { SenderCheck } from './sender-check.js';
import type { OldAccess } from './old-access.js';
import { isLiveSessionOf } from './session.js';
import type { SessionStore } from './store.js';

/** Checks the access token of each request by the policy of its type, and against memory or the session's row. */
export class SessionAccess extends AccessVerifier {
  /** @param old accepts access tokens of an old system. Default: none are accepted */
  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly policies: SessionPolicies,
    private readonly revoked: RevokedSessions,
    private readonly store: SessionStore,
    private readonly seen: SeenGenerations,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
    private readonly senders: SenderCheck,
    private readonly old?: OldAccess,
  ) {
    super();
  }

  verify(token: string, call?: AccessCall): SessionClaims | Promise<SessionClaims> {
    const claims = this.accessTokens.verify(token);
    if (!claims) throw new TokenNotValidError('access');
    if (call !== undefined || claims.confirmation !== undefined) this.senders.assertSender(token, claims, call);
    return this.admit(claims);
  }

  /**
   * Does the same as `verify` for the claims of a bearer token whose signature has been verified elsewhere, for example by
   * passport-jwt.
   */
  verifyClaims(verified: Claims): SessionClaims | Promise<SessionClaims> {
    const claims = this.accessTokens.fromVerifiedClaims(verified);
    if (!claims) throw new TokenNotValidError('access');
    if (claims.confirmation !== undefined) throw new DeviceProofRequiredError(WRONG_KEY);
    return this.admit(claims);
  }

  override verifyOld(token: string): Promise<SessionClaims> | undefined {
    return this.old?.verify(token);
  }

  now(): number {
    return this.clock.now();
  }

  private admit(claims: SessionClaims): SessionClaims | Promise<SessionClaims> {
    const { policies, clock, config } = this;
    const policy = policies.get(claims.sessionType);
    // Fail closed if the type was removed from the options.
    if (!policy || policy.outlived(claims.issuedAt, clock.now(), config.clockTolerance))
      throw new TokenNotValidError('access');
    const { accessCheck } = policy.config;
    const isCurrent = this.accessTokens.isOfCurrentEpoch(claims, accessCheck === 'signature' ? 'memory' : 'fresh');
    return isCurrent === true ? this.admitByType(claims, policy) : this.admitByEpoch(claims, policy, isCurrent);
  }

  /** Admits a token after the epoch has been read. Requests get here only after a restored backup, or if memory is stale. */
  private async admitByEpoch(
    claims: SessionClaims,
    policy: SessionPolicyService,
    isCurrent: boolean | Promise<boolean>,
  ): Promise<SessionClaims> {
    if (await isCurrent) return this.admitByType(claims, policy);
    throw new TokenNotValidError('access');
  }

  private admitByType(claims: SessionClaims, policy: SessionPolicyService): SessionClaims | Promise<SessionClaims> {
    const { revoked } = this;
    const { accessCheck } = policy.config;
    if (accessCheck === 'signature') return this.admitted(claims, policy);
    const known = accessCheck === 'session' ? 'unknown' : revoked.stateOf(claims.sessionId);
    if (known === 'ended') throw new TokenNotValidError('access');
    return known === 'unknown' ? this.admitByRow(claims, policy) : this.admitted(claims, policy);
  }

  private async admitByRow(claims: SessionClaims, policy: SessionPolicyService): Promise<SessionClaims> {
    const row = await this.store.findForCheck(claims.sessionId);
    if (!isLiveSessionOf(claims, row, policy, this.clock.now())) throw new TokenNotValidError('access');
    return this.admitted(claims, policy);
  }

  /** Returns the claims with the type as the options spell it, so that applications can compare it. */
  private admitted(claims: SessionClaims, { type }: SessionPolicyService): SessionClaims {
    this.seen.note(claims.sessionId, claims.generation);
    return claims.sessionType === type ? claims : { ...claims, sessionType: type };
  }
}
