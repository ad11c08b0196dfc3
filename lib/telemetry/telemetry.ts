import type {
  Counter,
  Histogram,
  Meter,
  MetricsAPI,
  ObservableGauge,
  Span,
  TraceAPI,
  Tracer,
} from '@opentelemetry/api';

/** The name of the meter and the tracer. */
const SCOPE = 'nestjs-multisession';

/** Bucket boundaries in seconds, which OpenTelemetry's semantic conventions recommend for durations. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** The attribute for a destination of durable events. */
const DESTINATION = 'multisession.event.destination';

/** `SpanStatusCode.ERROR`. Importing the enum would load the package. */
const STATUS_ERROR = 2;

/** The values of this process's blacklist that the gauges report. */
export interface ObservedBlacklist {
  /** The number of ended sessions in memory. */
  readonly size: number;
  /** The age of the last successful poll, in milliseconds. Infinity before the first one. */
  readonly lag: number;
}

/** The state of the durable events that the gauges report. */
export interface ObservedEvents {
  /** Events that were not handed to their destinations yet. */
  readonly undistributed: number;
  /** The age of the oldest event that waits for anything, in milliseconds; 0 if none does. */
  readonly lag: number;
  readonly destinations: readonly {
    readonly name: string;
    readonly waiting: number;
    readonly deadLetters: number;
  }[];
}

/** Attributes of a metric or a span. */
export type TelemetryAttributes = Record<string, string | number | boolean>;

/** Adds attributes to the running operation. */
export type SetAttributes = (attributes: TelemetryAttributes) => void;

type Operation = 'login' | 'refresh' | 'renew';

interface Instruments {
  readonly tracer: Tracer;
  readonly created: Counter;
  readonly ended: Counter;
  readonly refusals: Counter;
  readonly durations: Record<Operation, Histogram>;
  readonly entries: ObservableGauge;
  readonly lag: ObservableGauge;
  readonly deliveries: Counter;
  readonly events: Record<'pending' | 'deadLetters' | 'lag', ObservableGauge>;
  readonly meter: Meter;
}

/**
 * Reports metrics and traces through OpenTelemetry's API. Before `start`, every method does nothing. The same is true if the
 * application has no SDK, or has not installed `@opentelemetry/api`.
 *
 * Attributes never contain a user, session, token or address. All attributes have few distinct values.
 */
export class Telemetry {
  private instruments?: Instruments;
  private observed?: ObservedBlacklist;
  private stopObserving: () => void = () => undefined;
  private readEvents?: () => Promise<ObservedEvents>;

  /**
   * Loads `@opentelemetry/api` and creates the instruments. Register the SDK first: instruments that are created before the SDK
   * never report.
   *
   * @param load loads the package. Default: a dynamic import
   * @throws the error if loading fails for another reason than that the package is not installed
   */
  async start(load?: () => Promise<unknown>): Promise<void> {
    let api: { metrics: MetricsAPI; trace: TraceAPI };
    try {
      // `await import()` in a `try`, so that webpack and esbuild bundle an application that does not have the package.
      if (load) api = (await load()) as typeof api;
      else api = await import('@opentelemetry/api');
    } catch (error) {
      if (isNotInstalled(error)) return;
      throw error;
    }
    this.instruments = createInstruments(api.metrics.getMeter(SCOPE), api.trace.getTracer(SCOPE));
    this.report();
  }

  /**
   * Reports the size and the lag of a blacklist, from `start` until `stop`.
   *
   * @param blacklist the blacklist. OpenTelemetry reads it each time it collects metrics
   */
  observe(blacklist: ObservedBlacklist): void {
    this.observed = blacklist;
    this.report();
  }

  /**
   * Reports the state of durable events, from `start` until `stop`.
   *
   * @param read reads the state from the database. OpenTelemetry calls it each time it collects metrics. If it fails, that
   * collection has no such metrics
   */
  observeEvents(read: () => Promise<ObservedEvents>): void {
    this.readEvents = read;
    this.report();
  }

  /** Stops reporting the blacklist and the events. */
  stop(): void {
    this.stopObserving();
  }

  /** Counts a session that began. */
  sessionCreated(type: string): void {
    this.instruments?.created.add(1, { 'multisession.session.type': type });
  }

  /** Counts a session that this process ended. */
  sessionEnded(type: string, reason: string): void {
    this.instruments?.ended.add(1, { 'multisession.session.type': type, 'multisession.session.end_reason': reason });
  }

  /** Counts a try to deliver a durable event. */
  eventDelivered(destination: string, outcome: string): void {
    this.instruments?.deliveries.add(1, { [DESTINATION]: destination, 'multisession.event.outcome': outcome });
  }

  /** Counts a request that a guard refused. */
  refused(guard: string, error: unknown): void {
    this.instruments?.refusals.add(1, { 'multisession.guard.name': guard, 'error.type': errorType(error) });
  }

