import { createHash } from 'node:crypto';
import type { Database, Transaction } from '../database/database.js';
import { listValues } from './delivery-sql.js';
import type { SecurityEventStreamConfig } from './options.js';
import { isSecurityEvent } from './security-event.js';
import {
  INSERT_STREAM,
  INSERT_SUBJECT,
  LIST_STREAMS,
  listSubjects,
  READ_STREAM,
  SET_STATUS,
  SET_VERIFIED,
  UPDATE_SUBJECT,
} from './stream-sql.js';

/** The statuses of a stream (SSF 1.0). A paused stream keeps its events, and a disabled one drops them. */
export const STREAM_STATUSES = ['enabled', 'paused', 'disabled'] as const;

export type StreamStatus = (typeof STREAM_STATUSES)[number];

/** The status of a stream, and why it has it. */
export interface StreamState {
  readonly status: StreamStatus;
  readonly reason: string | null;
}

/** What decides whether an event goes to a stream. `userId` is the text that the event's row stores. */
export interface StreamedEvent {
  readonly name: string;
  readonly userId: string | null;
  readonly reason: string | null;
}

/** Tells whether a stream gets an event. */
export type StreamFilter = (stream: SecurityEventStreamConfig, event: StreamedEvent) => boolean;

/** The number of users in one statement. */
const STATEMENT_SIZE = 100;

/** What the receivers have changed at their streams: the status, and whose events they want. */
export class StreamStates {
  /** @param streams the option `events.streams` */
  constructor(
    private readonly database: Database,
    private readonly streams: readonly SecurityEventStreamConfig[],
  ) {}

  /** Reads the status of a stream. */
  async read(name: string, transaction?: Transaction): Promise<StreamState> {
    const [row] = await this.database.query(READ_STREAM, { name }, transaction);
    return row ? { status: row.status as StreamStatus, reason: row.reason } : { status: 'enabled', reason: null };
  }

  /** Sets the status of a stream. The row is locked until the end of the transaction. */
  async write(name: string, { status, reason }: StreamState, transaction: Transaction): Promise<void> {
    await this.database.execute(INSERT_STREAM, { name }, transaction);
    await this.database.execute(SET_STATUS, { name, status, reason }, transaction);
  }

  /**
   * Records a request for a verification event.
   * @param interval milliseconds
   * @returns false if the last request was less than `interval` ago
   */
  async verify(name: string, interval: number, transaction: Transaction): Promise<boolean> {
    await this.database.execute(INSERT_STREAM, { name }, transaction);
    return (await this.database.execute(SET_VERIFIED, { name, interval }, transaction)) > 0;
  }

  /** Records whether a stream gets the events of a user from now on. */
  async include(stream: string, userId: string, isIncluded: boolean): Promise<void> {
    const values = { stream, subjectKey: subjectKeyOf(userId), included: isIncluded ? 1 : 0 };
    // The insert does nothing if there is a row, and the update changes nothing if the row is new.
    await this.database.execute(INSERT_SUBJECT, values);
    await this.database.execute(UPDATE_SUBJECT, values);
  }

  /** Reads what decides which streams get these events. Sends no statement if no receiver can change anything. */
  async filterFor(events: readonly StreamedEvent[], transaction?: Transaction): Promise<StreamFilter> {
    if (!this.streams.some(({ receiverKeys }) => receiverKeys.length > 0)) return (_, event) => isSecurityEvent(event);
    const rows = await this.database.query(LIST_STREAMS, {}, transaction);
    const disabled = new Set(rows.filter(({ status }) => status === 'disabled').map(({ name }) => name));
    const wishes = new Map<string, boolean>();
    const keys = [...new Set(events.flatMap(({ userId }) => (userId === null ? [] : subjectKeyOf(userId))))];
    for (let at = 0; at < keys.length; at += STATEMENT_SIZE) {
      const batch = keys.slice(at, at + STATEMENT_SIZE);
      const found = await this.database.query(listSubjects(batch.length), listValues('key', batch), transaction);
      for (const { stream, subjectKey, included } of found) wishes.set(`${stream} ${subjectKey}`, included === 1);
    }
    return ({ name, subjects, receiverKeys }, event) => {
      if (!isSecurityEvent(event)) return false;
      // Without a key, the receiver can no longer change what it once has.
      if (receiverKeys.length === 0) return true;
      if (disabled.has(name)) return false;
      const wish = event.userId === null ? undefined : wishes.get(`${name} ${subjectKeyOf(event.userId)}`);
      return wish ?? subjects === 'all';
    };
  }
}

/** Returns the key of a user in the rows of streams. */
export function subjectKeyOf(userId: string): string {
  return createHash('sha256')
    .update(JSON.stringify(['user', userId]))
    .digest('hex');
}
