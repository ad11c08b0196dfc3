import { Inject } from '@nestjs/common';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import type { SessionEntity } from './session.entity.js';
import { parentHashOf } from '../token/parent-hash.js';
import type { SessionPolicyConfig } from './options.js';

/** The columns of a session's row that rotation reads. */
export type RotationState = Pick<
  SessionEntity,
  'generation' | 'parentGeneration' | 'refreshJti' | 'parentJti' | 'confirmedGeneration' | 'absoluteExpiresAt'
> &
  LifeState;

/** The columns of a session's row that decide when it ends. */
export type LifeState = Pick<SessionEntity, 'createdAt' | 'lastUpdate' | 'rotatedAt' | 'expiresAt'>;

/** Stands for "no limit" in SQL: the latest time that a `Date` can hold, in milliseconds. */
export const UNLIMITED = 8.64e15;

/**
 * The kinds of reuse. `stale`: older than the parent of the current token. `fork`: the parent itself, or a successor that was
 * replaced by a recovery.
 */
export type ReuseKind = 'stale' | 'fork';

/**
 * The verdict on a refresh token, as given by `SessionPolicyService.judge`. `overdue`: the session has not expired, but the
 * lifetimes that the policy has now do not let it live any longer.
 *
 * `adopt` and `ahead`: the token is of a generation that the row has not reached, because the database has lost commits. It is
 * adopted if it states that its parent is the row's current token, or the parent of a current token that was never used.
 * Otherwise it is refused, and nothing changes.
 */
export type Verdict =
  | { kind: 'expired' }
  | { kind: 'overdue' }
  | { kind: 'keep' }
  | { kind: 'renew' }
  | { kind: 'rotate' }
  | { kind: 'replay' }
  | { kind: 'hold' }
  | { kind: 'recover' }
  | { kind: 'adopt'; parent: 'current' | 'parent' }
  | { kind: 'ahead' }
  | { kind: 'reuse'; reuse: ReuseKind };

/** A policy in the form in which the statements of a refresh take it. Time spans are in milliseconds unless the name says otherwise. */
export interface PolicyValues {
  /** The type's name, spelled as in the options. */
  readonly currentType: string;
  readonly lifetime: number;
  readonly absoluteLifetime: number;
  readonly extendBelow: number;
  /** 1 if a new generation may only begin when it extends the session. */
  readonly onlyExtends: 0 | 1;
  /** How long after a rotation the next one may begin: see `SessionPolicyService.judge`. */
  readonly rotationPause: number;
  readonly touchInterval: number;
  readonly accessSeconds: number;
  /** 1 if a refresh sets `lastUpdate`. */
  readonly setsLastUpdate: 0 | 1;
  /** See `SessionPolicyService.showsUse`. */
  readonly showsUse: 0 | 1;
  /** How long after the login an unbound session may still refresh. */
  readonly bindBefore: number;
}

/** The injection token of a type's `SessionPolicyService`. */
export function sessionPolicyToken(type: string): string {
  return `MULTI_SESSION_POLICY_${type.trim().toUpperCase()}`;
}

/** Injects the `SessionPolicyService` of a session type: `@InjectSessionPolicy('LONG') policy: SessionPolicyService`. */
export const InjectSessionPolicy = (type: string): ParameterDecorator & PropertyDecorator =>
  Inject(sessionPolicyToken(type));

/** The policy of one session type. It only makes decisions and does not store them. Times are in milliseconds since 1970. */
export class SessionPolicyService {
  /** The policy as values for SQL. */
  readonly values: PolicyValues;
  private replacingPolicy?: SessionPolicyService;

  /** @param alwaysHandsOut whether each refresh hands out a new refresh token, even if the policy does not rotate */
  constructor(
    /** The type's name, spelled as in the options. */
    readonly type: string,
    readonly config: SessionPolicyConfig,
    private readonly alwaysHandsOut = config.rotateRefreshTokens,
  ) {
    this.values = {
      currentType: type,
      lifetime: config.refreshTokenLifetime,
      absoluteLifetime: config.absoluteLifetime ?? UNLIMITED,
      extendBelow: Math.min(config.extendBelow, UNLIMITED),
      onlyExtends: alwaysHandsOut ? 0 : 1,
      rotationPause: 2 * config.reuseGrace,
      touchInterval: config.touchInterval,
      accessSeconds: config.accessTokenLifetime / 1000,
      setsLastUpdate: config.updateLastLogin ? 1 : 0,
      showsUse: this.showsUse ? 1 : 0,
      bindBefore: config.binding === 'require' ? config.bindWithin : UNLIMITED,
    };
  }

