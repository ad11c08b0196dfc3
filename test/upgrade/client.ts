import { setTimeout as sleep } from 'node:timers/promises';
import { type Issued, type LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import type { Fleet } from './fleet.js';

/** The tokens of a session that has ended. */
export interface EndedTokens {
  readonly sessionId: string;
  readonly access: readonly string[];
  readonly refresh: readonly string[];
}

/** A session as its client knows it. */
interface Held {
  readonly sessionId: string;
  /** Every token of the session, the newest last. */
  readonly access: string[];
  readonly refresh: string[];
}

/** How long a process may take to learn of an ended session, in milliseconds. */
const PATIENCE = 20_000;

/** A user with one client, who does at random what clients do, and writes down whatever should not happen. */
export class Client {
  readonly ended: EndedTokens[] = [];
  readonly faults: string[] = [];
  /** How many things the client has done. */
  steps = 0;
  private held?: Held;
  private readonly acts: readonly (() => Promise<void>)[];

  constructor(
    private readonly fleet: Fleet,
    private readonly user: string,
    private readonly type: string,
  ) {
    const often = <T>(times: number, act: T): T[] => Array.from({ length: times }, () => act);
    this.acts = [
      ...often(8, () => this.refresh()),
      ...often(8, () => this.verify()),
      ...often(2, () => this.retry()),
      ...often(1, () => this.merge()),
      ...often(1, () => this.logInAgain((process, { refresh }) => process.ask('logout', { refresh: last(refresh) }))),
      ...often(1, () => this.logInAgain((process, { sessionId }) => process.ask('destroy', { sessionId }))),
      ...often(1, () => this.logInAgain((process) => process.ask('destroyAll', { user: this.user }))),
      ...often(1, () => this.logInElsewhere()),
    ];
  }

  /** Does one thing after the other until `isOver`. */
  async run(isOver: () => boolean): Promise<void> {
    this.held = await this.logIn();
    while (!isOver()) {
      await this.acts[Math.floor(Math.random() * this.acts.length)]();
      this.steps++;
      await sleep(Math.random() * 10);
    }
  }

  /** The session that the client has at the end. */
  get session(): EndedTokens {
    return this.current;
  }

  private get current(): Held {
    if (!this.held) throw new Error('the client has not logged in');
    return this.held;
  }

  private async logIn(): Promise<Held> {
    const { user, type } = this;
    const answer = await this.fleet.anywhere((process) => process.ask('login', { user, type }));
    if (answer.status !== 200) throw new Error(`login of ${user}: ${outcomeOf(answer)}`);
    const { sessionId, access, refresh } = answer.body as Issued;
    return { sessionId, access: [access], refresh: [refresh as string] };
  }

  private async refresh(): Promise<void> {
    const { access, refresh } = this.current;
    const answer = await this.fleet.anywhere((process) => process.ask('refresh', { refresh: last(refresh) }));
    if (answer.status !== 200) return this.fault('refresh', outcomeOf(answer));
    const next = answer.body as Issued;
    access.push(next.access);
    if (next.refresh && next.refresh !== last(refresh)) refresh.push(next.refresh);
  }

  /** Uses its token, and does not get the answer, so it uses the same one again elsewhere. */
  private async retry(): Promise<void> {
    const refresh = last(this.current.refresh);
    const lost = await this.fleet.anywhere((process) => process.ask('refresh', { refresh }));
    if (lost.status !== 200) this.fault('refresh whose answer is lost', outcomeOf(lost));
    await this.refresh();
  }

  private async verify(): Promise<void> {
    const { access } = this.current;
    const answer = await this.fleet.anywhere((process) => process.ask('verify', { access: last(access) }));
    if (answer.status !== 200) this.fault('verify', outcomeOf(answer));
  }

  private async merge(): Promise<void> {
    const { sessionId } = this.current;
    const patch = { step: this.steps };
    const answer = await this.fleet.anywhere((process) => process.ask('mergeData', { sessionId, patch }));
    if (answer.status !== 200) this.fault('mergeData', outcomeOf(answer));
  }

  /** Ends the session, and logs in again. */
  private async logInAgain(
    end: (process: LibraryProcess, held: Held) => ReturnType<LibraryProcess['ask']>,
  ): Promise<void> {
    const old = this.current;
    const answer = await this.fleet.anywhere((process) => end(process, old));
    if (answer.status !== 200) this.fault('end', outcomeOf(answer));
    await this.expectRefused(old);
    this.held = await this.logIn();
  }

  /** Logs in a second time, and ends the first session from there. */
  private async logInElsewhere(): Promise<void> {
    const old = this.current;
    const { user } = this;
    this.held = await this.logIn();
    const { sessionId } = this.held;
    const answer = await this.fleet.anywhere((process) => process.ask('destroyOthers', { user, sessionId }));
    if (answer.status !== 200) this.fault('destroyOthers', outcomeOf(answer));
    await this.expectRefused(old);
  }

  private async expectRefused(old: Held): Promise<void> {
    this.ended.push(old);
    const refreshed = await this.fleet.anywhere((process) => process.ask('refresh', { refresh: last(old.refresh) }));
    if (refreshed.status !== 401) this.fault('refresh of an ended session', outcomeOf(refreshed));
    // Other processes learn of it with their next poll. How soon that is depends on the machine.
    const giveUp = performance.now() + PATIENCE;
    const verify = (process: LibraryProcess) => process.ask('verify', { access: last(old.access) });
    for (let refusals = 0; refusals < 4;) {
      const { status } = await this.fleet.anywhere(verify);
      if (status === 401) refusals++;
      else if (performance.now() > giveUp) return this.fault('verify of an ended session', String(status));
      else await sleep(50);
    }
  }

  private fault(act: string, seen: string): void {
    this.faults.push(`${this.user} (${this.type}): ${act}: ${seen}`);
  }
}

const last = (tokens: readonly string[]): string => tokens[tokens.length - 1];
