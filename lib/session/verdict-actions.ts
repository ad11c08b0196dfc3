import { Logger } from '@nestjs/common';
import { TokenNotValidError } from '../errors.js';
import { RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig } from '../token/options.js';
import type { ChangeLog } from './change-log.js';
import { type ClientInfo, isAnotherClient } from './client-info.js';
import type { SessionEndings } from './endings.js';
import type { SessionEvents } from './events.js';
import type { SessionPolicyService, Verdict } from './policy.js';
import type { PresentedToken } from './presented-token.js';
import type { JudgedRow } from './refresh-sql.js';
import {
  currentTokenOf,
  type NextGeneration,
  type RefreshedRow,
  type Refresher,
  type RefreshStore,
} from './refresh-store.js';
import type { SeenGenerations } from './seen-generations.js';
import { describeAdoption, describeAhead, describeReuse, supersededEvent, supersededNote } from './superseded-token.js';

/** A granted refresh: the row afterwards, and whether the answer carries a refresh token. */
export interface Granted {
  readonly row: RefreshedRow;
  /** The time of issue of the access token, by the database's clock. An ending after it is later, so its entry lives longer. */
  readonly at: number;
  /** What the row recorded about the client before, if it was read. */
  readonly before?: ClientInfo;
  readonly handedOut: boolean;
  /** Whether a new generation began. */
  readonly rotated?: boolean;
  /** Whether the answer has no refresh token even if the caller asks for one. */
  readonly isHeld?: boolean;
}

/** Carries out the verdicts of `SessionPolicyService.judge`. */
export class VerdictActions {
  private readonly logger = new Logger('MultiSession');

  constructor(
    private readonly refreshStore: RefreshStore,
    private readonly endings: SessionEndings,
    private readonly refreshTokens: RefreshTokens,
    private readonly seen: SeenGenerations,
    private readonly events: SessionEvents,
    private readonly config: TokenConfig,
    private readonly changes: ChangeLog,
  ) {}

  /**
   * Carries out a verdict.
   * @returns undefined if another request has changed the row since it was read
   * @throws TokenNotValidError if the verdict refuses the token
   */
  async carryOut(
    verdict: Verdict,
    policy: SessionPolicyService,
    row: JudgedRow,
    token: PresentedToken,
    by: Refresher,
  ): Promise<Granted | undefined> {
    const { refreshStore, events, seen } = this;
    const { permanent, blacklistAfterRotation } = policy.config;
    const granted = (updated: RefreshedRow | null, more: Pick<Granted, 'handedOut' | 'rotated' | 'isHeld'>) =>
      updated ? { row: updated, at: row.askedAt, before: row, ...more } : undefined;
    switch (verdict.kind) {
      case 'keep':
        return permanent
          ? this.slide(policy, row, by)
          : granted(await this.keep(policy, row, by), { handedOut: false });
      case 'renew':
        seen.note(row.id, token.generation);
        return granted(await this.recorded(policy, row, by, true), { handedOut: true });
      case 'rotate': {
        const next = this.nextGeneration(by);
        const blacklistParent = blacklistAfterRotation;
        const current = { ...currentTokenOf(row), parentJti: token.parentJti };
        const rotated = await refreshStore.rotate(current, next, policy.values, { blacklistParent });
        return granted(rotated, { handedOut: true, rotated: true });
      }
      case 'replay': {
        const replayed = await this.recorded(policy, row, by, true);
        if (replayed) await this.reportReplay(row, token, by);
        return granted(replayed, { handedOut: true });
      }
      case 'hold': {
        const isCurrent = token.jti === row.refreshJti;
        if (isCurrent) seen.note(row.id, token.generation);
        const held = await this.recorded(policy, row, by, true);
        if (held && !isCurrent) await this.reportReplay(row, token, by);
        // The access token states the presented generation: it must not confirm a successor that may be lost. A cookie that is
        // set now may arrive after the next rotation, and would then replace the newer one.
        const presented = held && Object.assign(held, { generation: token.generation });
        const handedOut = isCurrent && by.transport !== 'cookie';
        return granted(presented, { handedOut, isHeld: true });
      }
      case 'recover': {
        const next = this.nextGeneration(by);
        const event = supersededEvent(row, token, by.client, this.config);
        const recovered = await refreshStore.recover(row, next, policy.values, {
          blacklistLost: blacklistAfterRotation,
          note: supersededNote('refresh.recovered', event),
        });
        if (recovered) events.emit('refresh.recovered', event);
        return granted(recovered, { handedOut: true, rotated: true });
      }
      case 'adopt': {
        const kid = token.kid as string;
        const replacesLost = verdict.parent === 'parent';
        if (await refreshStore.adopt(row, { ...token, kid }, { ...by, binds: false }, policy.values, { replacesLost }))
          this.logger.warn(describeAdoption(row, token));
        // The token is the current one now, so it is judged again.
        return undefined;
      }
      case 'ahead':
        this.logger.warn(describeAhead(row, token));
        throw new TokenNotValidError('refresh');
      case 'reuse': {
        const event = { ...supersededEvent(row, token, by.client, this.config), reuse: verdict.reuse };
        if (await this.endings.end(row, 'reuse', {}, { also: [supersededNote('refresh.reused', event)] }))
          this.logger.warn(describeReuse(event));
        events.emit('refresh.reused', event);
        throw new TokenNotValidError('refresh');
      }
      case 'expired':
        await this.endings.end(row, 'expired', { hasExpired: true });
        throw expiredToken(permanent);
      case 'overdue':
        // The row stays until its own expiry. If the shorter lifetime was a mistake, the session is not lost.
        throw expiredToken(permanent);
    }
  }