  /** The same policy for a token that its next refresh must replace, such as one of an old system. */
  get replacing(): SessionPolicyService {
    return (this.replacingPolicy ??= new SessionPolicyService(this.type, this.config, true));
  }

  /**
   * Whether each refresh leaves its time in the row. If not, a row may be older than the last use of its session.
   */
  get showsUse(): boolean {
    const { permanent, rotateRefreshTokens, updateLastLogin, extendBelow } = this.config;
    return permanent || rotateRefreshTokens || updateLastLogin || extendBelow === Infinity;
  }

  /**
   * Returns when the session ends under the lifetimes that the policy has now, in milliseconds since 1970: the earliest of
   * the row's expiry, the login plus `absoluteLifetime`, and the last use plus `refreshTokenLifetime`.
   *
   * The last two are earlier than the row's expiry only if the lifetimes were shortened after the row was written. The row
   * keeps its expiry, so that a mistaken setting can be taken back.
   */
  endOf(row: LifeState): number {
    const lastUse = this.lastUseOf(row) ?? Infinity;
    return Math.min(this.boundOf(row), lastUse + this.config.refreshTokenLifetime);
  }

  /** Whether the session has not ended under the lifetimes that the policy has now. */
  isActive(row: LifeState, now: number): boolean {
    return this.endOf(row) > now;
  }

  /**
   * Returns the latest expiry that a refresh token of this row may state. Uses of the token do not change it, so a token that
   * is handed out again is identical.
   */
  boundOf({ createdAt, expiresAt }: Pick<LifeState, 'createdAt' | 'expiresAt'>): number {
    const { absoluteLifetime = Infinity } = this.config;
    return Math.min(expiresAt.getTime(), createdAt.getTime() + absoluteLifetime);
  }

  /** Returns when a session ends that is used now and then no more, in milliseconds since 1970. */
  endAfterUse(row: Pick<LifeState, 'createdAt' | 'expiresAt'>, now: number): number {
    return Math.min(this.boundOf(row), now + this.config.refreshTokenLifetime);
  }

  /**
   * Returns the last use of the session, or undefined if the row does not show it. Without `showsUse`, it shows a use only if
   * the lifetime had already been shortened then: see `recordsUseAt`.
   */
  private lastUseOf({ createdAt, lastUpdate, rotatedAt }: LifeState): number | undefined {
    const issuedAt = Math.max(createdAt.getTime(), rotatedAt.getTime());
    if (this.showsUse) return Math.max(issuedAt, lastUpdate.getTime());
    return lastUpdate.getTime() > issuedAt ? lastUpdate.getTime() : undefined;
  }

  /**
   * Whether a refresh now must record its time, although the policy does not ask for it. It must if the session would live
   * longer than `refreshTokenLifetime` from now, because that lifetime was shortened: without a record, nobody could tell
   * when the session has been unused for too long.
   */
  recordsUseAt({ expiresAt }: Pick<LifeState, 'expiresAt'>, now: number): boolean {
    return !this.showsUse && expiresAt.getTime() > now + this.config.refreshTokenLifetime;
  }

