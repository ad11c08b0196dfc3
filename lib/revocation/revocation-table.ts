import { type EntityManager, LessThanOrEqual, type SelectQueryBuilder } from 'typeorm';
import type { Database } from '../database/database.js';
import { BlacklistEntity } from './blacklist.entity.js';
import { entryValues, insertEntries } from './revocation-sql.js';
import type { RevokedSession } from './revoked-session.js';

export type EntryKind = BlacklistEntity['kind'];
export type NewEntry = Pick<BlacklistEntity, 'id' | 'sessionId' | 'userId' | 'reason' | 'expiresAt'>;

/** The number of entries in one INSERT. */
const INSERT_BATCH_SIZE = 100;

/**
 * All SQL on the table `session_blacklist`, except for one statement of the session store, which ends a session and writes its
 * entry at the same time.
 */
export class RevocationTable {
  constructor(private readonly database: Database) {}

  /**
   * Writes entries in the transaction that ends their sessions, as its last statement. It leaves existing entries unchanged.
   */
  async record(manager: EntityManager, kind: EntryKind, entries: readonly NewEntry[]): Promise<void> {
    for (let at = 0; at < entries.length; at += INSERT_BATCH_SIZE) {
      const batch = entries.slice(at, at + INSERT_BATCH_SIZE);
      await this.database.execute(insertEntries(batch.length), entryValues(kind, batch), manager);
    }
  }

  /**
   * Reads ended sessions whose entries were written at `since` or later.
   * @param since the database's time, in milliseconds since 1970
   * @param now the database's time: entries that have expired by then are left out
   * @param limit the maximum number of entries to read, in no particular order
   */
  async readNew(manager: EntityManager, since: number, now: number, limit: number): Promise<RevokedSession[]> {
    // Not ordered: with an ORDER BY, the planner might prefer another index and walk through most of the table.
    return readAll(this.unexpired(manager, now).andWhere('entry.createdAt >= :since', { since }).limit(limit));
  }

  /** Counts the ended sessions whose entries have not expired at `now`. */
  count(manager: EntityManager, now: number): Promise<number> {
    return this.unexpired(manager, now).getCount();
  }

  /**
   * Reads a page of the ended sessions whose entries have not expired at `now`, in the order of their ids.
   * @param after the id of the last entry of the previous page; empty for the first page
   * @param limit the size of a page; a shorter page is the last one
   */
  async readPage(manager: EntityManager, after: string, now: number, limit: number): Promise<RevokedSession[]> {
    return readAll(
      this.unexpired(manager, now).andWhere('entry.id > :after', { after }).orderBy('entry.id').limit(limit),
    );
  }

  /**
   * Deletes up to `limit` entries of either kind that expired at `before` or earlier (milliseconds since 1970).
   * @returns how many it deleted
   */
  async deleteExpired(manager: EntityManager, before: number, limit: number): Promise<number> {
    const rows = await manager.find(BlacklistEntity, {
      select: { id: true },
      where: { expiresAt: LessThanOrEqual(new Date(before)) },
      order: { expiresAt: 'ASC' },
      take: limit,
    });
    if (rows.length === 0) return 0;
    const { affected } = await manager.delete(BlacklistEntity, rows.map((row) => row.id).sort());
    return affected ?? rows.length;
  }

  private unexpired(manager: EntityManager, now: number): SelectQueryBuilder<BlacklistEntity> {
    return manager
      .createQueryBuilder(BlacklistEntity, 'entry')
      .select('entry.id', 'sessionId')
      .addSelect('entry.userId', 'userId')
      .addSelect('entry.reason', 'reason')
      .addSelect('entry.expiresAt', 'expiresAt')
      .where("entry.kind = 'session' AND entry.expiresAt > :now", { now });
  }
}

/** Reads plain values: entities would cost several times as much, and a full load may read a million entries. */
async function readAll(query: SelectQueryBuilder<BlacklistEntity>): Promise<RevokedSession[]> {
  const rows = await query.getRawMany<Omit<RevokedSession, 'expiresAt'> & { expiresAt: string | number }>();
  // PostgreSQL's and MySQL's drivers return a bigint as a string.
  return rows.map((row) => ({ ...row, expiresAt: Number(row.expiresAt) }));
}
