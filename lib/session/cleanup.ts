import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { Job } from '../database/job.js';
import { MAX_TIMER } from '../engine/timing.js';
import type { CleanupStore, ReviewedSessions } from './cleanup-store.js';
import type { CleanupConfig } from './cleanup-options.js';
import type { EndAll } from './end-all.js';
import type { SessionEndings } from './endings.js';

/** How many rows one run of the cleanup deleted. */
export interface CleanupResult {
  readonly sessions: number;
  /** Without those in partitions that it dropped. */
  readonly blacklistEntries: number;
  readonly knownDevices: number;
  readonly userRows: number;
  /** Durable events that are older than `events.retention`. */
  readonly events: number;
  /** Signals of identity providers, and records of logins there. */
  readonly signals: number;
  /** Records of administrators' actions that are older than `adminActionRetention`. */
  readonly adminActions: number;
}

/** What one batch of a step did. */
interface Batch {
  readonly deleted: number;
  /** Whether it found nothing to do, so that the step is done. */
  readonly isLast: boolean;
}

/** Deletes old rows of another part of the library. */
interface OldRows {
  /** Deletes up to `limit` rows. Returns undefined if another process is cleaning up. */
  deleteOld(limit: number): Promise<number | undefined>;
}

/** The table of users has no index for the cleanup, which would make each login more expensive. So it reads it page by page. */
const USER_PAGE_SIZE = 200;
const USER_PAGES_PER_RUN = 100;

/**
 * Deletes expired rows on a timer, one process at a time. A session never ends before its `expiresAt`, whatever its type and
 * whatever the options of this process. Each batch is one short transaction.
 */
export class SessionCleanup {
  private readonly logger = new Logger('MultiSession');
  private timer?: NodeJS.Timeout;
  private running?: Promise<CleanupResult>;
  private stopped = false;
  private lastUser = '';

  /** @param job elects the process that cleans up */
  constructor(
    private readonly job: Pick<Job, 'release'>,
    private readonly store: CleanupStore,
    private readonly endings: SessionEndings,
    private readonly config: CleanupConfig,
    private readonly endAll: Pick<EndAll, 'resume' | 'stop'>,
    private readonly knownDevices: OldRows,
    private readonly oldEvents: OldRows,
    private readonly oldSignals: OldRows,
    private readonly oldAdminActions: OldRows,
  ) {}

  /** Starts the timer, and continues what a process that has crashed has left undone. */
  start(): void {
    this.endAll.resume();
    if (this.config.interval === 0) return;
    // Jitter: processes that were started together should not all run at once.
    const delay = this.config.interval * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => void this.runTimed(), Math.min(delay, MAX_TIMER)).unref();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.endAll.stop();
    await this.running?.catch(() => undefined);
  }

  /** Cleans up now, unless another process is cleaning up. If a run is in progress in this process, waits for it instead. */
  run(): Promise<CleanupResult> {
    this.running ??= this.runInTurn().finally(() => (this.running = undefined));
    return this.running;
  }

  private async runInTurn(): Promise<CleanupResult> {
    try {
      return await this.runOnce();
    } finally {
      // If this fails, the turn ends with its lease.
      await this.job.release().catch(() => undefined);
    }
  }

  private async runTimed(): Promise<void> {
    try {
      await this.run();
    } catch (error) {
      this.logger.warn(`the cleanup failed and will be retried at the next interval: ${(error as Error).message}`);
    }
    if (!this.stopped) this.start();
  }

  /**
   * Runs each step until it finds no more rows. Stops altogether if it is another process's turn: that process does all of the
   * steps.
   */
  private async runOnce(): Promise<CleanupResult> {
    const result = {
      ...{ sessions: 0, blacklistEntries: 0, knownDevices: 0, userRows: 0 },
      ...{ events: 0, signals: 0, adminActions: 0 },
    };
    for (const [counted, batch] of this.steps()) {
      for (;;) {
        const startedAt = performance.now();
        const done = this.stopped ? NOTHING : await batch();
        if (!done) return result;
        if (done.isLast) break;
        result[counted] += done.deleted;
        await sleep(this.store.restFactor * (performance.now() - startedAt));
      }
    }
    return result;
  }

  /**
   * Returns the steps in order. Each has the counter that it adds to, and a function that runs one batch. That function
   * returns undefined if another process is cleaning up.
   */
  private steps(): [keyof CleanupResult, () => Promise<Batch | undefined>][] {
    const { store } = this;
    const { batchSize } = this.config;
    const untilNone = (step: () => Promise<number | undefined>) => async () => batchOf(await step());
    return [
      ['sessions', async () => this.published(await store.endExpired(batchSize))],
      ['blacklistEntries', untilNone(this.expiredEntries())],
      ['knownDevices', untilNone(() => this.knownDevices.deleteOld(batchSize))],
      ['events', untilNone(() => this.oldEvents.deleteOld(batchSize))],
      ['signals', untilNone(() => this.oldSignals.deleteOld(batchSize))],
      ['adminActions', untilNone(() => this.oldAdminActions.deleteOld(batchSize))],
      ['userRows', untilNone(this.unusedUsers())],
    ];
  }

  private published(reviewed: ReviewedSessions | undefined): Batch | undefined {
    if (!reviewed) return undefined;
    const { ended, lapsed, postponed } = reviewed;
    return { deleted: this.endings.publish(ended) + lapsed, isLast: ended.length + lapsed + postponed === 0 };
  }

  /** Returns the batch that deletes entries. Before the first one, it drops partitions: the first step has found that it is our turn. */
  private expiredEntries(): () => Promise<number | undefined> {
    let from: number | undefined;
    return async () => {
      from ??= await this.store.dropExpiredPartitions();
      return this.store.deleteExpiredEntries(this.config.batchSize, from);
    };
  }

  /** Returns the batch that looks for rows of users without sessions. Each run continues where the last one stopped. */
  private unusedUsers(): () => Promise<number | undefined> {
    let pagesLeft = USER_PAGES_PER_RUN;
    return async () => {
      while (pagesLeft > 0) {
        const page = await this.store.deleteUnusedUsers(this.lastUser, USER_PAGE_SIZE);
        if (!page) return undefined;
        this.lastUser = page.last ?? '';
        pagesLeft = page.last === undefined ? 0 : pagesLeft - 1;
        if (page.deleted > 0) return page.deleted;
      }
      return 0;
    };
  }
}

const NOTHING: Batch = { deleted: 0, isLast: true };

function batchOf(deleted: number | undefined): Batch | undefined {
  return deleted === undefined ? undefined : { deleted, isLast: deleted === 0 };
}
