import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { DataSourceOptions } from 'typeorm';
import { answerParent, processorTime } from './child.js';
import type { Duration } from 'nestjs-multisession';
import { ours } from './guard-app.js';
import { type Callers, listen } from './guard-route.js';
import { StatementCounter } from './session-app.js';

/** What the parent asks: how the start went, what polls cost, who may ask for the route, and the processor time so far. */
export type RevocationQuestion = 'start' | 'polls' | 'callers' | 'processor time';

export interface StartAnswer {
  /** Milliseconds from the creation of the application to where it takes requests. */
  readonly startUp: number;
  /** The longest that the event loop stood still from the first look at the blacklist on, in milliseconds. */
  readonly stall: number;
  /** Bytes in use after a collection. */
  readonly heap: number;
  /** The most memory that the process has had, in bytes. */
  readonly mostMemory: number;
}

export interface PollAnswer {
  /** Microseconds of processor time for one poll. */
  readonly cost: number;
  readonly statements: number;
}

export type RevocationAnswer = StartAnswer & PollAnswer & Callers & { url: string; processorTime: number };

/** The blacklist looks at all of its entries again at each sixtieth poll, a page a poll: two such turns are what goes on and on. */
const MEASURED = { from: 61, to: 181 };

/**
 * Counts the polls by their first statement, which asks for the database's time; and watches the event loop during the start,
 * but not while it is idle: a timer of a millisecond costs more than the polls.
 */
class PollCounter extends StatementCounter {
  private readonly delay = monitorEventLoopDelay({ resolution: 1 });
  private hasStarted = false;
  private polls = 0;
  private waiting?: { poll: number; begun: () => void };

  override logQuery(query?: string): void {
    super.logQuery();
    if (!this.hasStarted && query?.includes('"session_blacklist"')) this.delay.enable();
    if (!query?.endsWith(' AS now')) return;
    this.polls++;
    if (this.polls === this.waiting?.poll) this.waiting.begun();
  }

  /** @returns the longest that the event loop stood still from the first look at the blacklist on, in milliseconds */
  endOfStart(): number {
    this.hasStarted = true;
    this.delay.disable();
    return this.delay.max / 1e6;
  }

  /** Resolves where this poll begins. */
  untilPoll(poll: number): Promise<void> {
    if (this.polls >= poll) throw new Error(`poll ${poll} has been`);
    return new Promise((begun) => (this.waiting = { poll, begun }));
  }
}

// Started by revocation.ts as a process of its own, on a database that has its tables and its entries.
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
  if (!globalThis.gc) throw new Error('it needs --expose-gc');
  for (let count = 0; count < 3; count++) globalThis.gc();
  return {
    startUp,
    stall,
    heap: process.memoryUsage().heapUsed,
    mostMemory: process.resourceUsage().maxRSS * 1024,
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
