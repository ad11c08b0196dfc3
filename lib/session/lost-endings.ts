import { Logger } from '@nestjs/common';
import { type EntityManager, In } from 'typeorm';
import type { Database } from '../database/database.js';
import { CLOCK_MARGIN, MAX_LOGIN } from '../engine/timing.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import type { RevocationTable } from '../revocation/revocation-table.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import type { RowEndings } from './row-endings.js';
import type { SessionRows } from './session-rows.js';
import type { UserRows } from './user-row.js';

/** An ending of all sessions of a user. */
interface UserEnding {
  readonly userId: string;
  readonly types: readonly string[] | undefined;
  /** On the monotonic clock, in milliseconds. */
  readonly endedAt: number;
}

/** Entries that are looked up in one statement. */
const PAGE_SIZE = 1000;
/** Sessions that one transaction ends. */
const BATCH_SIZE = 100;
/** Endings of all sessions of a user that are remembered. */
const MAX_USER_ENDINGS = 10_000;

/**
 * Writes endings again that the database has lost.
 *
 * An asynchronous fail-over, or a restart without durable commits, loses the last transactions, and brings the rows of ended
 * sessions back. Until the endings are written again, this process refuses these sessions from memory. Other processes may
 * not know of them.
 *
 * Invariant: memory holds only sessions that have ended for good. To end one of them again is therefore never wrong, even if the
 * table has its entry in the meantime.
 */
export class LostEndings {
  private readonly logger = new Logger('MultiSession');
  private userEndings: UserEnding[] = [];

  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    private readonly database: Database,
    private readonly users: UserRows,
    private readonly rows: SessionRows,
    private readonly endings: RowEndings,
    private readonly table: RevocationTable,
    private readonly revoked: Pick<RevokedSessions, 'page'>,
    private readonly now: () => number,
  ) {}

  /**
   * Remembers an ending of all sessions of a user for as long as a login may take that it must refuse.
   * @param types Default: all types
   */
  remember(userId: string, types?: readonly string[]): void {
    const endedAt = performance.now();
    if (this.userEndings.length >= MAX_USER_ENDINGS) this.userEndings = this.recentUserEndings().slice(1);
    this.userEndings.push({ userId, types, endedAt });
  }

  /**
   * Ends every session again that memory holds as ended and whose entry the table lacks. Refuses the logins again that had
   * begun before an ending of all sessions.
   * @throws UnavailableError if the database fails. Call it again then
   */
  async restore(): Promise<void> {
    for (const { userId, types } of (this.userEndings = this.recentUserEndings()))
      await this.users.asUser(userId, (manager) => this.users.endLogins(manager, userId, types));
    let restored = 0;
    for (let start: number | undefined = 0; start !== undefined;) {
      const { entries, next }: ReturnType<RevokedSessions['page']> = this.revoked.page(start, PAGE_SIZE);
      for (let at = 0; at < entries.length; at += PAGE_SIZE)
        restored += await this.restoreSome(entries.slice(at, at + PAGE_SIZE));
      start = next;
    }
    if (restored > 0)
      this.logger.warn(`the database had lost the endings of ${restored} sessions, which have been written again`);
  }

  private recentUserEndings(): UserEnding[] {
    const since = performance.now() - MAX_LOGIN;
    return this.userEndings.filter(({ endedAt }) => endedAt > since);
  }

  private async restoreSome(entries: readonly (readonly [sessionId: string, expiresAt: number])[]): Promise<number> {
    const until = this.now() + CLOCK_MARGIN;
    const needed = entries.filter(([, expiresAt]) => expiresAt > until);
    if (needed.length === 0) return 0;
    const ids = needed.map(([sessionId]) => sessionId);
    const known = await this.database.run((manager) => knownOf(manager, ids));
    const lost = needed.filter(([sessionId]) => !known.has(sessionId)).sort(([a], [b]) => (a < b ? -1 : 1));
    for (let at = 0; at < lost.length; at += BATCH_SIZE) await this.endAgain(lost.slice(at, at + BATCH_SIZE));
    return lost.length;
  }

  /** Ends sessions whose rows may be back. The change log is written again, too: the fail-over has lost it as well. */
  private async endAgain(lost: readonly (readonly [sessionId: string, expiresAt: number])[]): Promise<void> {
    await this.database.transaction(undefined, async (manager) => {
      const revived = await this.rows.lock(
        manager,
        lost.map(([sessionId]) => sessionId),
      );
      // Another process may have ended them since. In a partitioned table, the primary key does not refuse a second entry.
      const known = await knownOf(
        manager,
        lost.map(([sessionId]) => sessionId),
      );
      await this.endings.endLocked(manager, revived, 'failover');
      // The login may be lost as well. Then the user is not known, but access tokens may still be in use.
      const entries = lost
        .filter(([sessionId]) => !known.has(sessionId) && !revived.some(({ id }) => id === sessionId))
        .map(([id, expiresAt]) => ({
          id,
          sessionId: id,
          userId: '',
          reason: 'failover',
          expiresAt: new Date(expiresAt),
        }));
      await this.table.record(manager, 'session', entries);
    });
  }
}

/** Returns which of these sessions have an entry. */
async function knownOf(manager: EntityManager, ids: string[]): Promise<ReadonlySet<string>> {
  const found = await manager.find(BlacklistEntity, { select: { id: true }, where: { id: In(ids) } });
  return new Set(found.map(({ id }) => id));
}
