import type { EntityManager } from 'typeorm';
import type { AdminActions } from '../session/admin-actions.js';
import type { Database } from '../database/database.js';
import { Job } from '../database/job.js';
import { JOB_LEASE } from '../engine/timing.js';
import type { UserId } from '../token/options.js';
import { deliveryValues, insertDeliveries, type PendingEvent } from './delivery-sql.js';
import { type DestinationState, FRESH, stateOf } from './delivery.js';
import { newDelivery, wants } from './distribution.js';
import { jobNameOf, type Outbox } from './outbox.js';
import { SessionDeliveryEntity } from './session-delivery.entity.js';
import { SessionEventEntity } from './session-event.entity.js';

/** The state of the delivery to one destination. */
export interface DestinationStatus {
  /** For example `webhook:billing` or `handler:Audit.record`. */
  readonly name: string;
  /** Events that it has not accepted yet. */
  readonly waiting: number;
  /** Events that it has refused ten times. */
  readonly deadLetters: number;
  /** The age of the oldest waiting event, in milliseconds; 0 if none is waiting. */
  readonly lag: number;
  /** Until when it is left alone, because it is down. Null if it is not. */
  readonly pausedUntil: Date | null;
  /** When it answered 410 and was switched off. Null if it is on. */
  readonly goneAt: Date | null;
}

/** The state of all deliveries. */
export interface EventStatus {
  /** Events that were not handed to their destinations yet. */
  readonly undistributed: number;
  /** The age of the oldest event that waits for anything, in milliseconds; 0 if none does. */
  readonly lag: number;
  readonly destinations: readonly DestinationStatus[];
}

/** An event that a destination has refused ten times. */
export interface DeadLetter {
  readonly eventId: string;
  readonly event: string;
  readonly at: Date;
  readonly failedAt: Date;
  readonly error: string | null;
}

/** Which events to deliver again: one, or those of a time. */
export type ReplayFilter = { readonly eventId: string } | { readonly since: Date; readonly until?: Date | undefined };

const BATCH_SIZE = 100;

/**
 * Shows the state of the deliveries of events, and delivers events again. It does not check permissions, so put a guard in
 * front of it.
 */
