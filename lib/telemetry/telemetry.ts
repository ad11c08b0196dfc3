import { type Attributes, type Histogram, metrics, SpanStatusCode, trace } from '@opentelemetry/api';

/** The name of the meter and of the tracer. */
const SCOPE = 'nestjs-multisession';

// As OpenTelemetry's conventions have it for durations, in seconds.
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** What the gauges show of the blacklist of this process. */
export interface ObservedBlacklist {
  /** How many ended sessions are held in memory. */
  readonly size: number;
  /** How old what it knows may be, in milliseconds; Infinity before the first poll. */
  readonly lag: number;
}

/** Says what has become of an operation, while it is under way. */
export type SetAttributes = (attributes: Attributes) => void;

/**
 * Metrics and traces, through OpenTelemetry's API. Without an SDK in the application all of it does nothing. No user, session,
 * token or address is in an attribute: their values are few, and none is anybody's.
 *
 * The SDK must be there before the application is made, since instruments that are made before it never report.
 */
export class Telemetry {
  private readonly meter = metrics.getMeter(SCOPE);
  private readonly tracer = trace.getTracer(SCOPE);
  private readonly created = this.meter.createCounter('multisession.session.created', {
    unit: '{session}',
    description: 'Sessions that began: logins, and those that the application made.',
  });
  private readonly ended = this.meter.createCounter('multisession.session.ended', {
    unit: '{session}',
    description: 'Sessions that this process ended, by reason.',
  });
  private readonly refusals = this.meter.createCounter('multisession.guard.refusals', {
    unit: '{request}',
    description: 'Requests that a guard has refused, by the code of the error.',
  });
  private readonly durations = {
    login: this.duration('login', 'Logins, the password check included.'),
    refresh: this.duration('refresh', 'Refreshes, by verdict.'),
  };
  private stopObserving: () => void = () => undefined;

  /** A session began. */
  sessionCreated(type: string): void {
    this.created.add(1, { 'multisession.session.type': type });
  }

  /** A session ended. */
  sessionEnded(type: string, reason: string): void {
    this.ended.add(1, { 'multisession.session.type': type, 'multisession.session.end_reason': reason });
  }

  /** A guard refuses a request. */
  refused(guard: string, error: unknown): void {
    this.refusals.add(1, { 'multisession.guard.name': guard, 'error.type': errorType(error) });
  }

  /** Shows the blacklist until `stop`. */
  observe(blacklist: ObservedBlacklist): void {
    const entries = this.meter.createObservableGauge('multisession.blacklist.entries', {
      unit: '{session}',
      description: 'Ended sessions that this process holds in memory.',
    });
    const lag = this.meter.createObservableGauge('multisession.blacklist.lag', {
      unit: 's',
      description: 'How old what this process knows of ended sessions may be.',
    });
    const ofEntries: Parameters<typeof entries.addCallback>[0] = (result) => result.observe(blacklist.size);
    const ofLag: Parameters<typeof lag.addCallback>[0] = (result) => {
      if (Number.isFinite(blacklist.lag)) result.observe(blacklist.lag / 1000);
    };
    entries.addCallback(ofEntries);
    lag.addCallback(ofLag);
    this.stopObserving = () => {
      entries.removeCallback(ofEntries);
      lag.removeCallback(ofLag);
    };
  }

  /** Lets go of what `observe` was given. */
  stop(): void {
    this.stopObserving();
  }

  /** Runs `work` in a span, and records how long it took and what it came to. Its own error passes through. */
  async measure<T>(operation: keyof Telemetry['durations'], work: (say: SetAttributes) => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    return this.tracer.startActiveSpan(`multisession.${operation}`, async (span) => {
      const attributes: Attributes = {};
      try {
        return await work((more) => void Object.assign(attributes, more));
      } catch (error) {
        attributes['error.type'] = errorType(error);
        // A refusal is what was to be done; a fault is not.
        if (isFault(error)) span.setStatus({ code: SpanStatusCode.ERROR });
        throw error;
      } finally {
        this.durations[operation].record((performance.now() - startedAt) / 1000, attributes);
        span.setAttributes(attributes).end();
      }
    });
  }

  private duration(operation: string, description: string): Histogram {
    return this.meter.createHistogram(`multisession.${operation}.duration`, {
      unit: 's',
      description,
      advice: { explicitBucketBoundaries: BUCKETS },
    });
  }
}

/** The code of an error of ours, or else its class: never its text, which may quote anything. */
function errorType(error: unknown): string {
  const { code, status } = (error ?? {}) as { code?: unknown; status?: unknown };
  if (typeof code === 'string' && typeof status === 'number') return code;
  return error instanceof Error ? error.constructor.name : '_OTHER';
}

function isFault(error: unknown): boolean {
  const { status } = (error ?? {}) as { status?: unknown };
  return typeof status !== 'number' || status >= 500;
}
