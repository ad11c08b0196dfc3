import type { Sql, SqlValues } from '../database/sql.js';
import { EVENT } from './outbox-sql.js';
import { SessionDeliveryEntity } from './session-delivery.entity.js';
import { SessionEventEntity } from './session-event.entity.js';

/* The statements that hand out events. Every time is the database's own. */

const EVENTS = [SessionEventEntity];
const DELIVERIES = [SessionDeliveryEntity];
const BOTH = [SessionEventEntity, SessionDeliveryEntity];

const range = (count: number) => Array.from({ length: count }, (_, at) => at);
const list = (name: string, count: number) =>
  range(count)
    .map((at) => `:${name}${at}`)
    .join(', ');

/** Returns texts as values of the parameters `name0`, `name1` and so on. */
export function listValues(name: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text, at) => [`${name}${at}`, text]));
}

/** What the distribution of an event needs to know of it. */
export type PendingEvent = Pick<
  SessionEventEntity,
  'id' | 'name' | 'position' | 'sessionId' | 'userId' | 'reason' | 'createdAt'
>;

const PENDING = 'id, name, position, session_id, user_id, reason, created_at';

/**
 * Selects events that no destination has been given yet, the earliest first. It reads by `delivered_at` and not by time: a
 * transaction that began earlier may commit later.
 */
export const LIST_PENDING: Sql<{ limit: number }, PendingEvent> = {
  entities: EVENTS,
  columns: PENDING,
  text: `
    SELECT ${PENDING} FROM session_event WHERE delivered_at IS NULL
    ORDER BY created_at, position LIMIT :limit`,
};

const marks: Sql<SqlValues>[] = [];

/** Records that `count` events were handed to all destinations. */
export const markDelivered = (count: number): Sql<SqlValues> =>
  (marks[count] ??= {
    entities: EVENTS,
    text: ({ now }) => `UPDATE session_event SET delivered_at = ${now} WHERE id IN (${list('id', count)})`,
  });

/** A row of `session_delivery` to insert. */
export interface NewDelivery {
  readonly destination: string;
  readonly ordinal: string;
  readonly eventId: string;
  readonly queue: string;
}

const inserts: Sql<SqlValues>[] = [];

/** Inserts `count` deliveries that are due at once. Skips those that exist. */
export const insertDeliveries = (count: number): Sql<SqlValues> =>
  (inserts[count] ??= {
    entities: DELIVERIES,
    text: ({ insertIfAbsent }) =>
      insertIfAbsent(
        `INTO session_delivery (destination, ordinal, event_id, queue, attempts, next_at) VALUES ${range(count)
          .map((at) => `(:destination${at}, :ordinal${at}, :event${at}, :queue${at}, 0, 0)`)
          .join(', ')}`,
      ),
  });

/** Returns the values of `insertDeliveries`. */
export function deliveryValues(deliveries: readonly NewDelivery[]): Record<string, string> {
  const values: Record<string, string> = {};
  deliveries.forEach(({ destination, ordinal, eventId, queue }, at) => {
    values[`destination${at}`] = destination;
    values[`ordinal${at}`] = ordinal;
    values[`event${at}`] = eventId;
    values[`queue${at}`] = queue;
  });
  return values;
}

/** An event with the state of its delivery to one destination. */
export type DueEvent = SessionEventEntity & Pick<SessionDeliveryEntity, 'ordinal' | 'queue' | 'attempts'>;

const asText = (value: unknown) => value;
const COMPUTED = {
  ordinal: { property: 'ordinal', read: asText },
  queue: { property: 'queue', read: asText },
  attempts: { property: 'attempts', read: Number },
};

const ofEvent = EVENT.split(', ')
  .map((column) => `e.${column}`)
  .join(', ');

const isDue = (now: string) => `d.destination = :destination AND d.failed_at IS NULL AND d.next_at <= ${now}`;

/** Selects one due delivery. Most polls send nothing but this. */
export const FIND_DUE: Sql<{ destination: string }, Pick<SessionDeliveryEntity, 'eventId'>> = {
  entities: DELIVERIES,
  columns: 'event_id',
  text: ({ now }) => `SELECT d.event_id FROM session_delivery d WHERE ${isDue(now)} LIMIT 1`,
};

/** Selects due deliveries in their order. Skips those that wait for an earlier event of the same session. */
export const LIST_DUE: Sql<{ destination: string; limit: number }, DueEvent> = {
  entities: BOTH,
  columns: `${EVENT}, ordinal, queue, attempts`,
  computed: COMPUTED,
  text: ({ now }) => `
    SELECT ${ofEvent}, d.ordinal, d.queue, d.attempts
    FROM session_delivery d JOIN session_event e ON e.id = d.event_id
    WHERE ${isDue(now)} AND NOT EXISTS (
      SELECT 1 FROM session_delivery b
      WHERE b.destination = d.destination AND b.queue = d.queue AND b.ordinal < d.ordinal
        AND b.failed_at IS NULL AND b.next_at > ${now}
    )
    ORDER BY d.ordinal LIMIT :limit`,
};

const deletes: Sql<SqlValues>[] = [];

/** Deletes `count` deliveries of one destination. */
export const deleteDeliveries = (count: number): Sql<SqlValues> =>
  (deletes[count] ??= {
    entities: DELIVERIES,
    text: `DELETE FROM session_delivery WHERE destination = :destination AND ordinal IN (${list('ordinal', count)})`,
  });

/** Records a failure. `isLast` is 1 if the delivery becomes a dead letter. */
export const RECORD_FAILURE: Sql<{
  destination: string;
  ordinal: string;
  attempts: number;
  delay: number;
  error: string;
  isLast: 0 | 1;
}> = {
  entities: DELIVERIES,
  text: ({ now }) => `
    UPDATE session_delivery
    SET attempts = :attempts, next_at = ${now} + :delay, error = :error,
      failed_at = CASE WHEN :isLast = 1 THEN ${now} ELSE NULL END
    WHERE destination = :destination AND ordinal = :ordinal`,
};

/** Makes dead letters of everything that waits for a destination. */
export const GIVE_UP: Sql<{ destination: string; error: string }> = {
  entities: DELIVERIES,
  text: ({ now }) => `
    UPDATE session_delivery SET failed_at = ${now}, error = :error
    WHERE destination = :destination AND failed_at IS NULL`,
};

const acknowledgements: Sql<SqlValues>[] = [];

/** Deletes the deliveries of `count` events to one destination. */
export const acknowledge = (count: number): Sql<SqlValues> =>
  (acknowledgements[count] ??= {
    entities: DELIVERIES,
    text: `DELETE FROM session_delivery WHERE destination = :destination AND event_id IN (${list('event', count)})`,
  });

/** Makes a dead letter of an event that its receiver refuses for good. */
export const REFUSE: Sql<{ destination: string; eventId: string; error: string }> = {
  entities: DELIVERIES,
  text: ({ now }) => `
    UPDATE session_delivery SET failed_at = ${now}, error = :error
    WHERE destination = :destination AND event_id = :eventId AND failed_at IS NULL`,
};

/** Deletes everything that waits for a destination. */
export const DROP_WAITING: Sql<{ destination: string }> = {
  entities: DELIVERIES,
  text: 'DELETE FROM session_delivery WHERE destination = :destination AND failed_at IS NULL',
};