  /**
   * Gives the verdict on a presented refresh token, by the session's row. This is the rule of rotation.
   *
   * Within `reuseGrace` of a rotation, the parent and the current token get the current token again. For as long after that,
   * they are held: both get access tokens, but no refresh token that they do not have. So every answer with the current token
   * has arrived, or is lost, before the session rotates again or takes that token for lost.
   *
   * P1: an honest client is never logged out if it stores an answer before it uses it and never overwrites a newer
   * generation with an older one. Its requests and answers may take up to half of `reuseGrace`.
   *
   * P2: if a thief and the honest client both go on refreshing, and wait for twice `reuseGrace` in between, the session ends by
   * the third refresh (RFC 9700 section 4.14.2).
   * @param confirmedGeneration the highest generation that has been seen in use. Pass it if this process knows of a higher
   * one than the row. Default: that of the row
   */
  judge(
    row: RotationState,
    token: Pick<RefreshTokenClaims, 'generation' | 'jti' | 'parentHash'>,
    now: number,
    confirmedGeneration: number = row.confirmedGeneration,
  ): Verdict {
    if (token.generation > row.generation) return this.judgeAhead(row, token, now, confirmedGeneration);
    if (now >= row.expiresAt.getTime()) return { kind: 'expired' };
    if (!this.isActive(row, now)) return { kind: 'overdue' };
    const sinceRotation = now - row.rotatedAt.getTime();
    const inGrace = sinceRotation < this.config.reuseGrace;
    const isHeld = sinceRotation < this.values.rotationPause;

    if (token.jti === row.refreshJti) {
      if (!this.handsOut(row, now)) return { kind: 'keep' };
      // Two tabs may refresh one after the other within the grace. A second rotation would supersede the first tab's token.
      if (inGrace) return { kind: 'renew' };
      return { kind: isHeld ? 'hold' : 'rotate' };
    }
    if (token.jti === row.parentJti) {
      // A retry or a concurrent request: each of them gets the same successor, byte for byte.
      if (inGrace) return { kind: 'replay' };
      // The successor may just be on its way to another tab.
      if (isHeld) return { kind: 'hold' };
      // The successor was never used, so the client probably never received it. Replace it. If a thief has it, using it is
      // reuse.
      if (confirmedGeneration < row.generation) return { kind: 'recover' };
    }
    return { kind: 'reuse', reuse: reuseKindOf(row, token) };
  }

  /**
   * Gives the verdict on a token of a generation that the row has not reached. Each generation begins with a commit, so the
   * database has lost one. A thief could make such a token only with our key and the `jti` of a token that works by itself.
   */
  private judgeAhead(
    row: RotationState,
    { parentHash }: Pick<RefreshTokenClaims, 'parentHash'>,
    now: number,
    confirmedGeneration: number,
  ): Verdict {
    if (parentHash === undefined || !this.isActive(row, now)) return { kind: 'ahead' };
    if (parentHash === parentHashOf(row.refreshJti)) return { kind: 'adopt', parent: 'current' };
    const isRecovery = row.parentJti !== null && parentHash === parentHashOf(row.parentJti);
    return isRecovery && confirmedGeneration < row.generation ? { kind: 'adopt', parent: 'parent' } : { kind: 'ahead' };
  }

  /**
   * Tells whether an access token is older than its type's current lifetime. A shorter lifetime therefore reaches tokens that
   * were issued before.
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
    { expiresAt, absoluteExpiresAt, createdAt }: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt' | 'createdAt'>,
    now: number,
  ): boolean {
    const { extendBelow, absoluteLifetime = Infinity } = this.config;
    const bound = Math.min(
      absoluteExpiresAt?.getTime() ?? Infinity,
      wholeSecond(createdAt.getTime() + absoluteLifetime),
    );
    return expiresAt.getTime() - now < extendBelow && expiresAt.getTime() < bound;
  }

  /** Tells whether a refresh of a permanent session now moves its expiry. It does so at most once per `touchInterval`. */
  slideDue({ lastUpdate }: Pick<SessionEntity, 'lastUpdate'>, now: number): boolean {
    return now - lastUpdate.getTime() >= this.config.touchInterval;
  }

  /** Tells whether a refresh now hands out a new refresh token: the policy rotates, or an extension is due. */
  handsOut(row: Pick<RotationState, 'expiresAt' | 'absoluteExpiresAt' | 'createdAt'>, now: number): boolean {
    return this.alwaysHandsOut || this.extensionDue(row, now);
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
  return token.generation < (row.parentGeneration ?? 0) ? 'stale' : 'fork';
}

/** Rounds a time down to a whole second, because tokens state their expiry in seconds. */
export function wholeSecond(time: number): number {
  return Math.floor(time / 1000) * 1000;
}
