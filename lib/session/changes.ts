import { SessionDataError, SessionNotFoundError } from '../errors.js';
import type { Clock } from '../database/clock.js';
import type { SessionClaims } from '../token/access-token.js';
import type { TokenConfig } from '../token/options.js';
import type { ApplicationClaims } from './claims.js';
import { mergeData, type SessionData, type SessionDataPatch } from './data.js';
import type { SessionPolicies } from './policies.js';
import type { RefreshedSession } from './refreshed-session.js';
import type { SessionEntity } from './session.entity.js';
import { storedClaims, toSession } from './session.js';
import type { SessionStore } from './store.js';
import type { SessionTokens } from './tokens.js';

/** Changes the data and the claims of sessions. */
export class SessionChanges {
  /** @param maxCookieToken the longest access token that fits into a cookie, in bytes */
  constructor(
    private readonly store: SessionStore,
    private readonly policies: SessionPolicies,
    private readonly tokens: SessionTokens,
    private readonly claims: ApplicationClaims,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
    private readonly maxCookieToken: number,
  ) {}

  /** See `SessionService.mergeData`. */
  async mergeData(sessionId: string, patch: SessionDataPatch): Promise<SessionData> {
    const row = await this.store.change(sessionId, (old) => {
      this.assertUsable(old);
      return { data: mergeData(old.data, patch) };
    });
    if (!row) throw new SessionNotFoundError();
    return row.data as SessionData;
  }

  /** See `SessionService.regenerate`. */
  async regenerate(
    current: Pick<SessionClaims, 'sessionId' | 'generation' | 'expiresAt'>,
    claims: SessionDataPatch,
    request?: unknown,
  ): Promise<RefreshedSession> {
    if (!Number.isFinite(current.expiresAt))
      throw new TypeError(
        "regenerate: the first argument has no expiresAt; pass the claims of the caller's access token",
      );
    this.claims.check(claims);
    const now = this.clock.now();
    const row = await this.store.change(current.sessionId, (old) => {
      this.assertUsable(old);
      const merged = mergeData(old.claims, claims);
      this.claims.check(storedClaims({ claims: merged }).claims ?? {});
      this.assertFitsCookie(old, merged, now);
      return { claims: merged };
    });
    const policy = row && this.policies.get(row.type);
    if (!policy) throw new SessionNotFoundError();
    const built = await this.claims.build(row, await this.claims.userOf(row, request), request);
    const asked = Object.assign(row, { generation: Math.min(current.generation, row.generation) });
    const access = this.tokens.access(asked, policy, now, built, current.expiresAt * 1000);
    return { session: toSession(row, this.config), access };
  }

  private assertUsable(row: SessionEntity): void {
    if (!this.policies.isUsable(row, this.clock.now())) throw new SessionNotFoundError();
  }

  /** Refuses claims with which the session could not deliver an access token any more. */
  private assertFitsCookie(row: SessionEntity, claims: SessionData, now: number): void {
    const policy = this.policies.get(row.type);
    if (row.transport !== 'cookie' || !policy) return;
    const { length } = this.tokens.access({ ...row, claims }, policy, now);
    if (length > this.maxCookieToken)
      throw new SessionDataError(
        `claims: make an access token of ${length} bytes, but at most ${this.maxCookieToken} fit into a cookie`,
      );
  }
}
