import type { Blacklist } from '../revocation/blacklist.js';
import type { TokenConfig } from '../token/options.js';
import { type ShownRow, toSession } from './session.js';
import type { EndReason, SessionEvents } from './events.js';
import type { EndCondition, EndedSession, SessionStore } from './store.js';

/** How a session ends: in the database first, row and blacklist entry in one transaction; then this process tells of it. */
export class SessionEndings {
  constructor(
    private readonly store: SessionStore,
    private readonly blacklist: Blacklist,
    private readonly events: SessionEvents,
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
    this.blacklist.announce(ended.flatMap(({ revoked }) => revoked ?? []));
    for (const { row, reason } of ended)
      this.events.emit('session.ended', { session: toSession(row, this.tokens), reason });
    return ended.length;
  }
}
