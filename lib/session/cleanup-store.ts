import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { Job } from '../database/job.js';
import type { Sql, SqlValues } from '../database/sql.js';
import { MAX_LOGIN, USER_ROW_LIFE } from '../engine/timing.js';
import type { BlacklistPartitions } from '../revocation/blacklist-partitions.js';
import type { RevocationTable } from '../revocation/revocation-table.js';
import type { EndedSession } from './change-log.js';
import { deleteExpired, type DueRow, FIND_DUE, lockDue, postpone } from './cleanup-sql.js';
import type { EntryTimes, RowEndings } from './row-endings.js';
import { deleteSessions, idValues } from './session-sql.js';
import type { ShownRow } from './session.js';
import type { UserRows } from './user-row.js';

/** What a batch did with the sessions at which it looked. */
export interface ReviewedSessions {
  /** Those that have expired. */
  readonly ended: EndedSession[];
  /** How many prepared sessions it deleted that were not issued in time. */
  readonly lapsed: number;
  /** How many it left for later, because a refresh has extended them. */
  readonly postponed: number;
}

/** The number of rows in one statement. */
const STATEMENT_SIZE = 100;

/**
 * Deletes the rows that nothing needs any more: of sessions, of their revocation entries, and of users.
 *
 * Invariant: every batch is one transaction, and only one process at a time runs batches. On PostgreSQL, a crash of the server can
 * take back the last batches as a whole, with what they wrote about the sessions. The next run then does them again.
 */
export class CleanupStore {
  /** How long to rest after a batch, as a multiple of its duration, so that requests are not delayed much. */
  readonly restFactor: number;

  /** @param cleanup elects the process that cleans up */
  constructor(
    private readonly database: Database,
    private readonly cleanup: Pick<Job, 'run'>,
    private readonly users: UserRows,
    private readonly endings: RowEndings,
    private readonly revocations: RevocationTable,
    private readonly partitions: Pick<BlacklistPartitions, 'maintain'>,
    private readonly times: Pick<EntryTimes, 'now' | 'overlap'>,
  ) {
    // Other databases wait for the disk, as requests do. SQLite also blocks the process.
    this.restFactor = database.kind === 'postgres' ? 1 : 3;
  }

  /**
   * Looks at up to `limit` sessions that may have expired. Ends those that have, and deletes prepared sessions that have lapsed.
   * @returns undefined if another process is cleaning up
   */
  async endExpired(limit: number): Promise<ReviewedSessions | undefined> {
    return this.cleanup.run(async (manager) => {
      const now = this.times.now();
      // Usually all of them have expired, so that one statement is enough.
      const deleted =
        this.database.kind === 'postgres' ? await this.database.query(deleteExpired(limit), { now }, manager) : [];
      const { expired, lapsed, postponed } = await this.review(manager, now, limit - deleted.length);
      const ended = await this.endings.recordExpired(manager, [...deleted, ...expired]);
      return { ended, lapsed, postponed };
    });
  }

  /**
   * Looks at up to `limit` sessions, deletes those that have expired or lapsed, and postpones the others.
   * @returns those that have expired, and the numbers of the others
   */
  private async review(
    manager: EntityManager,
    now: number,
    limit: number,
  ): Promise<{ expired: ShownRow[]; lapsed: number; postponed: number }> {
    const found = limit === 0 ? [] : await this.database.query(FIND_DUE, { now, limit }, manager);
    // A refresh may extend a session until it is locked.
    const due = await this.lock(
      manager,
      found.map(({ id }) => id),
    );
    const isLapsed = ({ preparedAt }: DueRow) => preparedAt !== null && preparedAt.getTime() <= now - MAX_LOGIN;
    const hasExpired = (row: DueRow) => !row.preparedAt && row.expiresAt.getTime() <= now;
    const expired = due.filter(hasExpired);
    const lapsed = due.filter(isLapsed);
    const postponed = due.filter((row) => !isLapsed(row) && !hasExpired(row));
    await this.executeEach(manager, postpone, postponed);
    await this.executeEach(manager, deleteSessions, [...expired, ...lapsed]);
    return { expired, lapsed: lapsed.length, postponed: postponed.length };
  }

  /**
   * Deletes the rows of users who have had no session for a day: see `UserRows.deleteUnused`.
   * @returns undefined if another process is cleaning up
   */
  async deleteUnusedUsers(after: string, limit: number): Promise<{ deleted: number; last?: string } | undefined> {
    return this.cleanup.run((manager) =>
      this.users.deleteUnused(manager, this.times.now() - USER_ROW_LIFE, after, limit),
    );
  }

  /**
   * Drops the expired partitions of the revocation entries, if the table has any: see `BlacklistPartitions.maintain`.
   * @returns the value of `from` for `deleteExpiredEntries`
   */
  async dropExpiredPartitions(): Promise<number> {
    return this.partitions.maintain(this.unneededSince());
  }

  /**
   * Deletes up to `limit` revocation entries that have expired.
   * @param from leaves out those that expired earlier. Default: 0
   * @returns how many it deleted; undefined if another process is cleaning up
   */
  async deleteExpiredEntries(limit: number, from = 0): Promise<number | undefined> {
    return this.cleanup.run((manager) => this.revocations.deleteExpired(manager, this.unneededSince(), limit, from));
  }

  /** The polls of other processes may still look back for entries that expired a moment ago. */
  private unneededSince(): number {
    return this.times.now() - this.times.overlap;
  }

  private async lock(manager: EntityManager, ids: readonly string[]): Promise<DueRow[]> {
    return ids.length === 0 ? [] : this.database.query(lockDue(ids.length), idValues(ids), manager);
  }

  /** Sends a statement for all of these rows, which the transaction has locked. */
  private async executeEach(
    manager: EntityManager,
    statement: (count: number) => Sql<SqlValues>,
    rows: readonly DueRow[],
  ): Promise<void> {
    for (let at = 0; at < rows.length; at += STATEMENT_SIZE) {
      const ids = rows.slice(at, at + STATEMENT_SIZE).map(({ id }) => id);
      await this.database.execute(statement(ids.length), idValues(ids), manager);
    }
  }
}
