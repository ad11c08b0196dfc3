import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from '@jest/globals';
import { type Issued, type LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { Tally } from '../helpers/tally.js';
import { until } from '../helpers/until.js';

/** The types of their sessions. The processes need a policy of each. */
export const TYPES = ['FREE', 'CHECKED'] as const;
const VISITORS = 16;
/** An answer takes at most 15 seconds. After 30, most proxies would answer in place of the library. In milliseconds. */
export const ANSWER_LIMIT = 30_000;

/** What a client was told of its sessions. Those whose logout was not answered yet are in neither list. */
export interface Told {
  readonly live: Issued[];
  readonly ended: Issued[];
}

/** A client that logs in, refreshes, uses its access token and logs out, again and again. It keeps every second session. */
class Visitor {
  readonly told: Told = { live: [], ended: [] };
  /** Visits in which everything was answered. */
  visits = 0;
  /** How often it was answered that the server is unavailable, and the longest wait for any answer in milliseconds. */
  unavailable = 0;
  longestWait = 0;
  private isStopped = false;
  private readonly done: Promise<void>;

  constructor(
    readonly process: LibraryProcess,
    private readonly user: string,
    private readonly type: string,
    private readonly tally: Tally,
  ) {
    this.done = this.visitAll();
    // `stop` passes the error on.
    this.done.catch(() => undefined);
  }

  /** Settles when the request that is under way has been answered. */
  stop(): Promise<void> {
    this.isStopped = true;
    return this.done;
  }

  private async visitAll(): Promise<void> {
    for (let visit = 0; !this.isStopped; visit++) {
      const login = await this.insist('login', { user: this.user, type: this.type });
      if (!login) return;
      const { live, ended } = this.told;
      live.push(login as Issued);
      const at = live.length - 1;
      const refreshed = await this.insist('refresh', { refresh: live[at].refresh as string });
      if (refreshed) live[at] = { ...live[at], ...(refreshed as Issued) };
      await this.insist('verify', { access: live[at].access });
      if (visit % 2 && !this.isStopped) {
        // From here on, nobody knows whether it is live until the answer comes.
        const [session] = live.splice(at);
        if (await this.insist('logout', { refresh: session.refresh as string })) ended.push(session);
      }
      if (!this.isStopped) this.visits++;
      await sleep(25);
    }
  }

  /**
   * Asks until the answer is not that the server is unavailable.
   * @returns undefined if it was stopped before
   */
  private async insist(call: 'login' | 'refresh' | 'verify' | 'logout', given: any): Promise<unknown> {
    for (let attempt = 0; !this.isStopped; attempt++) {
      const askedAt = performance.now();
      const answer = await this.process.ask(call, given);
      this.longestWait = Math.max(this.longestWait, performance.now() - askedAt);
      const outcome = outcomeOf(answer);
      // A logout that was not answered may have ended the session nevertheless.
      const isDone = call === 'logout' && attempt > 0 && outcome === '401 session_not_found';
      this.tally.add(`${call}: ${isDone ? 'done before' : outcome}`);
      if (answer.status === 200 || isDone) return answer.body ?? {};
      if (answer.status !== 503)
        throw new Error(`${call} of ${this.user}: ${JSON.stringify(answer)}\n${this.process.printed}`);
      this.unavailable++;
      await sleep(25);
    }
    return undefined;
  }
}

/** What a test does while there are visitors. */
type Work = (visitors: readonly Visitor[], isEach: (check: VisitorCheck) => Promise<void>) => Promise<void>;
type VisitorCheck = (visitor: Visitor) => boolean;

/**
 * Lets visitors in until the work is done, half of them on each of two processes, and waits until each has made two visits
 * after it. Then checks that they saw only 200 and 503.
 * @returns what they were told
 */
export async function visited(processes: readonly LibraryProcess[], work: Work): Promise<Told> {
  const tally = new Tally();
  const visitors = Array.from(
    { length: VISITORS },
    (_, at) => new Visitor(processes[at % 2], `visitor ${at}`, TYPES[(at >> 1) % 2], tally),
  );
  const isEach = (check: VisitorCheck) => until(() => refused(tally).length > 0 || visitors.every(check));
  try {
    await isEach(({ visits }) => visits >= 2);
    await work(visitors, isEach);
    const visitsBefore = visitors.map(({ visits }) => visits);
    await isEach((visitor) => visitor.visits >= visitsBefore[visitors.indexOf(visitor)] + 2);
    await Promise.all(visitors.map((visitor) => visitor.stop()));
  } finally {
    for (const visitor of visitors) void visitor.stop().catch(() => undefined);
  }
  const longestWait = Math.max(...visitors.map((visitor) => visitor.longestWait));
  console.log(`${Math.round(longestWait)} ms at most: ${String(tally)}`);
  expect(refused(tally)).toEqual([]);
  expect(longestWait).toBeLessThan(ANSWER_LIMIT);
  return {
    live: visitors.flatMap(({ told }) => told.live),
    ended: visitors.flatMap(({ told }) => told.ended),
  };
}

const refused = ({ names }: Tally) => names.filter((name) => !/: (200|503 unavailable|done before)$/.test(name));

/** Asks a process whether it accepts an access token. */
export async function verdictOf(process: LibraryProcess, { access }: Issued): Promise<string> {
  return outcomeOf(await process.ask('verify', { access }));
}

/** Refreshes a session. */
export async function refreshed(process: LibraryProcess, { refresh }: Issued): Promise<string> {
  return outcomeOf(await process.ask('refresh', { refresh: refresh as string }));
}

/** Checks that a process accepts what is live, and refuses what has ended. */
export async function expectTold(process: LibraryProcess, { live, ended }: Told): Promise<void> {
  expect(live.length).toBeGreaterThan(0);
  expect(ended.length).toBeGreaterThan(0);
  for (const session of ended) {
    // The other processes learn of it at their next poll.
    await until(async () => (await verdictOf(process, session)) === '401 token_not_valid');
    expect(await refreshed(process, session)).toBe('401 session_not_found');
  }
  for (const session of live) expect(await verdictOf(process, session)).toBe('200');
}
