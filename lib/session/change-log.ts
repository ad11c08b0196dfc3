import type { EntityManager } from 'typeorm';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { EndReason } from './events.js';
import type { ShownRow } from './session.js';

/** A session that this process has just ended. */
export interface EndedSession {
  readonly row: ShownRow;
  readonly reason: EndReason;
  /**
   * The revocation entry that was written in the same transaction. Undefined if the session had merely expired. Its access
   * tokens had expired too, so they need not be refused.
   */
  readonly revoked?: RevokedSession;
}

/** A change of sessions. `kind` tells which. */
export type SessionChange = SessionsEnded;

export interface SessionsEnded {
  readonly kind: 'ended';
  readonly sessions: readonly EndedSession[];
}

/** Takes part in the transaction of a change: writes rows of its own, or sends a notification. */
export interface ChangeWriter {
  /**
   * Writes in the transaction of the change. If the transaction is retried, this is called again for the same change.
   * @throws any error, to roll back the change too
   */
  write(transaction: EntityManager, change: SessionChange): Promise<void>;
}

/**
 * Runs the writers that take part in changes of sessions. The store depends only on this log and does not know the writers.
 *
 * Invariant: a change and everything that the writers write about it are committed together or not at all. Writers run last
 * in the transaction, after all rows of the change have been locked and written.
 */
export class ChangeLog {
  /** @param writers run one after the other, in this order */
  constructor(private readonly writers: readonly ChangeWriter[] = []) {}

  /** Whether there are no writers. A change that takes a single statement then needs no transaction. */
  get isEmpty(): boolean {
    return this.writers.length === 0;
  }

  /** Runs all writers. */
  async write(transaction: EntityManager, change: SessionChange): Promise<void> {
    for (const writer of this.writers) await writer.write(transaction, change);
  }
}