export class EventAdministration {
  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
    private readonly now: () => number,
    private readonly actions: Pick<AdminActions, 'record'>,
  ) {}

  /**
   * Tells how many events wait, how long, and for what.
   * @throws UnavailableError if the database cannot be reached
   */
  async status(): Promise<EventStatus> {
    const { destinations } = this.outbox;
    const [waiting, undistributed] = await this.database.run(async (manager) => [
      await countsOf(manager),
      await manager
        .createQueryBuilder(SessionEventEntity, 'event')
        .select('COUNT(*)', 'amount')
        .addSelect('MIN(event.createdAt)', 'oldest')
        .where('event.deliveredAt IS NULL')
        .getRawOne<{ amount: string | number; oldest: string | number | null }>(),
    ]);
    const lagOf = (oldest: number | undefined) => (oldest === undefined ? 0 : Math.max(0, this.now() - oldest));
    const states = await Promise.all(destinations.map(({ name }) => this.jobOf(name).read()));
    const described = destinations.map(({ name }, at): DestinationStatus => {
      const { goneAt, pausedUntil } = stateOf({ state: states[at] });
      const counts = waiting.get(name);
      return {
        name,
        waiting: counts?.waiting ?? 0,
        deadLetters: counts?.dead ?? 0,
        lag: lagOf(counts?.oldest),
        pausedUntil: pausedUntil > this.now() ? new Date(pausedUntil) : null,
        goneAt: goneAt === null ? null : new Date(goneAt),
      };
    });
    const oldest = undistributed?.oldest ?? undefined;
    return {
      undistributed: Number(undistributed?.amount ?? 0),
      lag: Math.max(lagOf(oldest === undefined ? undefined : Number(oldest)), ...described.map(({ lag }) => lag)),
      destinations: described,
    };
  }

  /**
   * Lists the dead letters of a destination, the earliest event first.
   * @param options.after the `eventId` of the last one on the previous page. Default: the first page
   * @param options.limit page size, at most 200. Default: 50
   */
  async deadLetters(
    destination: string,
    { after, limit = 50 }: { after?: string | undefined; limit?: number | undefined } = {},
  ): Promise<DeadLetter[]> {
    return this.database.run(async (manager) => {
      const query = manager.createQueryBuilder(SessionDeliveryEntity, 'delivery');
      query.where('delivery.destination = :destination AND delivery.failedAt IS NOT NULL', { destination });
      if (after !== undefined) {
        const last = await manager.findOneBy(SessionDeliveryEntity, { destination, eventId: after });
        if (last) query.andWhere('delivery.ordinal > :ordinal', { ordinal: last.ordinal });
      }
      const rows = await query.orderBy('delivery.ordinal').limit(Math.min(limit, 200)).getMany();
      if (rows.length === 0) return [];
      const events = await manager
        .createQueryBuilder(SessionEventEntity, 'event')
        .where('event.id IN (:...ids)', { ids: rows.map(({ eventId }) => eventId) })
        .getMany();
      const byId = new Map(events.map((event) => [event.id, event]));
      return rows.flatMap(({ eventId, failedAt, error }) => {
        const event = byId.get(eventId);
        return event && failedAt ? [{ eventId, event: event.name, at: event.createdAt, failedAt, error }] : [];
      });
    });
  }

  /**
   * Delivers events to a destination again, with the same ids, whether it has accepted them or not. Switches the destination on
   * if it was off. Records first that it was asked to.
   * @param options.by the id of the administrator who asks for it. Default: not known
   * @returns how many events will be delivered; undefined if there is no such destination
   * @throws UnavailableError if the database cannot be reached
   */
  async replay(
    destination: string,
    filter: ReplayFilter,
    { by }: { by?: UserId | undefined } = {},
  ): Promise<number | undefined> {
    const found = this.outbox.destinations.find(({ name }) => name === destination);
    if (!found) return undefined;
    const details =
      'eventId' in filter ? { event_id: filter.eventId } : { since: filter.since, until: filter.until ?? null };
    const action = { kind: 'admin-action', action: 'replay-events', by: by?.toString() } as const;
    await this.actions.record({ ...action, details: { destination, ...details } });
    let replayed = 0;
    for (let after: SessionEventEntity | undefined; ;) {
      const events = await this.page(filter, after);
      const streams = await this.outbox.streamStates.filterFor(events);
      const wanted = events.filter((event) => wants(found, event, streams));
      if (wanted.length > 0)
        await this.database.transaction(undefined, (manager) => renew(this.database, manager, destination, wanted));
      replayed += wanted.length;
      after = events.at(-1);
      if (events.length < BATCH_SIZE) break;
    }
    // After the deliveries: a destination that is off would make dead letters of them.
    await this.jobOf(destination).takeOver((_, turn) => turn.save({ ...FRESH } satisfies DestinationState));
    this.outbox.nudge();
    return replayed;
  }

  private page(filter: ReplayFilter, after: SessionEventEntity | undefined): Promise<SessionEventEntity[]> {
    return this.database.run((manager) => {
      const query = manager.createQueryBuilder(SessionEventEntity, 'event').where('event.deliveredAt IS NOT NULL');
      if ('eventId' in filter) return query.andWhere('event.id = :id', { id: filter.eventId }).getMany();
      const { since, until } = filter;
      // No event is delivered before it happens, so the index on `delivered_at` finds the first one.
      query.andWhere('event.deliveredAt >= :since AND event.createdAt >= :since', { since: since.getTime() });
      if (until) query.andWhere('event.createdAt < :until', { until: until.getTime() });
      if (after)
        query.andWhere('(event.deliveredAt > :at OR (event.deliveredAt = :at AND event.id > :id))', {
          at: after.deliveredAt?.getTime(),
          id: after.id,
        });
      return query.orderBy('event.deliveredAt').addOrderBy('event.id').limit(BATCH_SIZE).getMany();
    });
  }

  private jobOf(destination: string): Job {
    return new Job(this.database, jobNameOf(destination), JOB_LEASE);
  }
}

/** Makes deliveries due as if they were new. */
async function renew(
  database: Database,
  manager: EntityManager,
  destination: string,
  events: readonly PendingEvent[],
): Promise<void> {
  const deliveries = events.map((event) => newDelivery(destination, event));
  await manager.delete(
    SessionDeliveryEntity,
    deliveries.map(({ ordinal }) => ({ destination, ordinal })),
  );
  await database.execute(insertDeliveries(deliveries.length), deliveryValues(deliveries), manager);
}

async function countsOf(manager: EntityManager) {
  const rows = await manager
    .createQueryBuilder(SessionDeliveryEntity, 'delivery')
    .select('delivery.destination', 'destination')
    .addSelect('COUNT(*)', 'amount')
    .addSelect('COUNT(delivery.failedAt)', 'dead')
    .addSelect('MIN(CASE WHEN delivery.failedAt IS NULL THEN delivery.ordinal END)', 'first')
    .groupBy('delivery.destination')
    .getRawMany<{ destination: string; amount: string | number; dead: string | number; first: string | null }>();
  return new Map(
    rows.map(({ destination, amount, dead, first }) => [
      destination,
      {
        waiting: Number(amount) - Number(dead),
        dead: Number(dead),
        // An ordinal begins with the time of its event.
        oldest: first === null ? undefined : Number(first.slice(0, first.indexOf('.'))),
      },
    ]),
  );
}
