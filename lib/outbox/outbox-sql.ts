import type { Sql, SqlValues } from '../database/sql.js';
import type { EventRecord } from './event-record.js';
import { SessionEventEntity } from './session-event.entity.js';

/* The statements that write events. For the rules on statements, see `session/session-sql.ts`. */

const COLUMNS = 'id, name, position, session_id, user_id, session_type, reason, initiator, data, created_at';

/** The columns that are read. */
export const EVENT = `${COLUMNS}, delivered_at`;

const ENTITIES = [SessionEventEntity];

const inserts: Sql<SqlValues>[] = [];

const range = (count: number) => Array.from({ length: count }, (_, at) => at);

/** Inserts `count` events with the database's time. */
export const insertEvents = (count: number): Sql<SqlValues> =>
  (inserts[count] ??= {
    entities: ENTITIES,
    text: ({ now }) => `
      INSERT INTO session_event (${COLUMNS}) VALUES ${range(count)
        .map(
          (at) => `(:eventId${at}, :eventName${at}, :eventPosition${at}, :eventSession${at}, :eventUser${at},
            :eventType${at}, :eventReason${at}, :eventInitiator${at}, :eventData${at}, ${now})`,
        )
        .join(', ')}`,
  });

/**
 * Returns an INSERT that writes one event for each row of a relation, as a piece of another statement. Only for PostgreSQL,
 * which cannot infer parameter types in a SELECT from the target columns.
 */
export function insertEventFrom(relation: string, createdAt: string, details?: string): string {
  const given = 'CAST(:eventData0 AS text)';
  const data =
    details === undefined
      ? given
      : `CAST(json_build_object('client', CAST(${given} AS json) -> 'client', 'details', ${details}) AS text)`;
  return `
    INSERT INTO session_event (${COLUMNS})
    SELECT CAST(:eventId0 AS varchar), CAST(:eventName0 AS varchar), CAST(:eventPosition0 AS int),
      CAST(:eventSession0 AS varchar), CAST(:eventUser0 AS varchar), CAST(:eventType0 AS varchar),
      CAST(:eventReason0 AS varchar), CAST(:eventInitiator0 AS varchar), ${data}, ${createdAt}
    FROM ${relation}`;
}

/** Returns the values of `insertEvents` and `insertEventFrom`. */
export function eventValues(records: readonly EventRecord[]): Record<string, string | number | null> {
  const values: Record<string, string | number | null> = {};
  records.forEach((record, at) => {
    values[`eventId${at}`] = record.id;
    values[`eventName${at}`] = record.name;
    values[`eventPosition${at}`] = record.position;
    values[`eventSession${at}`] = record.sessionId;
    values[`eventUser${at}`] = record.userId;
    values[`eventType${at}`] = record.sessionType;
    values[`eventReason${at}`] = record.reason;
    values[`eventInitiator${at}`] = record.initiator;
    values[`eventData${at}`] = record.data;
  });
  return values;
}
