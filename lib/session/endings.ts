import { HttpStatus } from '@nestjs/common';
import type { Clock } from '../database/clock.js';
import { SessionNotFoundError, TokenNotValidError } from '../errors.js';
import type { PushedRevocations } from '../revocation/pushed-revocations.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { SessionClaims } from '../token/access-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { RefreshTokens } from '../token/refresh-token.js';
import type { EndReason, SessionEvents } from './events.js';
import type { SessionPolicies } from './policies.js';
import { type ShownRow, toSession } from './session.js';
import type { EndCondition, EndedSession, SessionStore } from './store.js';

/**
 * Every way in which a session ends.
 *
 * Invariant: the database comes first. The store deletes the row and writes the revocation entry in one transaction; after
 * the commit this process refuses the session's access tokens and emits the events (`publish`).
 */
export class SessionEndings {
  constructor(
    private readonly store: SessionStore,
    private readonly policies: SessionPolicies,
    private readonly refreshTokens: RefreshTokens,
    private readonly revoked: RevokedSessions,
    private readonly push: PushedRevocations,
    private readonly events: SessionEvents,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /**
   * Ends the session of this row if `condition` still holds.
   * @returns whether this call ended it
   */
  async end(row: ShownRow, reason: EndReason, condition?: EndCondition): Promise<boolean> {
    const ended = await this.store.end(row, reason, condition);
    if (ended) this.publish([ended]);
    return ended !== undefined;
  }

  /**
   * Makes endings known after their commit: this process refuses the access tokens from here on, and listeners are called.
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
      const token = this.refreshTokens.verify(text);
      const row = token && (await this.store.find(token.sessionId));
      if (row && this.isActive(row) && (await this.end(row, 'logout'))) found = true;
    }
    if (!found) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  /** See `SessionService.destroy`. */
  async endOne(sessionId: string, { userId, reason }: { userId?: UserId; reason: EndReason }): Promise<void> {
    const row = await this.store.find(sessionId);
    const isTheirs = userId === undefined || row?.userId === String(userId);
    if (row && isTheirs && this.isActive(row) && (await this.end(row, reason))) return;
    throw new SessionNotFoundError();
  }

  /** See `SessionService.destroyMany`. */
  async endMany(userId: UserId, sessionIds: readonly string[], except: string | undefined): Promise<number> {
    return this.endOfUser(userId, this.policies.types, 'destroyed', (active) => {
      const named = active.filter((row) => sessionIds.includes(row.id));
      if (named.length < new Set(sessionIds).size) throw new SessionNotFoundError();
      return named.filter((row) => row.id !== except);
    });
  }

  /** See `SessionService.destroyOthers`. */
  async endOthers(userId: UserId, keptSessionId: string, type: string): Promise<number> {
    const types = this.typesOf(type);
    return this.endOfUser(userId, this.policies.types, 'destroyed', (active) => {
      if (!active.some((row) => row.id === keptSessionId)) throw new TokenNotValidError('refresh');
      return active.filter((row) => row.id !== keptSessionId && types.includes(row.type));
    });
  }

  /** See `SessionService.destroyOthersByToken`. */
  async endOthersByToken(
    current: SessionClaims,
    refreshToken: string | readonly string[],
    type: string,
  ): Promise<number> {
    this.policies.namedOrAll(type);
    const tokens = [refreshToken].flat();
    if (!tokens.some((token) => this.refreshTokens.verify(token)?.sessionId === current.sessionId))
      throw new TokenNotValidError('refresh');
    return this.endOthers(current.userId, current.sessionId, type);
  }

  /** See `SessionService.destroyAll`. */
  async endAll(
    userId: UserId,
    { type, except, reason }: { type: string; except?: string; reason: EndReason },
  ): Promise<number> {
    return this.endOfUser(userId, this.typesOf(type), reason, (active) => active.filter((row) => row.id !== except));
  }

  private async endOfUser(
    userId: UserId,
    types: readonly string[],
    reason: EndReason,
    choose: (active: ShownRow[]) => ShownRow[],
  ): Promise<number> {
    return this.publish(await this.store.endOfUser(String(userId), types, reason, choose));
  }

  private typesOf(type: string): readonly string[] {
    return this.policies.namedOrAll(type).map((policy) => policy.type);
  }

  private isActive({ expiresAt }: Pick<ShownRow, 'expiresAt'>): boolean {
    return expiresAt.getTime() > this.clock.now();
  }
}
