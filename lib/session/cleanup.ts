import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { CleanupConfig } from './options.js';
import type { SessionPolicies } from './policies.js';
import type { SessionEndings } from './endings.js';
import type { EndedSession, SessionStore } from './store.js';

/** What one run of the cleanup took away. */
export interface CleanupResult {
  readonly sessions: number;
  readonly blacklistEntries: number;
  readonly knownDevices: number;
}

/** After a batch there is none for so many times as long as it took. */
const REST = 3;
/** A type that an older process does not know yet must not cost the sessions that a newer one has just made. */
const REMOVED_TYPE_UNUSED_FOR = 86_400_000;
const REMOVED_TYPES_EVERY = 3_600_000;

/**
 * Deletes what has expired: timed, in batches of one short transaction each, so that no table is locked, and one process at
 * a time. A process that is killed leaves whole batches behind it and nothing half-done.
 */
export class SessionCleanup {
  private readonly logger = new Logger('MultiSession');
  private timer?: NodeJS.Timeout;
  private running?: Promise<CleanupResult>;
  private stopped = false;
  private removedTypesAt = performance.now();

  constructor(
    private readonly store: SessionStore,
    private readonly endings: SessionEndings,
    private readonly policies: SessionPolicies,
    private readonly config: CleanupConfig,
    private readonly now: () => number,
    private readonly knownDevices: { deleteOld(limit: number): Promise<number | undefined> },
  ) {}

  start(): void {
    if (this.config.interval === 0) return;
    // Processes that were started together would all ask at once.
    const delay = this.config.interval * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => void this.runTimed(), Math.min(delay, 2 ** 31 - 1)).unref();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running?.catch(() => undefined);
  }

  /**
   * Cleans up now, as far as no other process is at it. A run that is under way in this process is waited for.
   * @param options.removedTypes also ends sessions whose type has gone from the options, where they were not used for so
   * many milliseconds; timed runs do so once an hour, for those unused for a day
   */
  run(options: { removedTypes?: { unusedFor: number } } = {}): Promise<CleanupResult> {
    this.running ??= this.runOnce(options.removedTypes?.unusedFor).finally(() => (this.running = undefined));
    return this.running;
  }

  private async runTimed(): Promise<void> {
    const due = performance.now() - this.removedTypesAt >= REMOVED_TYPES_EVERY;
    if (due) this.removedTypesAt = performance.now();
    try {
      await this.run(due ? { removedTypes: { unusedFor: REMOVED_TYPE_UNUSED_FOR } } : {});
    } catch (error) {
      this.logger.warn(`the cleanup failed and will be tried again: ${(error as Error).message}`);
    }
    if (!this.stopped) this.start();
  }

  /**
   * Step by step, each until there is nothing left. A process that finds another one at it stops altogether, and the other goes
   * on: were it to try its next step, the two could send each other away and leave the rest to the next interval.
   */
  private async runOnce(removedTypesUnusedFor: number | undefined): Promise<CleanupResult> {
    const result = { sessions: 0, blacklistEntries: 0, knownDevices: 0 };
    for (const [counted, batch] of this.steps(removedTypesUnusedFor)) {
      for (;;) {
        const startedAt = performance.now();
        const done = this.stopped ? 0 : await batch();
        if (done === undefined) return result;
        if (done === 0) break;
        result[counted] += done;
        // Most of the time is everybody else's. SQLite answers within the process, which would come to nothing else before the end.
        await sleep(REST * (performance.now() - startedAt));
      }
    }
    return result;
  }

  /** What each step counts, and one batch of it: undefined where another process is at it. */
  private steps(removedTypesUnusedFor: number | undefined): [keyof CleanupResult, () => Promise<number | undefined>][] {
    const { store, policies } = this;
    const { batchSize } = this.config;
    const published = (ended: EndedSession[] | undefined) => ended && this.endings.publish(ended);
    const unusedSince = this.now() - (removedTypesUnusedFor ?? 0);
    return [
      ['sessions', async () => published(await store.endExpired(batchSize))],
      [
        'sessions',
        async () =>
          removedTypesUnusedFor === undefined
            ? 0
            : published(await store.endOfRemovedTypes(policies.types, unusedSince, batchSize)),
      ],
      ['blacklistEntries', () => store.deleteExpiredEntries(batchSize)],
      ['knownDevices', () => this.knownDevices.deleteOld(batchSize)],
    ];
  }
}