  /**
   * Runs `work` in a span and records its duration. Errors of `work` pass through.
   *
   * @param operation names the span and the histogram
   * @param work receives a function that adds attributes
   * @returns what `work` returns
   */
  async measure<T>(operation: Operation, work: (setAttributes: SetAttributes) => Promise<T>): Promise<T> {
    const { instruments } = this;
    if (!instruments) return work(ignore);
    const startedAt = performance.now();
    return instruments.tracer.startActiveSpan(`multisession.${operation}`, async (span: Span) => {
      const attributes: TelemetryAttributes = {};
      try {
        return await work((more) => void Object.assign(attributes, more));
      } catch (error) {
        attributes['error.type'] = errorType(error);
        // A refused request is a normal outcome, so only faults mark the span.
        if (isFault(error)) span.setStatus({ code: STATUS_ERROR });
        throw error;
      } finally {
        instruments.durations[operation].record((performance.now() - startedAt) / 1000, attributes);
        span.setAttributes(attributes).end();
      }
    });
  }

  private report(): void {
    const { instruments, observed, readEvents } = this;
    if (!instruments) return;
    this.stopObserving();
    const stops = [
      observed && reportBlacklist(instruments, observed),
      readEvents && reportEvents(instruments, readEvents),
    ];
    this.stopObserving = () => stops.forEach((stop) => stop?.());
  }
}

function reportBlacklist({ entries, lag }: Instruments, observed: ObservedBlacklist): () => void {
  const observeEntries: Parameters<ObservableGauge['addCallback']>[0] = (result) => result.observe(observed.size);
  const observeLag: Parameters<ObservableGauge['addCallback']>[0] = (result) => {
    if (Number.isFinite(observed.lag)) result.observe(observed.lag / 1000);
  };
  entries.addCallback(observeEntries);
  lag.addCallback(observeLag);
  return () => {
    entries.removeCallback(observeEntries);
    lag.removeCallback(observeLag);
  };
}

function reportEvents({ meter, events }: Instruments, read: () => Promise<ObservedEvents>): () => void {
  const gauges = Object.values(events);
  const observe: Parameters<Meter['addBatchObservableCallback']>[0] = async (result) => {
    const state = await read().catch(() => undefined);
    if (!state) return;
    result.observe(events.lag, state.lag / 1000);
    result.observe(events.pending, state.undistributed, { [DESTINATION]: 'undistributed' });
    for (const { name, waiting, deadLetters } of state.destinations) {
      result.observe(events.pending, waiting, { [DESTINATION]: name });
      result.observe(events.deadLetters, deadLetters, { [DESTINATION]: name });
    }
  };
  meter.addBatchObservableCallback(observe, gauges);
  return () => meter.removeBatchObservableCallback(observe, gauges);
}

function createInstruments(meter: Meter, tracer: Tracer): Instruments {
  const duration = (operation: string, description: string) =>
    meter.createHistogram(`multisession.${operation}.duration`, {
      unit: 's',
      description,
      advice: { explicitBucketBoundaries: BUCKETS },
    });
  return {
    tracer,
    meter,
    created: meter.createCounter('multisession.session.created', {
      unit: '{session}',
      description: 'Sessions that began, by login or by the application.',
    }),
    ended: meter.createCounter('multisession.session.ended', {
      unit: '{session}',
      description: 'Sessions that this process ended, by reason.',
    }),
    refusals: meter.createCounter('multisession.guard.refusals', {
      unit: '{request}',
      description: 'Requests that a guard refused, by error code.',
    }),
    durations: {
      login: duration('login', 'Duration of logins, including the password check.'),
      refresh: duration('refresh', 'Duration of refreshes, by verdict.'),
      renew: duration('renew', 'Duration of renewals, by verdict.'),
    },
    entries: meter.createObservableGauge('multisession.blacklist.entries', {
      unit: '{session}',
      description: 'Ended sessions in the memory of this process.',
    }),
    lag: meter.createObservableGauge('multisession.blacklist.lag', {
      unit: 's',
      description: 'Time since this process last read the ended sessions.',
    }),
    deliveries: meter.createCounter('multisession.event.deliveries', {
      unit: '{delivery}',
      description: 'Tries of this process to deliver a durable event, by outcome.',
    }),
    events: {
      pending: meter.createObservableGauge('multisession.event.pending', {
        unit: '{event}',
        description: 'Durable events that a destination has not accepted yet.',
      }),
      deadLetters: meter.createObservableGauge('multisession.event.dead_letters', {
        unit: '{event}',
        description: 'Durable events that a destination has refused too often.',
      }),
      lag: meter.createObservableGauge('multisession.event.lag', {
        unit: 's',
        description: 'Age of the oldest durable event that waits for delivery.',
      }),
    },
  };
}

function ignore(): void {}

/**
 * Whether loading failed because the package is not installed, and not for another reason, such as a broken installation. If
 * the package itself is missing, Node's message names the package. If one of its files is missing, the message names a path.
 */
function isNotInstalled(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  const isMissing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
  return isMissing && /(^|[\s'"])@opentelemetry\/api($|[\s'",])/.test(String(message));
}

/** Returns the code of our own errors, or else the name of the class. It never returns the message, which may quote a value. */
function errorType(error: unknown): string {
  const { code, status } = (error ?? {}) as { code?: unknown; status?: unknown };
  if (typeof code === 'string' && typeof status === 'number') return code;
  return error instanceof Error ? error.constructor.name : '_OTHER';
}

function isFault(error: unknown): boolean {
  const { status } = (error ?? {}) as { status?: unknown };
  return typeof status !== 'number' || status >= 500;
}
