import { type EntityManager, In } from 'typeorm';
import type { Database, Transaction } from '../database/database.js';
import { SessionEntity } from './session.entity.js';
import { INSERT, LIST_ACTIVE, sessionValues } from './session-sql.js';
import type { ShownRow } from './session.js';

/** What several stores do with the rows of sessions within their transactions. */
export class SessionRows {
  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    private readonly database: Database,
    private readonly now: () => number,
  ) {}

  async insert(transaction: Transaction, row: SessionEntity): Promise<void> {
    await this.database.execute(INSERT, sessionValues(row), transaction);
  }

  /** Lists a user's active sessions, the earliest created first. */
  active(transaction: Transaction, userId: string, now = this.now()): Promise<ShownRow[]> {
    return this.database.query(LIST_ACTIVE, { userId, now }, transaction);
  }

  /** Whether a session has not expired, by the database's time. A prepared session is not live. */
  isLive({ expiresAt }: Pick<SessionEntity, 'expiresAt'>): boolean {
    return expiresAt.getTime() > this.now();
  }

  /** Reads and locks rows in the order of their primary key, as every other statement locks them. */
  async lock(manager: EntityManager, ids: readonly string[]): Promise<SessionEntity[]> {
    if (ids.length === 0) return [];
    return manager.find(SessionEntity, {
      where: { id: In(ids) },
      order: { id: 'ASC' },
      ...(this.database.kind !== 'sqlite' && { lock: { mode: 'pessimistic_write' } }),
    });
  }
}
