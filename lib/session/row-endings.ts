import { type EntityManager, In } from 'typeorm';
import type { Database, Transaction } from '../database/database.js';
import { maxEntryDelay } from '../engine/timing.js';
import { UnavailableError } from '../errors.js';
import type { RevocationTable } from '../revocation/revocation-table.js';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { ChangeLog, EndedSession } from './change-log.js';
import type { EndReason } from './events.js';
import { SessionEntity } from './session.entity.js';
import { DELETE, END, END_AND_INSERT, sessionValues } from './session-sql.js';
import type { ShownRow } from './session.js';

/** Conditions on the row. Its session ends only if the row still meets them. */
export interface EndCondition {
  /** The `jti` of the row's current refresh token. */
  jti?: string;
  /** A time by which the session has expired, in milliseconds since 1970. */
  expiredAt?: number;
}

/** The time spans of revocation entries, and the clock for them. */
export interface EntryTimes {
  /** How long after the end of a session its access tokens may still be accepted, in milliseconds. */
  readonly acceptedAfterEnd: number;
  /** How far back other processes look for entries that they have missed, in milliseconds. */
  readonly overlap: number;
  /** Returns the database's time, in milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Replaces the rows of sessions with revocation entries.
 *
 * Invariant: one transaction deletes the row of a session and writes its entry, so the session is always either live or
 * refused. A transaction that needs more than half of `overlap` for this is rolled back.
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
   * Ends one session in a transaction of its own.
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
   * Ends sessions, the oldest first, because all statements lock rows in the order of their ids.
   * @param options.successor a session to insert after the last ending. Allowed only if `isOneStatement` and `rows` is not
   * empty
   * @returns the sessions that still existed
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
   * @param options.haveExpired whether the sessions have merely expired and so need no entries. Default: false
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

  /**
   * Deletes a row. If one statement can do all of it, also writes the entry and inserts the successor.
   * @returns undefined if the row no longer existed or the condition did not hold
   */
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
   * Adds the revocation entry to an ended session.
   *
   * `END` computes the stored expiry from the database's time, because it may have to wait for the row. The expiry here can
   * differ from that by some milliseconds, for which `acceptedAfterEnd` includes a margin.
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

  /** Runs the last steps of a transaction that ends sessions: the change log, then the time limit. */
  private async conclude(transaction: EntityManager, ended: EndedSession[], startedAt: number): Promise<void> {
    if (ended.length > 0) await this.changes.write(transaction, { kind: 'ended', sessions: ended });
    // Polls look back by the overlap. They could miss an entry that is committed later, until the next full load.
    const limit = maxEntryDelay(this.times.overlap);
    if (performance.now() - startedAt > limit)
      throw new UnavailableError(new Error(`a transaction took more than ${limit} ms to write revocation entries`));
  }
}
