import type { Database } from '../database/database.js';
import type { Job } from '../database/job.js';
import type { Sql, SqlValues } from '../database/sql.js';
import { listValues } from './delivery-sql.js';
import { SessionDeliveryEntity } from './session-delivery.entity.js';
import { SessionEventEntity } from './session-event.entity.js';

const FIND_OLD: Sql<{ retention: number; limit: number }, Pick<SessionEventEntity, 'id'>> = {
  entities: [SessionEventEntity],
  columns: 'id',
  text: ({ now }) => `
    SELECT id FROM session_event WHERE delivered_at <= ${now} - :retention ORDER BY delivered_at LIMIT :limit`,
};

const list = (count: number) => Array.from({ length: count }, (_, at) => `:id${at}`).join(', ');
const ofDeliveries: Sql<SqlValues>[] = [];
const ofEvents: Sql<SqlValues>[] = [];

const deleteDeliveries = (count: number): Sql<SqlValues> =>
  (ofDeliveries[count] ??= {
    entities: [SessionDeliveryEntity],
    text: `DELETE FROM session_delivery WHERE event_id IN (${list(count)})`,
  });

const deleteEvents = (count: number): Sql<SqlValues> =>
  (ofEvents[count] ??= {
    entities: [SessionEventEntity],
    text: `DELETE FROM session_event WHERE id IN (${list(count)})`,
  });

/** Deletes old events, with the dead letters among them. The cleanup calls it. */
export class EventRetention {
  /**
   * @param retention how long delivered events are kept, in milliseconds; 0 if the option `events` is off
   * @param cleanup elects the process that cleans up
   */
  constructor(
    private readonly database: Database,
    private readonly retention: number,
    private readonly cleanup: Pick<Job, 'run'>,
  ) {}

  /**
   * Deletes up to `limit` events in one transaction.
   * @returns how many were deleted, or undefined if another process is doing it
   */
  async deleteOld(limit: number): Promise<number | undefined> {
    const { database, retention } = this;
    if (retention === 0) return 0;
    return this.cleanup.run(async (manager) => {
      const old = await database.query(FIND_OLD, { retention, limit }, manager);
      if (old.length === 0) return 0;
      const values = listValues(
        'id',
        old.map(({ id }) => id),
      );
      await database.execute(deleteDeliveries(old.length), values, manager);
      return database.execute(deleteEvents(old.length), values, manager);
    });
  }
}
