import { setTimeout as sleep } from 'node:timers/promises';
import { HttpStatus } from '@nestjs/common';
import type { Clock } from '../database/clock.js';
import { MultiSessionConfigurationError, SessionNotFoundError, TokenNotValidError } from '../errors.js';
import type { PushedRevocations } from '../revocation/pushed-revocations.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { SessionClaims } from '../token/access-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { EndReason, SessionEvents } from './events.js';
import type { PresentedTokens } from './presented-token.js';
import { isAllTypes, type SessionPolicies } from './policies.js';
import { type ShownRow, toSession } from './session.js';
import type { EndedSession } from './change-log.js';
import type { LostEndings } from './lost-endings.js';
import type { EndingOfUser, EndingStore } from './ending-store.js';
import type { EndCondition, EndingNotes } from './row-endings.js';
import type { SessionStore } from './store.js';

/** The longest that an ending waits so that the next login in this process succeeds, in milliseconds. */
const MAX_COURTESY = 2000;

/**
 * Ends sessions, for whatever reason.
 *
 * Invariant: the database comes first. `EndingStore` deletes the row and writes the revocation entry in one transaction. After
 * the commit, `publish` makes this process refuse the session's access tokens and emits the events.
 */
export class SessionEndings {
  constructor(
    private readonly store: SessionStore,
    private readonly endingStore: EndingStore,
    private readonly policies: SessionPolicies,
    private readonly presented: PresentedTokens,
    private readonly revoked: RevokedSessions,
    private readonly push: PushedRevocations,
    private readonly events: SessionEvents,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
    private readonly lost: LostEndings,
  ) {}

  /**
   * Ends the session of this row if `condition` still holds.
   * @param notes are written in the same transaction, if this call ends the session
   * @returns whether this call ended it
   */
  async end(row: ShownRow, reason: EndReason, condition?: EndCondition, notes?: EndingNotes): Promise<boolean> {
    const ended = await this.endingStore.end(row, reason, condition, notes);
    if (ended) this.publish([ended]);
    return ended !== undefined;
  }

  /**
   * Publishes endings after their commit: this process refuses the access tokens from now on, the other processes are
   * informed, and the listeners are called.
   * @returns how many sessions ended
   */
  publish(ended: readonly EndedSession[]): number {
    const revoked = ended.flatMap((session) => session.revoked ?? []);
    for (const entry of revoked) this.revoked.add(entry);
    this.push.publish(revoked);
    for (const { row, reason } of ended)
      this.events.emit('session.ended', { session: toSession(row, this.config), reason });
    return ended.length;
  }

  /** See `SessionService.logout`. */
  async logout(refreshToken: string | readonly string[]): Promise<void> {
    let found = false;
    for (const text of [refreshToken].flat()) {
      const token = await this.presented.read(text);
      const row = token && (await this.store.find(token.sessionId));
      if (row && this.isActive(row) && (await this.end(row, 'logout'))) found = true;
    }
    if (!found) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  /** See `SessionService.destroy`. */
  async endOne(
    sessionId: string,
    { userId, reason, by }: { userId?: UserId | undefined; reason: EndReason; by?: UserId | undefined },
  ): Promise<void> {
    const row = await this.store.find(sessionId);
    const isTheirs = userId === undefined || row?.userId === String(userId);
    if (row && isTheirs && this.isActive(row)) {
      const notes = notesOn(row, reason, by?.toString());
      if (await this.end(row, reason, {}, notes)) return;
    }
    throw new SessionNotFoundError();
  }

  /** See `SessionService.destroyMany`. */
  async endMany(userId: UserId, sessionIds: readonly string[], except: string | undefined): Promise<number> {
    const ended = await this.endingStore.endSome(String(userId), 'destroyed', (active) => {
      const named = active.filter((row) => sessionIds.includes(row.id));
      if (named.length < new Set(sessionIds).size) throw new SessionNotFoundError();
      return named.filter((row) => row.id !== except);
    });
    return this.publish(ended);
  }

  /** See `SessionService.destroyOthers`. */
  async endOthers(userId: UserId, keptSessionId: string, type: string): Promise<number> {
    const assertKept = (kept: ShownRow | undefined) => {
      if (!kept) throw new TokenNotValidError('refresh');
    };
    return this.endOfUser(userId, { ...this.only(type), except: keptSessionId, assertKept, reason: 'destroyed' });
  }

  /** See `SessionService.destroyOthersByToken`. */
  async endOthersByToken(
    current: SessionClaims,
    refreshToken: string | readonly string[],
    type: string,
  ): Promise<number> {
    this.policies.namedOrAll(type);
    const tokens = await Promise.all([refreshToken].flat().map((token) => this.presented.read(token)));
    if (!tokens.some((token) => token?.sessionId === current.sessionId)) throw new TokenNotValidError('refresh');
    return this.endOthers(current.userId, current.sessionId, type);
  }

  /** See `SessionService.destroyAll`. */
  async endAll(
    userId: UserId,
    {
      type,
      except,
      reason,
      by,
    }: { type: string; except?: string | undefined; reason: EndReason; by?: UserId | undefined },
  ): Promise<number> {
    const kept = except !== undefined && { except };
    return this.endOfUser(userId, { ...this.only(type), reason, by: by?.toString(), ...kept });
  }

  private async endOfUser(userId: UserId, ending: EndingOfUser): Promise<number> {
    if (this.store.isInsideTransaction) {
      throw new MultiSessionConfigurationError(
        [
          'sessions of a user were to be ended inside of a transaction of the same DataSource; call it after the commit: ' +
            'until then, a login still sees the old state',
        ],
        'runtime',
      );
    }
    let ended = 0;
    const notBefore = await this.endingStore.endOfUser(
      String(userId),
      ending,
      (batch) => (ended += this.publish(batch)),
    );
    this.lost.remember(String(userId), ending.types);
    await this.passes(notBefore);
    return ended;
  }

  /**
   * Waits until a login that starts in this process is certainly later than this time. The clock is usually exact to some
   * milliseconds. The wait is only a courtesy, since a login that started earlier is refused with 503, so it has a limit.
   */
  private async passes(time: number): Promise<void> {
    const giveUpAt = performance.now() + MAX_COURTESY;
    while (this.clock.earliest() <= time && performance.now() < giveUpAt) await sleep(1);
  }

  /** The types that an ending names. None stand for all types, including those that this process does not know. */
  private only(type: string): Pick<EndingOfUser, 'types'> {
    const policies = this.policies.namedOrAll(type);
    return isAllTypes(type) ? {} : { types: policies.map((policy) => policy.type) };
  }

  private isActive({ expiresAt }: Pick<ShownRow, 'expiresAt'>): boolean {
    return expiresAt.getTime() > this.clock.now();
  }
}

/** Returns what is written about the end of one session: who ended it, and a record if it was an administrator. */
function notesOn({ id, userId, type }: ShownRow, reason: EndReason, by: string | undefined): EndingNotes {
  if (reason !== 'admin') return { by };
  const target = { userId, sessionId: id, ended: 1, details: { session_type: type } };
  return { by, also: [{ kind: 'admin-action', action: 'end-session', by, ...target }] };
}
