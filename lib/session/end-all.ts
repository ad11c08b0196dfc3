import { setImmediate as nextTurn } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { AdminActions } from './admin-actions.js';
import type { Job, JobState, JobTurn } from '../database/job.js';
import type { SessionEndings } from './endings.js';
import { firstSessionIdOf } from './id.js';
import type { EndedSession } from './change-log.js';
import type { EndingStore } from './ending-store.js';

/** The progress of ending everybody's sessions. */
export interface EndAllProgress {
  /**
   * - `running`: sessions are being ended, batch by batch.
   * - `waiting`: all sessions of before have ended. The second pass, for logins that were in progress, is still to come.
   * - `done`: the second pass has ended.
   */
  readonly status: 'running' | 'waiting' | 'done';
  /** The sessions that have ended so far. */
  readonly ended: number;
  /** Sessions that began before this time end. */
  readonly startedAt: Date;
  readonly secondPassAt: Date;
  /** Null unless the status is `done`. */
  readonly finishedAt: Date | null;
}

/** What the job's row stores. Times are in milliseconds since 1970. */
interface State {
  readonly until: number;
  readonly secondPassAt: number;
  readonly pass: 1 | 2;
  /** The last id that this pass has reached. */
  readonly after: string;
  readonly ended: number;
  readonly finishedAt: number | null;
  /** The user who started the job, until it is done. */
  readonly by?: string | undefined;
  /** The id of the record of the start. Absent if an earlier version started the job. */
  readonly action?: string | undefined;
}

/** What a process found out in one transaction. */
interface Step {
  readonly ended: readonly EndedSession[];
  /** How long to wait for the next step, in milliseconds. Undefined if there is none. */
  readonly next?: number;
}

/** Sessions per transaction. Small enough to commit well within `maxEntryDelay`. */
const BATCH_SIZE = 200;
/** In milliseconds. */
const RETRY_AFTER = 5000;

/**
 * Ends everybody's sessions in the background, one process at a time.
 *
 * Invariant: a batch and the progress of the job are committed together. If the process crashes, another one continues with the
 * next batch: when it starts, or when its cleanup runs. If the database fails, the same process continues.
 *
 * A login that was in progress at the start may commit its session behind the first pass. A session's id contains the time
 * at which its login began, and a login takes at most `maxLogin` and its transaction's wait. After that, the second pass ends
 * the sessions of such logins.
 */
export class EndAll {
  private readonly logger = new Logger('MultiSession');
  private working?: Promise<void>;
  private timer?: NodeJS.Timeout;
  /** Whether somebody has asked to continue since the work began. */
  private isAsked = false;
  private stopped = false;

  /** @param secondPassAfter the longest time from the begin of a login to its commit, in milliseconds */
  constructor(
    private readonly job: Job,
    private readonly store: Pick<EndingStore, 'endBetween'>,
    private readonly endings: Pick<SessionEndings, 'publish'>,
    private readonly secondPassAfter: number,
    private readonly actions: Pick<AdminActions, 'record' | 'setEnded'>,
  ) {}

  /**
   * Starts to end all sessions that began before now. If it was under way already, starts again, for all that began since.
   * @param by the user who starts it, such as an administrator. Default: not known
   * @throws UnavailableError if the database fails
   */
  async start(by?: string): Promise<EndAllProgress> {
    const state = await this.job.takeOver(async (transaction, turn) => {
      const { now } = turn;
      const action = await this.actions.record({ kind: 'admin-action', action: 'end-all', by }, transaction);
      const begun: State = {
        ...{ until: now, secondPassAt: now + this.secondPassAfter },
        ...{ pass: 1, after: '', ended: 0, finishedAt: null, by, action },
      };
      await turn.save({ ...begun });
      return begun;
    });
    this.resume();
    return progressOf(state);
  }

  /**
   * Reads the progress of the last start.
   * @returns null if it was never started
   * @throws UnavailableError if the database fails
   */
  async progress(): Promise<EndAllProgress | null> {
    const state = stateOf(await this.job.read());
    return state && progressOf(state);
  }

  /** Continues in the background if there is something to do and no other process is doing it. */
  resume(): void {
    if (this.stopped) return;
    clearTimeout(this.timer);
    this.isAsked = true;
    this.working ??= this.workWhileAsked().finally(() => (this.working = undefined));
  }

  /** Stops after the batch that is under way. Another process continues. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.working;
  }

  private async workWhileAsked(): Promise<void> {
    while (this.isAsked && !this.stopped) {
      this.isAsked = false;
      await this.work();
    }
  }

  private async work(): Promise<void> {
    try {
      const wait = await this.runSteps();
      if (wait !== undefined) this.resumeIn(wait);
    } catch (error) {
      this.logger.warn(`ending all sessions was interrupted and will be resumed: ${(error as Error).message}`);
      this.resumeIn(RETRY_AFTER);
    }
  }

  /** @returns how long to wait for the next step, in milliseconds; undefined if none is left */
  private async runSteps(): Promise<number | undefined> {
    // Most processes find out here that there is nothing to do, without writing the job's row.
    const state = stateOf(await this.job.read());
    if (!state || state.finishedAt !== null) return undefined;
    try {
      while (!this.stopped) {
        const step = await this.job.run((transaction, turn) => this.step(transaction, turn));
        // Look again: the process whose turn it is may crash, or a fail-over may have lost our own turn.
        if (!step) return RETRY_AFTER;
        this.endings.publish(step.ended);
        if (step.next !== 0) return step.next;
        await nextTurn();
      }
      return undefined;
    } finally {
      // If this fails, this process keeps its turn, which ends with its lease.
      await this.job.release().catch(() => undefined);
    }
  }

  private async step(transaction: Parameters<EndingStore['endBetween']>[0], turn: JobTurn): Promise<Step> {
    const state = stateOf(turn.state);
    if (!state || state.finishedAt !== null) return { ended: [] };
    if (state.pass === 2 && turn.now < state.secondPassAt) return { ended: [], next: state.secondPassAt - turn.now };
    const until = firstSessionIdOf(state.until + 1);
    const { ended, last } = await this.store.endBetween(transaction, state.after, until, 'admin', BATCH_SIZE, state.by);
    const next = { ...advanced(state, last, turn.now), ended: state.ended + ended.length };
    if (next.finishedAt !== null && next.action) await this.actions.setEnded(next.action, next.ended, transaction);
    await turn.save(next);
    return { ended, next: 0 };
  }

  private resumeIn(milliseconds: number): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => this.resume(), Math.min(milliseconds, 2 ** 31 - 1)).unref();
  }
}

/** @param last the last id of a batch; undefined if the pass has found no more sessions */
function advanced(state: State, last: string | undefined, now: number): State {
  if (last !== undefined) return { ...state, after: last };
  if (state.pass === 1) return { ...state, pass: 2, after: '' };
  return { ...state, finishedAt: now, by: undefined };
}

function stateOf(state: JobState | null): State | null {
  return state as unknown as State | null;
}

function progressOf({ until, secondPassAt, pass, ended, finishedAt }: State): EndAllProgress {
  return {
    status: finishedAt !== null ? 'done' : pass === 1 ? 'running' : 'waiting',
    ended,
    startedAt: new Date(until),
    secondPassAt: new Date(secondPassAt),
    finishedAt: finishedAt === null ? null : new Date(finishedAt),
  };
}
