import type { PushedRevocations } from '../revocation/pushed-revocations.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { TokenConfig } from '../token/options.js';
import type { Clock } from '../database/clock.js';
import { type ShownRow, toSession } from './session.js';
import type { EndReason, SessionEvents } from './events.js';
import type { EndCondition, EndedSession, SessionStore } from './store.js';

/** How a session ends: in the database first, row and blacklist entry in one transaction; then this process tells of it. */
export class SessionEndings {
  constructor(
    private readonly store: SessionStore,
    private readonly revoked: RevokedSessions,
    private readonly push: PushedRevocations,
    private readonly events: SessionEvents,
    private readonly clock: Clock,
    private readonly tokens: TokenConfig,
  ) {}

  /** @returns whether it was this process that ended it */
  async end(row: ShownRow, reason: EndReason, condition?: EndCondition): Promise<boolean> {
    const ended = await this.store.end(row, reason, condition);
    if (ended) this.announce([ended]);
    return ended !== undefined;
  }

  /** After the commit: this process refuses their access tokens from here on. @returns how many */
  announce(ended: readonly EndedSession[]): number {
    const now = this.clock.now();
    const expiresAt = now + this.store.acceptedAfterEnd;
    const revoked = ended
      .filter(({ row }) => row.expiresAt.getTime() > now)
      .map(({ row, reason }) => ({ sessionId: row.id, userId: row.userId, reason, expiresAt }));
    for (const entry of revoked) this.revoked.add(entry);
    this.push.publish(revoked);
    for (const { row, reason } of ended)
      this.events.emit('session.ended', { session: toSession(row, this.tokens), reason });
    return ended.length;
  }
}
