import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { Job, JobTurn } from '../database/job.js';
import type { Telemetry } from '../telemetry/telemetry.js';
import { readUserId } from '../token/access-token.js';
import type { TokenConfig } from '../token/options.js';
import {
  deleteDeliveries,
  type DueEvent,
  FIND_DUE,
  GIVE_UP,
  LIST_DUE,
  listValues,
  RECORD_FAILURE,
} from './delivery-sql.js';
import type { DeliveryOutcome, Destination } from './destination.js';
import type { DurableEvent } from './durable-event.js';
import type { EventData } from './event-record.js';
import { delayAfter, pauseAfter } from './retry-schedule.js';
import type { SessionEventEntity } from './session-event.entity.js';

/** The number of events of one batch, and how many of them are delivered at the same time. */
const BATCH_SIZE = 100;
const CONCURRENCY = 16;
/** After this time, no other delivery of a batch begins, in milliseconds. With the longest delivery, it is within the lease. */
const MAX_BATCH_TIME = 10_000;
const MAX_ERROR = 255;
const GONE = 'the destination is switched off, because it answered 410';

/** What the row of the job stores. */
export interface DestinationState {
  /** When it answered 410, in milliseconds since 1970. Null if it is on. */
  readonly goneAt: number | null;
  /** How many batches in a row have found it down. */
  readonly failures: number;
  /** Until when it is left alone, in milliseconds since 1970. */
  readonly pausedUntil: number;
}

type Failure = Extract<DeliveryOutcome, { kind: 'failed' }>;

interface Result {
  readonly due: DueEvent;
  readonly outcome: DeliveryOutcome;
}

/** The state of a destination that is on. */
export const FRESH: DestinationState = { goneAt: null, failures: 0, pausedUntil: 0 };

/**
 * Delivers events to one destination, one process at a time. The events of a session are delivered in order: while one of them
 * waits for another try, the later ones wait too.
 *
 * Invariant: a delivery is deleted only after the destination has accepted the event. A process that is killed in between leaves
 * the row, and the next process delivers the event again, with the same id.
 */
export class Delivery {
  private readonly logger = new Logger('MultiSession');
  /** What the last batch has brought and no transaction has recorded yet. */
  private results: readonly Result[] = [];
  /** By this process's clock, in milliseconds. */
  private restUntil = 0;

  constructor(
    private readonly database: Database,
    private readonly job: Job,
    readonly destination: Destination,
    private readonly config: TokenConfig,
    private readonly telemetry: Pick<Telemetry, 'eventDelivered'>,
  ) {}

  /**
   * Records the results of the last batch, and delivers the next one.
   * @returns whether there may be more to do at once
   */
  async step(): Promise<boolean> {
    const { name } = this.destination;
    if (this.results.length === 0) {
      if (performance.now() < this.restUntil) return false;
      if ((await this.database.query(FIND_DUE, { destination: name })).length === 0) return false;
    }
    const isHeld = (await this.destination.isHeld?.()) ?? false;
    if (isHeld && this.results.length === 0) return false;
    const due = await this.job.run((transaction, turn) => this.next(transaction, turn, isHeld));
    // If it is another process's turn, that process delivers again whatever was not recorded.
    this.results = [];
    if (!due || due.length === 0) return false;
    this.results = await this.deliver(due);
    return true;
  }

  /** Records the results of the last batch. Whatever is not recorded will be delivered again. */
  async finish(): Promise<void> {
    if (this.results.length > 0) await this.job.run((transaction, turn) => this.next(transaction, turn, true));
    this.results = [];
  }

  /** @param isHeld whether no more events are wanted now */
  private async next(transaction: EntityManager, turn: JobTurn, isHeld: boolean): Promise<DueEvent[]> {
    const { name } = this.destination;
    const before = stateOf(turn);
    const state = this.stateAfter(before, turn.now);
    await this.record(transaction);
    if (state !== before) await turn.save({ ...state });
    this.restUntil = performance.now() + state.pausedUntil - turn.now;
    if (state.goneAt !== null) {
      await this.database.execute(GIVE_UP, { destination: name, error: GONE }, transaction);
      return [];
    }
    if (isHeld || state.pausedUntil > turn.now) return [];
    // A destination that was down gets one event first.
    const limit = state.failures > 0 ? 1 : BATCH_SIZE;
    return this.database.query(LIST_DUE, { destination: name, limit }, transaction);
  }