  /** Returns what the next generation of a session gets. */
  nextGeneration(by: Refresher): NextGeneration {
    return { ...by, jti: RefreshTokens.newJti(), kid: this.refreshTokens.kid };
  }

  /** Reports that the parent of the current token was presented again. */
  private async reportReplay(row: JudgedRow, token: PresentedToken, { client }: Refresher): Promise<void> {
    const event = supersededEvent(row, token, client, this.config);
    await this.changes.note(supersededNote('refresh.replayed', event));
    this.events.emit('refresh.replayed', event);
  }

  /** Keeps the presented token, and records what the policy wants to be recorded. */
  private async keep(policy: SessionPolicyService, row: JudgedRow, by: Refresher): Promise<RefreshedRow | null> {
    if (policy.config.updateLastLogin) return this.refreshStore.touch(currentTokenOf(row), by, policy.values);
    if (policy.recordsUseAt(row, row.askedAt))
      return this.refreshStore.touch(currentTokenOf(row), { ...by, setsLastUpdate: true }, policy.values);
    this.seen.note(row.id, row.generation);
    return this.recorded(policy, row, by);
  }

  /**
   * Returns the row of a refresh that need not write. Writes nevertheless if the row does not record yet how long access tokens
   * live now or how the token travels, or if another client refreshes.
   * @returns null if another request has changed the row
   */
  private async recorded(
    policy: SessionPolicyService,
    row: JudgedRow,
    by: Refresher,
    isHandedOutAgain = false,
  ): Promise<RefreshedRow | null> {
    const isRaised = row.accessLifetime !== null && row.accessLifetime >= policy.values.accessSeconds;
    const isTransportKnown = row.transport !== null || by.transport === undefined;
    if (isRaised && isTransportKnown && !by.binds && !(by.client && isAnotherClient(row, by.client))) return row;
    return this.refreshStore.touch(currentTokenOf(row), { ...by, isHandedOutAgain }, policy.values);
  }

  /**
   * Moves the expiry of a permanent session, counted from now. If it has moved, hands out the same token again, so that a
   * cookie gets the new expiry too.
   */
  private async slide(policy: SessionPolicyService, row: JudgedRow, by: Refresher): Promise<Granted | undefined> {
    const isDue = policy.slideDue(row, row.askedAt);
    const slid = isDue
      ? await this.refreshStore.slide(currentTokenOf(row), by, policy.values)
      : await this.recorded(policy, row, by);
    return slid ? { row: slid, handedOut: isDue, at: row.askedAt, before: row } : undefined;
  }
}

function expiredToken(isPermanent: boolean): TokenNotValidError {
  return isPermanent
    ? new TokenNotValidError('refresh', 'The permanent token has expired, and the device is logged out', 'expired')
    : new TokenNotValidError('refresh', undefined, 'expired');
}
