import { Inject } from '@nestjs/common';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import type { SessionEntity } from './session.entity.js';
import type { SessionPolicyConfig } from './options.js';

/** The part of a session's row that rotation is about. */
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

/** How a reused token is told apart: older than the parent; the parent or a dead successor; newer than the row. */
export type ReuseKind = 'stale' | 'fork' | 'ahead';

/** What is to be done with a refresh token. `SessionPolicyService.judge` says which. */
export type Verdict =
  | { kind: 'expired' }
  | { kind: 'keep' }
  | { kind: 'renew' }
  | { kind: 'rotate' }
  | { kind: 'replay' }
  | { kind: 'recover' }
  | { kind: 'reuse'; reuse: ReuseKind };

/** The token by which `@InjectSessionPolicy(type)` finds the policy of a type. */
export function sessionPolicyToken(type: string): string {
  return `MULTI_SESSION_POLICY_${type.trim().toUpperCase()}`;
}

/** Injects the `SessionPolicyService` of a session type: `@InjectSessionPolicy('LONG') policy: SessionPolicyService`. */
export const InjectSessionPolicy = (type: string): ParameterDecorator & PropertyDecorator =>
  Inject(sessionPolicyToken(type));

/** Decides for one session type, and never stores. Times are in milliseconds. */
export class SessionPolicyService {
  constructor(
    /** The type's name, as it was configured. */
    readonly type: string,
    readonly config: SessionPolicyConfig,
  ) {}

  /**
   * The one rule of rotation: a presented token meets the row.
   *
   * P1: an honest client that stores an answer before it uses it, and never puts an older generation over a newer, is never
   * logged out. P2: once a thief and the honest client both go on refreshing outside the grace, the session ends by the
   * third move (RFC 9700 section 4.14.2).
   *
   * @param confirmedGeneration the highest generation seen in use, in the row or noted and not yet written
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
      // Two tabs that refresh one after the other within the grace: without this, the second would kill the first's token.
      return { kind: inGrace ? 'renew' : 'rotate' };
    }
    if (token.jti === row.parentJti) {
      // A retry, or requests at once: all of them get the one successor, to the letter.
      if (inGrace) return { kind: 'replay' };
      // Nobody has used the successor, so it was lost on its way: it dies, and its holder, if any, is found out at its use.
      if (confirmedGeneration < row.generation) return { kind: 'recover' };
    }
    return { kind: 'reuse', reuse: reuseKindOf(row, token) };
  }

  /**
   * Whether an access token is older than its type's lifetime is now: blacklist entries are kept no longer than that, so one from
   * before the lifetime was shortened could outlive its entry. @param issuedAt seconds since 1970
   */
  outlived(issuedAt: number, now: number, clockTolerance: number): boolean {
    return now >= issuedAt * 1000 + this.config.accessTokenLifetime + clockTolerance;
  }

  /** When a session that begins now ends: whole seconds, so that the token's `exp` is it. */
  firstExpiry(now: number): number {
    return wholeSecond(now + this.config.refreshTokenLifetime);
  }

  /** What extension never goes past, for a session that begins now; null for no bound. */
  absoluteExpiry(now: number): number | null {
    const { absoluteLifetime } = this.config;
    return absoluteLifetime === undefined ? null : wholeSecond(now + absoluteLifetime);
  }

  /** Whether a refresh now extends the session: less of it is left than the policy says, and it may still be moved. */
  extensionDue(
    { expiresAt, absoluteExpiresAt }: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt'>,
    now: number,
  ): boolean {
    const remaining = expiresAt.getTime() - now;
    return remaining < this.config.extendBelow && expiresAt.getTime() < (absoluteExpiresAt?.getTime() ?? Infinity);
  }

  /** When the session ends after a refresh now: later than before where an extension is due, never earlier. */
  nextExpiry(row: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt'>, now: number): number {
    const expiresAt = row.expiresAt.getTime();
    if (!this.extensionDue(row, now)) return expiresAt;
    return Math.max(expiresAt, Math.min(this.firstExpiry(now), row.absoluteExpiresAt?.getTime() ?? Infinity));
  }

  /**
   * What a refresh with a permanent session's token writes: its new end, once in a `touchInterval`. @returns undefined where it
   * writes nothing
   */
  slidingExpiry(
    row: Pick<SessionEntity, 'lastUpdate' | 'expiresAt' | 'absoluteExpiresAt'>,
    now: number,
  ): number | undefined {
    if (now - row.lastUpdate.getTime() < this.config.touchInterval) return undefined;
    const bound = row.absoluteExpiresAt?.getTime() ?? Infinity;
    return Math.max(row.expiresAt.getTime(), Math.min(this.firstExpiry(now), bound));
  }

  /** Whether a refresh now hands out a new refresh token: the policy rotates, or an extension is due. */
  handsOut(row: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt'>, now: number): boolean {
    return this.config.rotateRefreshTokens || this.extensionDue(row, now);
  }

  /** How many more sessions a user with `active` ones may have; Infinity where there is no limit, never negative. */
  available(active: number): number {
    return Math.max(0, this.config.maxActiveSessions - active);
  }

  /** The sessions that must go so that one more fits: the least recently updated first, then the earliest created. */
  evicted<S extends LastUse>(active: readonly S[]): S[] {
    const excess = active.length + 1 - this.config.maxActiveSessions;
    return leastRecentlyUsed(active, excess);
  }
}

/** So many sessions: the least recently updated first, then the earliest created. */
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
