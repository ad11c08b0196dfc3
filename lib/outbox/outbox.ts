import { createHash } from 'node:crypto';
import type { Database } from '../database/database.js';
import { Job } from '../database/job.js';
import { JOB_LEASE } from '../engine/timing.js';
import type { SessionEvents } from '../session/events.js';
import type { Telemetry } from '../telemetry/telemetry.js';
import type { TokenConfig } from '../token/options.js';
import { Delivery } from './delivery.js';
import type { Destination, EventTarget } from './destination.js';
import { Distribution } from './distribution.js';
import { EventStreams } from './event-streams.js';
import { LoginFailures } from './login-failures.js';
import { type EventsConfig, isPushed } from './options.js';
import type { SecurityEventSigner } from './security-event.js';
import { SecurityEventStream, streamDestination } from './security-event-stream.js';
import { StreamStates } from './stream-states.js';
import { Webhook } from './webhook.js';
import { Worker } from './worker.js';

/** How often a process looks for new events and for due deliveries, in milliseconds. */
const POLL_INTERVAL = 500;
const MAX_JOB_NAME = 64;

/** The events after whose commit this process looks for new rows at once. */
const WRITTEN_WITH = [
  'session.created',
  'session.ended',
  'session.client-changed',
  'refresh.replayed',
  'refresh.recovered',
  'login.new-device',
] as const;

/** Returns the name of the job that delivers to a destination, at most 64 characters. */
export function jobNameOf(destination: string): string {
  const name = `event ${destination}`;
  if (name.length <= MAX_JOB_NAME) return name;
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return `${name.slice(0, MAX_JOB_NAME - digest.length - 1)}-${digest}`;
}

/**
 * Delivers the events that `OutboxWriter` has written, at least once and in the order of each session. Off unless the option
 * `events` is set.
 */
export class Outbox {
  private readonly handlers: Destination[] = [];
  private workers: Worker[] = [];
  private jobs: Job[] = [];
  private deliveries: Delivery[] = [];
  private servers: readonly Destination[] = [];
  private readonly failures?: LoginFailures;
  private distributing?: Worker;
  /** The streams whose receivers poll. */
  private readonly polled: readonly EventTarget[];
  /** What receivers have changed at their streams. */
  readonly streamStates: StreamStates;
  /** What receivers do with their streams. */
  readonly streams: EventStreams;

  /**
   * @param config null if it is off
   * @param now returns the database's time, in milliseconds since 1970
   * @param sign signs security events
   */
  constructor(
    private readonly database: Database,
    events: SessionEvents,
    private readonly config: EventsConfig | null,
    private readonly tokens: TokenConfig,
    private readonly now: () => number,
    private readonly sign: SecurityEventSigner,
    private readonly telemetry: Telemetry,
  ) {
    const streams = config?.streams ?? [];
    this.streamStates = new StreamStates(database, streams);
    this.streams = new EventStreams(database, this.streamStates, tokens, sign, telemetry, () => this.nudge(), now);
    this.polled = streams
      .filter((stream) => !isPushed(stream))
      .map((stream) => ({ name: streamDestination(stream), events: stream.events, stream }));
    if (!config) return;
    const nudge = () => this.distributing?.nudge();
    this.failures = new LoginFailures(database, events, now, nudge);
    for (const name of WRITTEN_WITH) events.on(name, nudge);
  }

  get isOn(): boolean {
    return this.config !== null;
  }

  /** The destinations of events. */
  get destinations(): readonly EventTarget[] {
    return [...this.handlers, ...this.servers, ...this.polled];
  }

  /** Adds a handler of the application. Call it before `start`. */
  add(handler: Destination): void {
    this.handlers.push(handler);
  }

  /** Looks for new events and due deliveries at once. */
  nudge(): void {
    for (const worker of this.workers) worker.nudge();
  }

  /** Starts to deliver. */
  start(): void {
    const { config, database } = this;
    if (!config) return;
    const { tokens, sign, streamStates, now } = this;
    this.servers = [
      ...config.webhooks.map((webhook) => new Webhook(webhook)),
      ...config.streams
        .filter(isPushed)
        .map((stream) => new SecurityEventStream(stream, tokens, sign, streamStates, now)),
    ];
    const jobOf = (name: string) => {
      const job = new Job(database, name, JOB_LEASE);
      this.jobs.push(job);
      return job;
    };
    this.deliveries = [...this.handlers, ...this.servers].map(
      (destination) =>
        new Delivery(database, jobOf(jobNameOf(destination.name)), destination, this.tokens, this.telemetry),
    );
    const deliveries = this.deliveries.map((delivery) => {
      const { destination } = delivery;
      return new Worker(`the delivery of events to ${destination.name}`, POLL_INTERVAL, () => delivery.step());
    });
    const distribution = new Distribution(database, jobOf('events'), this.destinations, streamStates);
    this.distributing = new Worker('the distribution of events', POLL_INTERVAL, async () => {
      const distributed = await distribution.step();
      if (distributed > 0) {
        for (const worker of deliveries) worker.nudge();
        this.streams.wake();
      }
      return distributed > 0;
    });
    this.workers = [this.distributing, ...deliveries];
    for (const worker of this.workers) worker.start();
  }

  /** Stops delivering, after the deliveries that are under way. Other processes take over at once. */
  async stop(): Promise<void> {
    await this.failures?.settled();
    const stopping = this.workers.map((worker) => worker.stop());
    for (const destination of this.servers) destination.close?.();
    await Promise.all(stopping);
    this.workers = [];
    await Promise.all(this.deliveries.map((delivery) => delivery.finish().catch(() => undefined)));
    // If this fails, the turn ends with its lease.
    await Promise.all(this.jobs.map((job) => job.release().catch(() => undefined)));
    this.jobs = [];
  }
}
