import type { NotedRow, SessionChange } from '../session/change-log.js';
import { uuidV7 } from '../session/id.js';
import { storedClaims } from '../session/session.js';
import { randomId } from '../token/random-id.js';
import { type DurableEventName, type EventClient, type Initiator, initiatorOf } from './durable-event.js';
import type { STREAM_VERIFIED } from './security-event.js';

/** The values of a row of `session_event`, except for its time, which the database sets. */
export interface EventRecord {
  readonly id: string;
  readonly name: DurableEventName | typeof STREAM_VERIFIED;
  readonly position: 0 | 1 | 2;
  readonly sessionId: string | null;
  readonly userId: string | null;
  readonly sessionType: string | null;
  readonly reason: string | null;
  readonly initiator: Initiator;
  readonly data: string;
}

/** What the column `data` holds as JSON. */
export interface EventData {
  readonly client: EventClient | null;
  readonly details: Readonly<Record<string, unknown>>;
  /** The id of the initiator. Absent if it is not known, as in events of earlier versions. */
  readonly by?: string | undefined;
}

/** Who caused what is noted. A device is bound by its user; the rest is noticed by the library. */
const NOTED_BY: Partial<Record<DurableEventName, Initiator>> = { 'device.bound': 'user', 'login.new-device': 'user' };

/**
 * Returns the records of a change, one for each session that it concerns.
 * @param now the time of this process, for the ids. In milliseconds since 1970
 */
export function recordsOf(change: SessionChange, now: number): EventRecord[] {
  switch (change.kind) {
    case 'created': {
      const { row } = change;
      const details = { amr: storedClaims(row).amr };
      return [recordOf(now, 'session.created', 0, row, { initiator: 'user', details })];
    }
    case 'ended':
      return change.sessions.map(({ row, reason, by }) =>
        recordOf(now, 'session.ended', 2, row, { reason, initiator: initiatorOf(reason), details: {}, by }),
      );
    case 'noted': {
      const { name, row, details } = change;
      return [recordOf(now, name, 1, row, { initiator: NOTED_BY[name] ?? 'policy', details })];
    }
    case 'admin-action':
      return [];
    case 'user-revoked': {
      const { userId, reason, types, except, by } = change;
      const details = { types: types ?? null, kept_session_id: except ?? null };
      return [
        {
          ...{ id: newEventId(now), name: 'user.revoked', position: 1, sessionId: null, userId, sessionType: null },
          ...{ reason, initiator: initiatorOf(reason), data: dataOf(null, details, by) },
        },
      ];
    }
  }
}

/** Returns a new id. Ids of later events are greater, so rows that are inserted one after the other are adjacent. */
export function newEventId(now: number): string {
  return uuidV7(now, randomId());
}

/** Returns the content of the column `data`. */
export function dataOf(client: EventClient | null, details: EventData['details'], by?: EventData['by']): string {
  return JSON.stringify({ client, details, by } satisfies EventData);
}

function recordOf(
  now: number,
  name: DurableEventName,
  position: EventRecord['position'],
  { id, userId, type, userAgent, ipAddress, deviceName }: NotedRow,
  { reason = null, initiator, details, by }: Pick<EventRecord, 'initiator'> & EventDetails,
): EventRecord {
  const client = { user_agent: userAgent ?? null, ip_address: ipAddress ?? null, device_name: deviceName ?? null };
  const data = dataOf(client, details, by);
  return { id: newEventId(now), name, position, sessionId: id, userId, sessionType: type, reason, initiator, data };
}

interface EventDetails extends Pick<EventData, 'details' | 'by'> {
  readonly reason?: string | null;
}
