import type { EntityManager } from 'typeorm';
import type { Database, Transaction } from '../database/database.js';
import { ENTRY_MARGIN, entryLife, maxEntryDelay } from '../engine/timing.js';
import { UnavailableError } from '../errors.js';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { ChangeLog, EndedSession, InlineWriter, SessionChange } from './change-log.js';
import type { EndReason } from './events.js';
import type { SessionEntity } from './session.entity.js';
import {
  DELETE,
  deleteSessions,
  END,
  END_AND_INSERT,
  endAndWrite,
  type EndedRow,
  type EndValues,
  type EntryLifeValues,
  idValues,
  insertEntriesOf,
  LOCK,
  lockAll,
  sessionValues,
} from './session-sql.js';
import type { ShownRow } from './session.js';

/** The number of rows in one statement. */
const BATCH_SIZE = 100;

/** Conditions on the row. Its session ends only if the row still meets them. */
export interface EndCondition {
  /** The `jti` of the row's current refresh token. */
  jti?: string;
  /** Whether the session must have expired, by the database's time. */
  hasExpired?: boolean;
}

/** What is written about an ending in its transaction. */
export interface EndingNotes {
  /** Changes that are written about together with the ending. */
  readonly also?: readonly SessionChange[] | undefined;
  /** The user who ends the session, such as an administrator. Default: not known. */
  readonly by?: string | undefined;
}

/** How `RowEndings.end` ends sessions. */
interface Ending extends EndingNotes {
  readonly condition?: EndCondition;
  readonly successor?: SessionEntity;
  readonly isAlsoConditional?: boolean;
}

/** The time spans of revocation entries, and the clock for them. */
export interface EntryTimes {
  /** The longest lifetime of an access token over the session types of this process, in milliseconds. */
  readonly longestAccessLifetime: number;
  /** For a row that records no lifetime of its access tokens, in seconds. */
  readonly assumedAccessSeconds: number;
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
  /** Ends a session and writes about it in one statement. */
  private readonly endAndWrite?: ReturnType<typeof endAndWrite>;
  private readonly inline?: InlineWriter;
  private readonly entryLife: EntryLifeValues;

  constructor(
    private readonly database: Database,
    private readonly changes: ChangeLog,
    private readonly times: EntryTimes,
  ) {
    this.isOneStatement = database.kind === 'postgres';
    this.inline = this.isOneStatement ? changes.inlineFor('ended') : undefined;
    if (this.inline) this.endAndWrite = endAndWrite(this.inline);
    this.entryLife = {
      assumedSeconds: times.assumedAccessSeconds,
      longest: times.longestAccessLifetime,
      margin: ENTRY_MARGIN,
    };
  }

  /**
   * Ends one session in a transaction of its own.
   * @param notes are written in the same transaction, if the session ends
   * @returns undefined if the row no longer existed or the condition did not hold
   */
  async endOne(
    row: ShownRow,
    reason: EndReason,
    condition: EndCondition,
    { also = [], by }: EndingNotes = {},
  ): Promise<EndedSession | undefined> {
    const isConcerned = also.some(({ kind }) => this.changes.concerns(kind));
    if (this.isOneStatement && !isConcerned && (this.inline || !this.changes.concerns('ended')))
      return this.endRow(undefined, row, reason, condition, { by });
    const [ended] = await this.database.transaction(undefined, (transaction) =>
      this.end(transaction, [row], reason, { condition, also, by, isAlsoConditional: true }),
    );
    return ended;
  }

