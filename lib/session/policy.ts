import { Inject } from '@nestjs/common';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import type { SessionEntity } from './session.entity.js';
import type { SessionPolicyConfig } from './options.js';

/** The columns of a session's row that rotation reads. */
export type RotationState = Pick<
  SessionEntity,
  | 'generation'
  | 'parentGeneration'
  | 'refreshJti'
  | 'parentJti'
  | 'confirmedGeneration'
  | 'rotatedAt'
  | 'expiresAt'
  | 'absoluteExpiresAt'
>;

/**
 * The kinds of reuse. `stale`: older than the parent of the current token. `fork`: the parent itself, or a successor that was
 * replaced by a recovery. `ahead`: newer than the row.
 */
export type ReuseKind = 'stale' | 'fork' | 'ahead';

/** The verdict on a refresh token, as given by `SessionPolicyService.judge`. */
export type Verdict =
  | { kind: 'expired' }
  | { kind: 'keep' }
  | { kind: 'renew' }
  | { kind: 'rotate' }
  | { kind: 'replay' }
  | { kind: 'recover' }
  | { kind: 'reuse'; reuse: ReuseKind };

/** The injection token of a type's `SessionPolicyService`. */
export function sessionPolicyToken(type: string): string {
  return `MULTI_SESSION_POLICY_${type.trim().toUpperCase()}`;
}

/** Injects the `SessionPolicyService` of a session type: `@InjectSessionPolicy('LONG') policy: SessionPolicyService`. */
export const InjectSessionPolicy = (type: string): ParameterDecorator & PropertyDecorator =>
  Inject(sessionPolicyToken(type));

/** The policy of one session type. It only makes decisions and does not store them. Times are in milliseconds since 1970. */
export class SessionPolicyService {
  constructor(
    /** The type's name, spelled as in the options. */
    readonly type: string,
    readonly config: SessionPolicyConfig,
  ) {}

  /**
   * Gives the verdict on a presented refresh token, by the session's row. This is the rule of rotation.
   *
   * P1: an honest client is never logged out if it stores an answer before it uses it and never overwrites a newer
   * generation with an older one.
   *
   * P2: if a thief and the honest client both go on refreshing outside the grace, the session ends by the third refresh (RFC
   * 9700 section 4.14.2).
   * @param confirmedGeneration the highest generation that has been seen in use. Pass it if this process knows of a higher
   * one than the row. Default: that of the row
   */
  judge(
    row: RotationState,
    token: Pick<RefreshTokenClaims, 'generation' | 'jti'>,
    now: number,
    confirmedGeneration: number = row.confirmedGeneration,
  ): Verdict {
    if (now >= row.expiresAt.getTime()) return { kind: 'expired' };
    const inGrace = now - row.rotatedAt.getTime() < this.config.reuseGrace;

    if (token.jti === row.refreshJti) {
      if (!this.handsOut(row, now)) return { kind: 'keep' };
      // Two tabs may refresh one after the other within the grace. A second rotation would supersede the first tab's token.
      return { kind: inGrace ? 'renew' : 'rotate' };
    }
    if (token.jti === row.parentJti) {
      // A retry or a concurrent request: each of them gets the same successor, byte for byte.
      if (inGrace) return { kind: 'replay' };
      // The successor was never used, so the client probably never received it. Replace it. If a thief has it, using it is
      // reuse.
      if (confirmedGeneration < row.generation) return { kind: 'recover' };
    }
    return { kind: 'reuse', reuse: reuseKindOf(row, token) };
  }

  /**
   * Tells whether an access token is older than its type's current lifetime. Revocation entries are kept for that lifetime,
   * so a token from before the lifetime was shortened could outlive its entry.
   * @param issuedAt seconds since 1970
   */
  outlived(issuedAt: number, now: number, clockTolerance: number): boolean {
    return now >= issuedAt * 1000 + this.config.accessTokenLifetime + clockTolerance;
  }

  /** The expiry of a session that is created now. Whole seconds, so that it equals the token's `exp`. */
  firstExpiry(now: number): number {
    return wholeSecond(now + this.config.refreshTokenLifetime);
  }

  /** The absolute expiry of a session that is created now. No extension exceeds it. Null if there is no bound. */
  absoluteExpiry(now: number): number | null {
    const { absoluteLifetime } = this.config;
    return absoluteLifetime === undefined ? null : wholeSecond(now + absoluteLifetime);
  }

  /**
   * Tells whether a refresh now extends the session. It does if less than `extendBelow` remains and the absolute expiry
   * allows it.
   */
  extensionDue(
    { expiresAt, absoluteExpiresAt }: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt'>,
    now: number,
  ): boolean {
    const remaining = expiresAt.getTime() - now;
    return remaining < this.config.extendBelow && expiresAt.getTime() < (absoluteExpiresAt?.getTime() ?? Infinity);
  }

  /** The session's expiry after a refresh now: later than before if an extension is due, never earlier. */
  nextExpiry(row: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt'>, now: number): number {
    const expiresAt = row.expiresAt.getTime();
    if (!this.extensionDue(row, now)) return expiresAt;
    return Math.max(expiresAt, Math.min(this.firstExpiry(now), row.absoluteExpiresAt?.getTime() ?? Infinity));
  }

  /**
   * The new expiry that a refresh of a permanent session writes, at most once per `touchInterval`.
   * @returns undefined if the refresh writes nothing
   */
  slidingExpiry(
    row: Pick<SessionEntity, 'lastUpdate' | 'expiresAt' | 'absoluteExpiresAt'>,
    now: number,
  ): number | undefined {
    if (now - row.lastUpdate.getTime() < this.config.touchInterval) return undefined;
    const bound = row.absoluteExpiresAt?.getTime() ?? Infinity;
    return Math.max(row.expiresAt.getTime(), Math.min(this.firstExpiry(now), bound));
  }

  /** Tells whether a refresh now hands out a new refresh token: the policy rotates, or an extension is due. */
  handsOut(row: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt'>, now: number): boolean {
    return this.config.rotateRefreshTokens || this.extensionDue(row, now);
  }

  /** How many more sessions a user with `active` sessions may have. Infinity if there is no limit, never negative. */
  available(active: number): number {
    return Math.max(0, this.config.maxActiveSessions - active);
  }

  /** Chooses the sessions to evict so that one more fits: the least recently updated first, then the earliest created. */
  evicted<S extends LastUse>(active: readonly S[]): S[] {
    const excess = active.length + 1 - this.config.maxActiveSessions;
    return leastRecentlyUsed(active, excess);
  }
}

/** Returns the `count` least recently updated sessions. Among equals, the earliest created come first. */
export function leastRecentlyUsed<S extends LastUse>(sessions: readonly S[], count: number): S[] {
  return count <= 0 ? [] : [...sessions].sort(byLastUse).slice(0, count);
}

type LastUse = Pick<SessionEntity, 'id' | 'lastUpdate' | 'createdAt'>;

function byLastUse(a: LastUse, b: LastUse): number {
  return (
    a.lastUpdate.getTime() - b.lastUpdate.getTime() ||
    a.createdAt.getTime() - b.createdAt.getTime() ||
    (a.id < b.id ? -1 : 1)
  );
}

function reuseKindOf(row: RotationState, token: Pick<RefreshTokenClaims, 'generation'>): ReuseKind {
  if (token.generation > row.generation) return 'ahead';
  return token.generation < (row.parentGeneration ?? 0) ? 'stale' : 'fork';
}

function wholeSecond(time: number): number {
  return Math.floor(time / 1000) * 1000;
}
