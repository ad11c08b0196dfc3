import { Between, type EntityManager, In, LessThanOrEqual } from 'typeorm';
import type { Database } from '../database/database.js';
import { BlacklistEntity } from './blacklist.entity.js';
import { entryValues, insertEntries } from './revocation-sql.js';

export type EntryKind = BlacklistEntity['kind'];
export type NewEntry = Pick<BlacklistEntity, 'id' | 'sessionId' | 'userId' | 'reason' | 'expiresAt'>;

/** The number of entries in one INSERT. */
const INSERT_BATCH_SIZE = 100;

/**
 * Writes and deletes entries of the table `session_blacklist`. The session store has one more statement, which ends a session and
 * writes its entry at the same time. The `Poller` reads the entries.
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
   * Deletes up to `limit` entries of either kind that expired at `before` or earlier (milliseconds since 1970).
   * @param from leaves out those that expired earlier. Default: 0
   * @returns how many it deleted
   */
  async deleteExpired(manager: EntityManager, before: number, limit: number, from = 0): Promise<number> {
    if (from > before) return 0;
    const rows = await manager.find(BlacklistEntity, {
      select: { id: true },
      where: { expiresAt: Between(new Date(from), new Date(before)) },
      order: { expiresAt: 'ASC' },
      take: limit,
    });
    if (rows.length === 0) return 0;
    // In a partitioned table, another entry of the session may expire later.
    const { affected } = await manager.delete(BlacklistEntity, {
      id: In(rows.map(({ id }) => id).sort()),
      expiresAt: LessThanOrEqual(new Date(before)),
    });
    return affected ?? rows.length;
  }
}
