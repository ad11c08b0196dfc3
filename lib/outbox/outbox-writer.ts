import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { ChangeWriter, InlineWriter, SessionChange, SessionNoted } from '../session/change-log.js';
import { recordsOf } from './event-record.js';
import { eventValues, insertEventFrom, insertEvents } from './outbox-sql.js';
import { SessionEventEntity } from './session-event.entity.js';

/** The number of events in one statement. */
const BATCH_SIZE = 100;

/**
 * Writes events in the transaction of their change. On PostgreSQL, a login without an exact limit and the ending of one session
 * are still one statement each.
 */
export class OutboxWriter implements ChangeWriter {
  readonly kinds = ['created', 'ended', 'user-revoked', 'noted'] as const;
  readonly inline: InlineWriter;

  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    private readonly database: Database,
    private readonly now: () => number,
  ) {
    this.inline = {
      entities: [SessionEventEntity],
      insertFrom: insertEventFrom,
      values: (change) => eventValues(recordsOf(change, this.now()).slice(0, 1)),
    };
  }

  async note(change: SessionNoted): Promise<void> {
    await this.database.execute(insertEvents(1), eventValues(recordsOf(change, this.now())));
  }

  async write(transaction: EntityManager, changes: readonly SessionChange[]): Promise<void> {
    const records = changes.flatMap((change) => recordsOf(change, this.now()));
    for (let at = 0; at < records.length; at += BATCH_SIZE) {
      const batch = records.slice(at, at + BATCH_SIZE);
      await this.database.execute(insertEvents(batch.length), eventValues(batch), transaction);
    }
  }
}
