import { type EntityManager, In } from 'typeorm';
import type { Database, Transaction } from '../database/database.js';
import { UnavailableError } from '../errors.js';
import type { RevocationTable } from '../revocation/revocation-table.js';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { ChangeLog, EndedSession } from './change-log.js';
import type { EndReason } from './events.js';
import { SessionEntity } from './session.entity.js';
import { DELETE, END, END_AND_INSERT, sessionValues } from './session-sql.js';
import type { ShownRow } from './session.js';

/** What must still hold of a row for its session to be ended. */
export interface EndCondition {
  /** This is its current refresh token. */
  jti?: string;
  /** It has expired at this time, in milliseconds since 1970. */
  expiredAt?: number;
}

/** How long entries are needed and may take to be written. */
export interface EntryTimes {
  /** How long after the end of a session one of its access tokens may be accepted, in milliseconds. */
  readonly acceptedAfterEnd: number;
  /** How far back other processes look for entries that they have missed, in milliseconds. */
  readonly overlap: number;
  /** The database's time, in milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Replaces the rows of sessions by revocation entries.
 *
 * Invariant: the row of a session and its entry change places in one transaction, so that the session is either live or
 * refused. That transaction takes less than half of `overlap`, or it is undone.
 */
export class RowEndings {
  /** Whether one statement can delete a row, write its entry and insert another row. */
  readonly isOneStatement: boolean;

  constructor(
    private readonly database: Database,
    private readonly revocations: RevocationTable,
    private readonly changes: ChangeLog,
    private readonly times: EntryTimes,
  ) {
    this.isOneStatement = database.kind === 'postgres';
  }

  /**
   * Ends one session by itself.
   * @returns undefined if the row no longer existed or the condition did not hold
   */
  async endOne(row: ShownRow, reason: EndReason, condition: EndCondition): Promise<EndedSession | undefined> {
    if (this.isOneStatement && this.changes.isEmpty) return this.endRow(undefined, row, reason, condition);
    const ended = await this.database.transaction(undefined, (transaction) =>
      this.end(transaction, [row], reason, { condition }),
    );
    return ended?.[0];
  }

  /**
   * Ends sessions, the older ones first: all statements lock rows in the order of their ids.
   * @param options.successor a session to insert after the last one; allowed if `isOneStatement` and `rows` is not empty
   * @returns those that still existed
   * @throws UnavailableError if it took too long
   */
  async end(
    transaction: EntityManager,
    rows: readonly ShownRow[],
    reason: EndReason,
    { condition = {}, successor }: { condition?: EndCondition; successor?: SessionEntity } = {},
  ): Promise<EndedSession[]> {
    const startedAt = performance.now();
    const ended: EndedSession[] = [];
    const inOrder = [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const row of inOrder) {
      const next = row === inOrder.at(-1) ? successor : undefined;
      const one = await this.endRow(transaction, row, reason, condition, next);
      if (one) ended.push(one);
    }
    if (!this.isOneStatement) await this.record(transaction, ended);
    await this.conclude(transaction, ended, startedAt);
    return ended;
  }

  /**
   * Ends sessions whose rows the transaction has locked, with one statement for all rows.
   * @param options.haveExpired whether they have merely expired, and so need no entries. Default: false
   * @throws UnavailableError if it took too long
   */
  async endLocked(
    transaction: EntityManager,
    rows: readonly SessionEntity[],
    reason: EndReason,
    { haveExpired = false } = {},
  ): Promise<EndedSession[]> {
    if (rows.length === 0) return [];
    const startedAt = performance.now();
    await transaction.delete(SessionEntity, { id: In(rows.map(({ id }) => id)) });
    const ended = rows.map((row) => (haveExpired ? { row, reason } : this.revoked(row, reason)));
    await this.record(transaction, ended);
    await this.conclude(transaction, ended, startedAt);
    return ended;
  }

  /** Deletes a row, and writes its entry and inserts its successor if one statement can do that. */
  private async endRow(
    transaction: Transaction,
    row: ShownRow,
    reason: EndReason,
    { jti, expiredAt }: EndCondition,
    successor?: SessionEntity,
  ): Promise<EndedSession | undefined> {
    const which = { endedId: row.id, jti: jti ?? null, expiredAt: expiredAt ?? null };
    // An access token never outlives its session, so a session that merely expired needs no entry.
    const needsEntry = reason !== 'expired' || expiredAt === undefined;
    if (!this.isOneStatement || !needsEntry) {
      if ((await this.database.execute(DELETE, which, transaction)) === 0) return undefined;
      return needsEntry ? this.revoked(row, reason) : { row, reason };
    }
    const values = { ...which, reason, life: this.times.acceptedAfterEnd };
    const [deleted] = await (successor
      ? this.database.query(END_AND_INSERT, { ...values, ...sessionValues(successor) }, transaction)
      : this.database.query(END, values, transaction));
    return deleted && this.revoked(deleted, reason);
  }

  /**
   * The one place that computes the expiry of an entry. `END` computes the stored one by the database's time, since it may wait
   * for the row; this process knows that time to some milliseconds, for which `acceptedAfterEnd` has a margin.
   */
  private revoked(row: ShownRow, reason: EndReason): EndedSession & { readonly revoked: RevokedSession } {
    const expiresAt = this.times.now() + this.times.acceptedAfterEnd;
    return { row, reason, revoked: { sessionId: row.id, userId: row.userId, reason, expiresAt } };
  }

  private async record(transaction: EntityManager, ended: readonly EndedSession[]): Promise<void> {
    const revoked = ended.flatMap((session) => session.revoked ?? []);
    const entries = revoked.map((entry) => ({
      ...entry,
      id: entry.sessionId,
      expiresAt: new Date(entry.expiresAt),
    }));
    await this.revocations.record(transaction, 'session', entries);
  }

  /** The last of a transaction that ends sessions. */
  private async conclude(transaction: EntityManager, ended: EndedSession[], startedAt: number): Promise<void> {
    if (ended.length > 0) await this.changes.write(transaction, { kind: 'ended', sessions: ended });
    // Polls look back by the overlap, so a later commit could be missed until the next full load.
    const limit = this.times.overlap / 2;
    if (performance.now() - startedAt > limit)
      throw new UnavailableError(new Error(`a transaction took more than ${limit} ms to write revocation entries`));
  }
}
