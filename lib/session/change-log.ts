import type { EntityManager } from 'typeorm';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { EndReason } from './events.js';
import type { ShownRow } from './session.js';

/** A session that this process has just ended. */
export interface EndedSession {
  readonly row: ShownRow;
  readonly reason: EndReason;
  /**
   * The revocation entry that was written in the same transaction. Undefined if the session had merely expired: its access
   * tokens had expired before it, so nothing needs to be refused.
   */
  readonly revoked?: RevokedSession;
}

/** A change of sessions, by its kind. */
export type SessionChange = SessionsEnded;

export interface SessionsEnded {
  readonly kind: 'ended';
  readonly sessions: readonly EndedSession[];
}

/** Writes something of its own about a change of sessions. */
export interface ChangeWriter {
  /**
   * Writes in the transaction of the change. It may be called again for the same change if the transaction is retried.
   * @throws whatever is to undo the change too
   */
  write(transaction: EntityManager, change: SessionChange): Promise<void>;
}

/**
 * Everything that is written in the same transaction as a change of sessions. The store knows only this log, not its writers.
 *
 * Invariant: a change and everything that the writers write about it are committed together, or none of it is. Writers run
 * last in the transaction, after all rows of the change have been locked and written.
 */
export class ChangeLog {
  /** @param writers run one after the other, in this order */
  constructor(private readonly writers: readonly ChangeWriter[] = []) {}

  /** Whether no writer is interested, so that a change in a single statement needs no transaction. */
  get isEmpty(): boolean {
    return this.writers.length === 0;
  }

  /** Runs all writers. */
  async write(transaction: EntityManager, change: SessionChange): Promise<void> {
    for (const writer of this.writers) await writer.write(transaction, change);
  }
}
