import type { Clock } from '../database/clock.js';
import { TokenNotValidError } from '../errors.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { AccessTokens, SessionClaims } from '../token/access-token.js';
import { EndedSessions } from './ended-sessions.js';
import type { SessionEvents } from './events.js';
import type { SessionPolicies } from './policies.js';
import type { SessionPolicyService } from './policy.js';
import { isLiveSessionOf } from './session.js';
import type { SessionStore } from './store.js';

/** Tells which sessions have ended, from memory, or from the session's row if memory is stale. */
export class KnownEndings extends EndedSessions {
  constructor(
    private readonly events: SessionEvents,
    private readonly accessTokens: AccessTokens,
    private readonly policies: SessionPolicies,
    private readonly revoked: RevokedSessions,
    private readonly store: SessionStore,
    private readonly clock: Clock,
  ) {
    super();
  }

  onEnded(listener: (sessionId: string) => void): () => void {
    return this.events.on('session.revoked', ({ sessionId }) => listener(sessionId));
  }

  check(session: SessionClaims): void | Promise<void> {
    const policy = this.policies.get(session.sessionType);
    // Fail closed if the type was removed from the options.
    if (!policy) throw new TokenNotValidError('access');
    const isCurrent = this.accessTokens.isOfCurrentEpoch(session);
    const known = isCurrent === true ? this.revoked.stateOf(session.sessionId) : 'unknown';
    if (known === 'ended') throw new TokenNotValidError('access');
    if (known === 'unknown') return this.checkRow(session, policy, isCurrent);
  }

  private async checkRow(
    session: SessionClaims,
    policy: SessionPolicyService,
    isCurrent: boolean | Promise<boolean>,
  ): Promise<void> {
    const row = (await isCurrent) ? await this.store.findForCheck(session.sessionId) : null;
    if (!isLiveSessionOf(session, row, policy, this.clock.now())) throw new TokenNotValidError('access');
  }
}
