import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../database/database.js';
import type { Telemetry } from '../telemetry/telemetry.js';
import type { TokenConfig } from '../token/options.js';
import { toDurableEvent } from './delivery.js';
import {
  acknowledge,
  deliveryValues,
  DROP_WAITING,
  type DueEvent,
  insertDeliveries,
  LIST_DUE,
  listValues,
  markDelivered,
  REFUSE,
} from './delivery-sql.js';
import { newDelivery } from './distribution.js';
import { dataOf, type EventRecord, newEventId } from './event-record.js';
import type { SecurityEventStreamConfig } from './options.js';
import { eventValues, insertEvents } from './outbox-sql.js';
import { securityEventClaims, type SecurityEventSigner, STREAM_VERIFIED } from './security-event.js';
import { streamDestination } from './security-event-stream.js';
import type { StreamState, StreamStates } from './stream-states.js';

/** How often a receiver may ask for a verification event, in milliseconds. */
export const MIN_VERIFICATION_INTERVAL = 60_000;

/** How long a poll waits for events, in milliseconds. Proxies give up a request after 30 or 60 seconds. */
const MAX_WAIT = 25_000;
/** How often a waiting poll looks for events that another process has distributed, in milliseconds. */
const LOOK_EVERY = 500;
/** Maximum number of events in one answer. */
const MAX_EVENTS = 100;
/** The number of events in one statement. */
const STATEMENT_SIZE = 100;
/** After so many signatures, other requests have their turn. One takes about a millisecond. */
const SIGN_AT_ONCE = 10;
const MAX_ERROR = 255;

/** What a receiver polls for (RFC 8936 section 2.2). */
export interface PollRequest {
  /** The ids of the events that it has taken over. They are not sent again. */
  readonly ack: readonly string[];
  /** The events that it refuses for good, with the reasons. They become dead letters. */
  readonly refused: ReadonlyMap<string, string>;
  /** Maximum number of events in the answer. */
  readonly maxEvents: number;
  /** Whether to answer at once if there are no events. */
  readonly isImmediate: boolean;
}

/** The answer to a poll (RFC 8936 section 2.3). */
export interface PollAnswer {
  /** Security event tokens by their ids. */
  readonly sets: Readonly<Record<string, string>>;
  readonly moreAvailable: boolean;
}

/**
 * What receivers do with their streams: change the status, choose users, ask for verification events, and poll.
 *
 * Invariant: a poll only reads. An event is deleted when its receiver acknowledges it, by the id. So any process may answer any
 * poll, and an answer that is lost is repeated by the next one.
 */
export class EventStreams {
  private news = newSignal();
  /** The latest poll of each stream that may wait. */
  private readonly latest = new Map<string, symbol>();
  private closing = false;

  /**
   * @param sign signs security events
   * @param nudge makes the delivery of pushed events look at once
   * @param now returns the database's time, in milliseconds since 1970
   */
  constructor(
    private readonly database: Database,
    private readonly states: StreamStates,
    private readonly tokens: TokenConfig,
    private readonly sign: SecurityEventSigner,
    private readonly telemetry: Pick<Telemetry, 'eventDelivered'>,
    private readonly nudge: () => void,
    private readonly now: () => number,
  ) {}

  /** Reads the status of a stream. */
  status({ name }: SecurityEventStreamConfig): Promise<StreamState> {
    return this.states.read(name);
  }

  /** Sets the status of a stream. Whatever waits for a stream that is or was disabled is dropped. */
  async setStatus(stream: SecurityEventStreamConfig, state: StreamState): Promise<void> {
    const { name } = stream;
    await this.database.transaction(undefined, async (transaction) => {
      const before = await this.states.read(name, transaction);
      await this.states.write(name, state, transaction);
      // An event that was being distributed when the stream was disabled may have arrived afterwards.
      if ([before.status, state.status].includes('disabled'))
        await this.database.execute(DROP_WAITING, { destination: streamDestination(stream) }, transaction);
    });
    this.wake();
    this.nudge();
  }

  /**
   * Adds a user to a stream, or removes one. It decides on the events that are distributed from now on.
   * @param userId the text of the user id, as security events have it
   */
  async include({ name }: SecurityEventStreamConfig, userId: string, isIncluded: boolean): Promise<void> {
    await this.states.include(name, userId, isIncluded);
  }

