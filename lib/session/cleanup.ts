import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { CleanupConfig } from './options.js';
import type { SessionPolicies } from './policies.js';
import type { SessionEndings } from './endings.js';
import type { EndedSession, SessionStore } from './store.js';

/** How many rows one run of the cleanup deleted. */
export interface CleanupResult {
  readonly sessions: number;
  readonly blacklistEntries: number;
  readonly knownDevices: number;
}

/** The rest after each batch, as a multiple of its duration. */
const REST_FACTOR = 3;
/**
 * During a deployment, an older process does not know a new type yet. It must not end sessions that a newer process just
 * created.
 */
const REMOVED_TYPE_UNUSED_FOR = 86_400_000;
const REMOVED_TYPES_EVERY = 3_600_000;

/**
 * Deletes expired rows on a timer, one process at a time. Each batch is one short transaction. So no table is locked for
 * long, and a process that is killed leaves no batch half done.
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
    // Jitter: processes that were started together should not all run at once.
    const delay = this.config.interval * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => void this.runTimed(), Math.min(delay, 2 ** 31 - 1)).unref();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running?.catch(() => undefined);
  }

  /**
   * Cleans up now, unless another process is cleaning up. If a run is in progress in this process, waits for it instead.
   * @param options.removedTypes also ends sessions whose type was removed from the options, if their `lastUpdate` is at
   * least `unusedFor` milliseconds ago. Timed runs do so once an hour, with an `unusedFor` of one day
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
      this.logger.warn(`the cleanup failed and will be retried at the next interval: ${(error as Error).message}`);
    }
    if (!this.stopped) this.start();
  }

  /**
   * Runs each step until it finds no more rows. Stops altogether if another process holds the cleanup lock: if both went on
   * to their next step, they could block each other again and again.
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
        // Leave most of the time to requests. SQLite runs within the process, so it would otherwise block the process until
        // the end.
        await sleep(REST_FACTOR * (performance.now() - startedAt));
      }
    }
    return result;
  }

  /**
   * Returns the steps in order. Each has the counter that it adds to, and a function that runs one batch. That function
   * returns undefined if another process is cleaning up.
   */
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
