import { setTimeout as sleep } from 'node:timers/promises';
import { type Issued, type LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import type { Tally } from '../helpers/tally.js';

/** What a client was told of its sessions. Those whose logout was not answered yet are in neither list. */
export interface Told {
  readonly live: Issued[];
  readonly ended: Issued[];
}

/** A client that logs in, refreshes, uses its access token and logs out, again and again. It keeps every second session. */
export class Visitor {
  readonly told: Told = { live: [], ended: [] };
  /** Visits in which everything was answered. */
  visits = 0;
  /** How often it was answered that the server is unavailable, and the longest wait for any answer in milliseconds. */
  unavailable = 0;
  longestWait = 0;
  private isStopped = false;
  private readonly done: Promise<void>;

  constructor(
    private readonly process: LibraryProcess,
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
