import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { DataSourceOptions } from 'typeorm';
import { answerParent, processorTime } from './child.js';
import type { Duration } from 'nestjs-multisession';
import { ours } from './guard-app.js';
import { type Callers, listen } from './guard-route.js';
import { StatementCounter } from './session-app.js';

/** The parent's questions: measurements of the start, measurements of polls, credentials for the route, CPU time so far. */
export type RevocationQuestion = 'start' | 'polls' | 'callers' | 'processor time';

export interface StartAnswer {
  /** Milliseconds from the creation of the application until it accepts requests. */
  readonly startUp: number;
  /** Longest block of the event loop since the first read of the blacklist, in milliseconds. */
  readonly stall: number;
  /** Heap in use after a garbage collection, in bytes. */
  readonly heap: number;
  /** Peak memory of the process in bytes. */
  readonly peakMemory: number;
}

export interface PollAnswer {
  /** CPU time per poll in microseconds. */
  readonly cost: number;
  readonly statements: number;
}

export type RevocationAnswer = StartAnswer & PollAnswer & Callers & { url: string; processorTime: number };

/** Range of polls to measure. Every sixty polls, a full load rereads all entries, so this range covers two full loads. */
const MEASURED = { from: 61, to: 181 };
/** Milliseconds to wait for these polls at most. They never begin if the statement by which they are counted has changed. */
const PATIENCE = 120_000;

/**
 * Counts polls by their first statement, which asks whether the server is the primary. Watches the event loop during the start, but not
 * later: a one-millisecond timer costs more than the polls themselves.
 */
class PollCounter extends StatementCounter {
  private readonly delay = monitorEventLoopDelay({ resolution: 1 });
  private hasStarted = false;
  private polls = 0;
  private waiting?: { poll: number; begun: () => void };

  override logQuery(query?: string): void {
    super.logQuery();
    if (!this.hasStarted && query?.includes('"session_blacklist"')) this.delay.enable();
    if (!query?.includes(' AS read_only')) return;
    this.polls++;
    if (this.polls === this.waiting?.poll) this.waiting.begun();
  }

  /**
   * Stops watching the event loop.
   * @returns the longest block of the event loop since the first read of the blacklist, in milliseconds
   */
  endOfStart(): number {
    this.hasStarted = true;
    this.delay.disable();
    return this.delay.max / 1e6;
  }

  /** Resolves when the poll with this number begins. Rejects if it does not. */
  untilPoll(poll: number): Promise<void> {
    if (this.polls >= poll) throw new Error(`poll ${poll} has already happened`);
    return new Promise((begun, reject) => {
      this.waiting = { poll, begun };
      setTimeout(() => reject(new Error(`poll ${poll} has not begun within ${PATIENCE} ms`)), PATIENCE).unref();
    });
  }
}

// revocation.ts starts this script in a process of its own. The tables and entries already exist.
const [database, pollInterval] = process.argv.slice(2);
const counter = new PollCounter();
const route = ours(
  { ...(JSON.parse(database) as DataSourceOptions), synchronize: false, logger: counter },
  {},
  { revocation: { pollInterval: pollInterval as Duration, maxEntries: 2_000_000 } },
);
const startedAt = performance.now();
const { app, url } = await listen(route, 'fastify');
const startUp = performance.now() - startedAt;
const stall = counter.endOfStart();

function start(): StartAnswer {
  if (!globalThis.gc) throw new Error('start this script with --expose-gc');
  for (let count = 0; count < 3; count++) globalThis.gc();
  return {
    startUp,
    stall,
    heap: process.memoryUsage().heapUsed,
    peakMemory: process.resourceUsage().maxRSS * 1024,
  };
}

async function polls(): Promise<PollAnswer> {
  await counter.untilPoll(MEASURED.from);
  const [time, statements] = [processorTime(), counter.statements];
  await counter.untilPoll(MEASURED.to);
  const count = MEASURED.to - MEASURED.from;
  return { cost: (processorTime() - time) / count, statements: (counter.statements - statements) / count };
}

async function answer(question: RevocationQuestion): Promise<Partial<RevocationAnswer>> {
  switch (question) {
    case 'start':
      return start();
    case 'polls':
      return polls();
    case 'callers':
      return { url, ...(await route.callers(app)) };
    case 'processor time':
      return { processorTime: processorTime() };
  }
}

answerParent<RevocationQuestion, RevocationAnswer>(
  (question) => answer(question) as Promise<RevocationAnswer>,
  () => app.close(),
);