  /**
   * Sends a verification event. It comes after the events that wait already.
   * @param state what the receiver wants to find in it. Null for none
   * @returns false if the receiver has asked less than `MIN_VERIFICATION_INTERVAL` ago
   */
  async verify(stream: SecurityEventStreamConfig, state: string | null): Promise<boolean> {
    const { name } = stream;
    const now = this.now();
    const id = newEventId(now);
    const record: EventRecord = {
      ...{ id, name: STREAM_VERIFIED, position: 2, sessionId: null, userId: null, sessionType: null, reason: null },
      ...{ initiator: 'system', data: dataOf(null, { state }) },
    };
    const delivery = newDelivery(streamDestination(stream), { ...record, createdAt: new Date(now) });
    const isAccepted = await this.database.transaction(undefined, async (transaction) => {
      if (!(await this.states.verify(name, MIN_VERIFICATION_INTERVAL, transaction))) return false;
      await this.database.execute(insertEvents(1), eventValues([record]), transaction);
      // Nothing else is to get it, so it is not distributed.
      await this.database.execute(markDelivered(1), listValues('id', [id]), transaction);
      await this.database.execute(insertDeliveries(1), deliveryValues([delivery]), transaction);
      return true;
    });
    if (isAccepted) {
      this.wake();
      this.nudge();
    }
    return isAccepted;
  }

  /**
   * Answers a poll: takes acknowledgements, and returns the events that wait, those of a session in their order. Waits for one if
   * there are none. Of the polls of a stream, a process lets only the latest one wait.
   */
  async poll(stream: SecurityEventStreamConfig, request: PollRequest): Promise<PollAnswer> {
    await this.acknowledge(stream, request);
    const limit = Math.min(request.maxEvents, MAX_EVENTS);
    if (limit === 0) return { sets: {}, moreAvailable: (await this.due(stream, 1)).length > 0 };
    const giveUpAt = performance.now() + MAX_WAIT;
    const self = Symbol(stream.name);
    if (!request.isImmediate) {
      this.latest.set(stream.name, self);
      // The poll that has waited so far finds that it is no longer the latest one.
      this.wake();
    }
    for (;;) {
      // Before the look, so that no news is missed in between.
      const { arrived } = this.news;
      const due = await this.due(stream, limit + 1);
      const mayWait =
        this.latest.get(stream.name) === self && !request.isImmediate && !this.closing && performance.now() < giveUpAt;
      if (due.length > 0 || !mayWait)
        return { sets: await this.signed(stream, due.slice(0, limit)), moreAvailable: due.length > limit };
      await Promise.race([arrived, sleep(LOOK_EVERY, undefined, { ref: false })]);
    }
  }

  /** Lets waiting polls look at once, because there may be events for them. */
  wake(): void {
    const { announce } = this.news;
    this.news = newSignal();
    announce();
  }

  /** Whether the process is shutting down. Receivers should then leave their connection. */
  get isClosing(): boolean {
    return this.closing;
  }

  /** Ends all waiting. Call it before the server closes, because a server waits for its requests. */
  close(): void {
    this.closing = true;
    this.wake();
  }

  private async acknowledge(stream: SecurityEventStreamConfig, { ack, refused }: PollRequest): Promise<void> {
    const destination = streamDestination(stream);
    for (let at = 0; at < ack.length; at += STATEMENT_SIZE) {
      const batch = ack.slice(at, at + STATEMENT_SIZE);
      const values = { destination, ...listValues('event', batch) };
      const accepted = await this.database.execute(acknowledge(batch.length), values);
      for (let count = 0; count < accepted; count++) this.telemetry.eventDelivered(destination, 'accepted');
    }
    for (const [eventId, reason] of refused) {
      const error = `refused by the receiver: ${reason}`.slice(0, MAX_ERROR);
      if ((await this.database.execute(REFUSE, { destination, eventId, error })) > 0)
        this.telemetry.eventDelivered(destination, 'failed');
    }
  }

  private async due(stream: SecurityEventStreamConfig, limit: number): Promise<DueEvent[]> {
    const due = await this.database.query(LIST_DUE, { destination: streamDestination(stream), limit });
    // Most looks find nothing, and need not read the status.
    return due.length === 0 || (await this.states.read(stream.name)).status !== 'enabled' ? [] : due;
  }

  private async signed({ name, audience }: SecurityEventStreamConfig, due: readonly DueEvent[]) {
    const sets: Record<string, string> = {};
    for (const [at, row] of due.entries()) {
      if (at > 0 && at % SIGN_AT_ONCE === 0) await setImmediate();
      const event = toDurableEvent(row, this.tokens);
      sets[row.id] = this.sign(securityEventClaims(event, this.tokens.issuer ?? '', name, this.now()), audience);
    }
    return sets;
  }
}

/** Returns a promise and what fulfills it. */
function newSignal(): { readonly arrived: Promise<void>; readonly announce: () => void } {
  let announce = () => {};
  const arrived = new Promise<void>((resolve) => (announce = resolve));
  return { arrived, announce };
}
