import { Inject, Injectable } from '@nestjs/common';
import type { Engine } from '../engine/engine.js';
import { CHECK, ENGINE } from './tokens.js';
import type { StartCheck } from './start-check.js';

/** The state of the sessions in this process, as a health indicator of @nestjs/terminus. */
export interface SessionHealth {
  /** `'down'` if memory is stale, the database cannot be reached, or the tables are not as they should be. */
  readonly status: 'up' | 'down';
  /** Milliseconds since the last successful poll for ended sessions began. Null before the first one. */
  readonly pollLag: number | null;
  /** Whether `pollLag` is beyond `revocation.maxStaleness`. Each request then reads the row of its session. */
  readonly stale: boolean;
  /** Whether there are more ended sessions than `revocation.maxEntries`. Answers are right, but some requests read a row. */
  readonly overflow: boolean;
  /** What is wrong with the tables, with the remedy. Null if the database cannot be reached. */
  readonly faults: readonly string[] | null;
}

/**
 * Reports whether sessions work in this process. Inject it, and pass its result to @nestjs/terminus 11 or later:
 *
 * ```ts
 * this.health.check([() => this.sessions.check('sessions')]);
 * ```
 *
 * Use it for readiness and alerts, and not for liveness: a restart cures neither a slow database nor a missing table.
 */
@Injectable()
export class SessionHealthIndicator {
  constructor(
    @Inject(ENGINE) private readonly engine: Pick<Engine, 'revoked'>,
    @Inject(CHECK) private readonly start: Pick<StartCheck, 'schema'>,
  ) {}

  /**
   * Checks the memory of ended sessions and the tables. It sends one statement per table, which reads no row.
   * @param key the name of the indicator in the result. Default: `'sessions'`
   * @returns the result of a health indicator. It never throws
   */
  async check<const Key extends string = 'sessions'>(key?: Key): Promise<Record<Key, SessionHealth>> {
    const faults = (await this.start.schema.tableFaults()) ?? null;
    const { revoked } = this.engine;
    const stale = !revoked.isUpToDate();
    const health: SessionHealth = {
      status: stale || faults === null || faults.length > 0 ? 'down' : 'up',
      pollLag: Number.isFinite(revoked.lag) ? Math.round(revoked.lag) : null,
      stale,
      overflow: revoked.isLoaded && !revoked.isComplete,
      faults,
    };
    return { [key ?? 'sessions']: health } as Record<Key, SessionHealth>;
  }
}