  /**
   * Ends sessions, the oldest first, because all statements lock rows in the order of their ids.
   * @param options.successor a session to insert after the last ending. Allowed only if `isOneStatement` and `rows` is not
   * empty
   * @param options.also changes that are written about together with the endings
   * @param options.isAlsoConditional whether they are written about only if a session ends. Default: false
   * @returns the sessions that still existed
   * @throws UnavailableError if it took too long
   */
  async end(
    transaction: EntityManager,
    rows: readonly ShownRow[],
    reason: EndReason,
    { condition = {}, successor, also, by, isAlsoConditional = false }: Ending = {},
  ): Promise<EndedSession[]> {
    if (rows.length > 1 && !successor && condition.jti === undefined && !condition.hasExpired)
      return this.endLocked(transaction, await this.lock(transaction, rows), reason, { also, by });
    const startedAt = performance.now();
    const inOrder = [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));
    const ended: EndedSession[] = [];
    for (const row of inOrder) {
      const next = row === inOrder.at(-1) ? successor : undefined;
      const one = await this.endRow(transaction, row, reason, condition, { successor: next, by });
      if (one) ended.push(one);
    }
    await this.conclude(transaction, ended, isAlsoConditional && ended.length === 0 ? [] : also, startedAt);
    return ended;
  }

  /**
   * Ends sessions whose rows the transaction has locked, with one statement for all rows.
   * @param options.also changes that are written about together with the endings
   * @param options.by the user who ends them, such as an administrator. Default: not known
   * @throws UnavailableError if it took too long
   */
  async endLocked(
    transaction: EntityManager,
    rows: readonly EndedRow[],
    reason: EndReason,
    { also = [], by }: EndingNotes = {},
  ): Promise<EndedSession[]> {
    if (rows.length === 0 && also.length === 0) return [];
    const startedAt = performance.now();
    const ended = rows.map((row) => this.revoked(row, reason, by));
    for (const ids of batchesOf(rows)) {
      await this.writeEntries(transaction, ids, reason);
      await this.database.execute(deleteSessions(ids.length), idValues(ids), transaction);
    }
    await this.conclude(transaction, ended, also, startedAt);
    return ended;
  }

  /**
   * Writes about sessions that have expired, and whose rows the transaction has deleted. They need no entries, because an access
   * token never outlives its session.
   */
  async recordExpired(transaction: EntityManager, rows: readonly ShownRow[]): Promise<EndedSession[]> {
    if (rows.length === 0) return [];
    const ended = rows.map((row) => ({ row, reason: 'expired' as const }));
    await this.changes.write(transaction, [{ kind: 'ended', sessions: ended }]);
    return ended;
  }

  /** Locks rows, in batches and in the order of their ids, and returns those that still exist. */
  private async lock(transaction: EntityManager, rows: readonly ShownRow[]): Promise<EndedRow[]> {
    const byId = new Map(rows.map((row) => [row.id, row]));
    const inOrder = [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    const locked: EndedRow[] = [];
    for (const batch of batchesOf(inOrder)) {
      for (const { id, accessLifetime } of await this.database.query(
        lockAll(batch.length),
        idValues(batch),
        transaction,
      ))
        locked.push({ ...(byId.get(id) as ShownRow), accessLifetime });
    }
    return locked;
  }

  /**
   * Deletes a row and writes its entry. If one statement can do all of it, also inserts the successor.
   * @returns undefined if the row no longer existed or the condition did not hold
   */
  private async endRow(
    transaction: Transaction,
    row: ShownRow,
    reason: EndReason,
    { jti, hasExpired = false }: EndCondition,
    { successor, by }: { successor?: SessionEntity | undefined; by?: string | undefined },
  ): Promise<EndedSession | undefined> {
    const which: EndValues = { endedId: row.id, jti: jti ?? null, mustHaveExpired: hasExpired ? 1 : 0 };
    // An access token never outlives its session, so a session that merely expired needs no entry.
    const needsEntry = reason !== 'expired' || !hasExpired;
    if (!needsEntry)
      return (await this.database.execute(DELETE, which, transaction)) === 0 ? undefined : { row, reason };
    if (!this.isOneStatement) {
      const [locked] = await this.database.query(LOCK, which, transaction);
      if (!locked) return undefined;
      await this.writeEntries(transaction, [row.id], reason);
      await this.database.execute(deleteSessions(1), idValues([row.id]), transaction);
      return this.revoked({ ...row, accessLifetime: locked.accessLifetime }, reason, by);
    }
    const values = { ...which, reason, ...this.entryLife };
    if (!transaction && this.inline && this.endAndWrite) {
      const written = this.inline.values({ kind: 'ended', sessions: [{ row, reason, by }] });
      const [deleted] = await this.database.query(this.endAndWrite, { ...values, ...written });
      return deleted && this.revoked(deleted, reason, by);
    }
    const [deleted] = await (successor
      ? this.database.query(END_AND_INSERT, { ...values, ...sessionValues(successor) }, transaction)
      : this.database.query(END, values, transaction));
    return deleted && this.revoked(deleted, reason, by);
  }

  /** Writes the entries of sessions whose rows the transaction has locked. */
  private async writeEntries(transaction: Transaction, ids: readonly string[], reason: EndReason): Promise<void> {
    const values = { ...idValues(ids), ...this.entryLife, reason };
    await this.database.execute(insertEntriesOf(ids.length), values, transaction);
  }

  /**
   * Adds the revocation entry to an ended session.
   *
   * The database computes the stored expiry by its own time. The expiry here can differ from that by the error of this
   * process's clock, which `ENTRY_MARGIN` includes.
   */
  private revoked(
    row: EndedRow,
    reason: EndReason,
    by: string | undefined,
  ): EndedSession & { readonly revoked: RevokedSession } {
    const { longestAccessLifetime, assumedAccessSeconds, now } = this.times;
    const recorded = (row.accessLifetime ?? assumedAccessSeconds) * 1000;
    const expiresAt = now() + entryLife(recorded, longestAccessLifetime);
    return { row, reason, by, revoked: { sessionId: row.id, userId: row.userId, reason, expiresAt } };
  }

  /** Runs the last steps of a transaction that ends sessions: the change log, then the time limit. */
  private async conclude(
    transaction: EntityManager,
    ended: EndedSession[],
    also: readonly SessionChange[] | undefined,
    startedAt: number,
  ): Promise<void> {
    const changes: SessionChange[] = [...(also ?? [])];
    if (ended.length > 0) changes.push({ kind: 'ended', sessions: ended });
    await this.changes.write(transaction, changes);
    // Polls look back by the overlap. They could miss an entry that is committed later, until the next full load.
    const limit = maxEntryDelay(this.times.overlap);
    if (performance.now() - startedAt > limit)
      throw new UnavailableError(new Error(`a transaction took more than ${limit} ms to write revocation entries`));
  }
}

/** Returns the ids of rows, as many at a time as one statement may have. */
function batchesOf(rows: readonly { readonly id: string }[]): string[][] {
  const batches: string[][] = [];
  for (let at = 0; at < rows.length; at += BATCH_SIZE)
    batches.push(rows.slice(at, at + BATCH_SIZE).map(({ id }) => id));
  return batches;
}