  /** Returns the state after the results of the last batch. */
  private stateAfter(before: DestinationState, now: number): DestinationState {
    const { results } = this;
    if (results.some(({ outcome }) => outcome.kind === 'gone')) {
      this.logger.error(
        `${this.destination.name} is switched off, because it answered 410: its events become dead letters`,
      );
      return { ...before, goneAt: now };
    }
    const down = results.map(({ outcome }) => outcome).filter((outcome) => outcome.kind === 'failed' && outcome.isDown);
    if (down.length > 0) {
      const failures = before.failures + 1;
      const retryAfter = Math.max(0, ...(down as Failure[]).map((failure) => failure.retryAfter ?? 0));
      if (failures === 1)
        this.logger.warn(`${this.destination.name} does not accept events: ${(down[0] as Failure).error}`);
      return { ...before, failures, pausedUntil: now + pauseAfter(failures, retryAfter) };
    }
    if (results.length === 0 || before.failures === 0) return before;
    this.logger.log(`${this.destination.name} accepts events again`);
    return { ...before, failures: 0, pausedUntil: 0 };
  }

  private async record(transaction: EntityManager): Promise<void> {
    const destination = this.destination.name;
    const accepted = this.results.filter(({ outcome }) => outcome.kind === 'accepted').map(({ due }) => due.ordinal);
    if (accepted.length > 0) {
      const values = { destination, ...listValues('ordinal', accepted) };
      await this.database.execute(deleteDeliveries(accepted.length), values, transaction);
    }
    for (const { due, outcome } of this.results) {
      if (outcome.kind !== 'failed') continue;
      const attempts = due.attempts + 1;
      const delay = delayAfter(attempts, outcome.retryAfter);
      const failure = { attempts, delay: delay ?? 0, error: outcome.error.slice(0, MAX_ERROR) };
      const isLast = delay === undefined ? 1 : 0;
      if (isLast) this.logger.error(`${destination} has not accepted the event ${due.id}, which is now a dead letter`);
      const values = { destination, ordinal: due.ordinal, ...failure, isLast } as const;
      await this.database.execute(RECORD_FAILURE, values, transaction);
    }
  }

  private async deliver(due: readonly DueEvent[]): Promise<Result[]> {
    const giveUpAt = performance.now() + MAX_BATCH_TIME;
    const chains = byQueue(due);
    const results: Result[] = [];
    let isOver = false;
    const work = async () => {
      for (let chain = chains.shift(); chain; chain = chains.shift()) {
        for (const event of chain) {
          if (isOver || performance.now() > giveUpAt) return;
          const outcome = await this.destination.deliver(toDurableEvent(event, this.config));
          this.telemetry.eventDelivered(this.destination.name, outcome.kind);
          results.push({ due: event, outcome });
          if (outcome.kind === 'accepted') continue;
          isOver ||= outcome.kind === 'gone' || outcome.isDown;
          break;
        }
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, work));
    return results;
  }
}

/** Returns the events of each session in their order. */
function byQueue(due: readonly DueEvent[]): DueEvent[][] {
  const chains = new Map<string, DueEvent[]>();
  for (const event of due) {
    const chain = chains.get(event.queue);
    if (chain) chain.push(event);
    else chains.set(event.queue, [event]);
  }
  return [...chains.values()];
}

/** Returns the state of a destination, which the row of its job stores. */
export function stateOf({ state }: Pick<JobTurn, 'state'>): DestinationState {
  return (state as DestinationState | null) ?? FRESH;
}

/** Converts a row to the event that handlers receive. */
export function toDurableEvent(row: SessionEventEntity, config: TokenConfig): DurableEvent {
  const { client, details, by = null } = JSON.parse(row.data) as EventData;
  const userIdOf = (id: string | null) => (id === null ? null : (readUserId(config, id) ?? id));
  return {
    id: row.id,
    name: row.name as DurableEvent['name'],
    at: row.createdAt,
    sessionId: row.sessionId,
    userId: userIdOf(row.userId),
    sessionType: row.sessionType,
    reason: row.reason as DurableEvent['reason'],
    initiator: row.initiator as DurableEvent['initiator'],
    initiatorId: userIdOf(by),
    client,
    details,
  };
}
