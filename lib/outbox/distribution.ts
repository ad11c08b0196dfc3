import type { Database } from '../database/database.js';
import type { Job } from '../database/job.js';
import type { EventTarget } from './destination.js';
import {
  deliveryValues,
  insertDeliveries,
  LIST_PENDING,
  listValues,
  markDelivered,
  type NewDelivery,
  type PendingEvent,
} from './delivery-sql.js';
import type { StreamFilter, StreamStates } from './stream-states.js';

/** The number of events in one transaction. */
const BATCH_SIZE = 200;
/** The number of deliveries in one statement. */
const STATEMENT_SIZE = 100;

/**
 * Hands new events to their destinations: writes one row of `session_delivery` for each of them. One process at a time.
 *
 * Invariant: the deliveries of an event and its `delivered_at` are committed together. If the process is killed, the next one
 * does it again or finds it done. No event is distributed twice.
 */
export class Distribution {
  constructor(
    private readonly database: Database,
    private readonly job: Job,
    private readonly targets: readonly EventTarget[],
    private readonly streams: StreamStates,
  ) {}

  /**
   * Distributes a batch, unless it is another process's turn.
   * @returns how many events it distributed
   */
  async step(): Promise<number> {
    // Most polls find out here that there is nothing to do, without writing the job's row.
    if ((await this.database.query(LIST_PENDING, { limit: 1 })).length === 0) return 0;
    const done = await this.job.run(async (transaction) => {
      const events = await this.database.query(LIST_PENDING, { limit: BATCH_SIZE }, transaction);
      const filter = await this.streams.filterFor(events, transaction);
      const deliveries = events.flatMap((event) => this.deliveriesOf(event, filter));
      for (let at = 0; at < deliveries.length; at += STATEMENT_SIZE) {
        const batch = deliveries.slice(at, at + STATEMENT_SIZE);
        await this.database.execute(insertDeliveries(batch.length), deliveryValues(batch), transaction);
      }
      for (let at = 0; at < events.length; at += STATEMENT_SIZE) {
        const ids = events.slice(at, at + STATEMENT_SIZE).map(({ id }) => id);
        await this.database.execute(markDelivered(ids.length), listValues('id', ids), transaction);
      }
      return events.length;
    });
    return done ?? 0;
  }

  private deliveriesOf(event: PendingEvent, filter: StreamFilter): NewDelivery[] {
    return this.targets.filter((target) => wants(target, event, filter)).map(({ name }) => newDelivery(name, event));
  }
}

/** Tells whether an event goes to a destination. */
export function wants({ events, stream }: EventTarget, event: PendingEvent, filter: StreamFilter): boolean {
  return (events as readonly string[]).includes(event.name) && (!stream || filter(stream, event));
}

/** Returns the delivery of an event to a destination. */
export function newDelivery(destination: string, { id, position, sessionId, createdAt }: PendingEvent): NewDelivery {
  const time = String(createdAt.getTime()).padStart(14, '0');
  return { destination, ordinal: `${time}.${position}.${id}`, eventId: id, queue: sessionId ?? id };
}
