import { setTimeout as sleep } from 'node:timers/promises';
import { SessionError } from 'nestjs-multisession-client';
import { Browser, type Features, type Tab } from '../../client/test/helpers/browser.js';
import { SAMPLE_SECRET_KEY } from '../helpers/sample-app.js';
import type { Random } from '../helpers/random.js';
import { LANE_HEADER, type LossyProxy } from './lossy-proxy.js';

/** The session type of all schedules. Its grace is the default. */
export const TYPE = 'LONG';
/** How much time passes between two parts of a schedule, in milliseconds. It is longer than the grace. */
export const PAUSE = 60_000;
const STEPS = 10;
const MAX_TABS = 3;
const WITHOUT: Features = { locks: false, channels: false, storageEvents: false };
/** What a client may report while the network and the servers fail. The session goes on. */
const PASSING = ['unreachable', 'unavailable'];

/** What a schedule runs against. */
export interface Surroundings {
  readonly proxy: LossyProxy;
  readonly username: string;
  readonly password: string;
  /** Lets the grace pass for the user's sessions. */
  readonly pass: () => Promise<void>;
}

/** A random schedule of one user's tabs. */
export class ClientSchedule {
  readonly transport: 'body' | 'cookie';
  /** What happened, for the report of a failure. */
  readonly steps: string[] = [];
  private readonly browser: Browser;
  private readonly hasLocks: boolean;
  private pending: { readonly tab: Tab; readonly work: Promise<void> }[] = [];
  private tabs: Tab[] = [];
  private readonly dead = new Set<Tab>();
  private readonly began = performance.now();
  private frozen: { tab: Tab; thaw: () => void } | undefined;
  /** Requests whose answer has not reached the browser. The answers to killed tabs count too, because they set cookies. */
  private unanswered = 0;

  constructor(
    private readonly random: Random,
    private readonly lane: string,
    private readonly around: Surroundings,
  ) {
    this.transport = random.pick(['body', 'cookie']);
    this.hasLocks = random.once(3);
    this.browser = new Browser(this.hasLocks ? {} : { ...WITHOUT, storageEvents: random.once(2) });
    this.browser.network = async (url, init, send) => {
      const headers = new Headers(init.headers);
      headers.set(LANE_HEADER, lane);
      const request = `${url.replace(/^.*\/api/, '')} ${generationIn(init.body)}`;
      this.steps.push(`  ${this.time} ${request}`);
      this.unanswered++;
      try {
        const response = await send(url, { ...init, headers });
        const answer = await response.clone().text();
        this.steps.push(`  ${this.time} ${request}: ${response.status} ${generationIn(answer)}`);
        return response;
      } catch (error) {
        this.steps.push(`  ${this.time} ${request}: ${String((error as Error).cause ?? error)}`);
        throw error;
      } finally {
        this.unanswered--;
      }
    };
  }

  /**
   * Runs the schedule.
   * @throws if a tab has lost the session
   */
  async run(): Promise<void> {
    try {
      this.open();
      await this.logIn();
      for (let step = 0; step < STEPS; step++) await this.step();
      await this.settle();
      await this.expectLoggedIn();
      await this.tabs[0].client.logout();
    } catch (error) {
      throw new Error(
        `${(error as Error).message} after ${this.time} ms, ${this.transport}\n${this.steps.join('\n')}`,
        { cause: error },
      );
    } finally {
      this.browser.close();
    }
  }

  /** Milliseconds since the schedule began. */
  private get time(): number {
    return Math.round(performance.now() - this.began);
  }

  private async step(): Promise<void> {
    const { random } = this;
    const tab = random.pick(this.tabs);
    const name = `tab ${this.tabs.indexOf(tab)}`;
    switch (random.below(9)) {
      case 0:
      case 1:
        return this.note('every tab refreshes', () => this.tabs.forEach((each) => this.refresh(each)));
      case 2:
      case 3:
        return this.note(`${name} refreshes`, () => this.refresh(tab));
      case 4:
        return this.note(`${name} sends a request`, () => this.start(tab, this.request(tab)));
      case 5:
        if (this.tabs.length < MAX_TABS) return this.note('a tab is opened', () => this.open());
        return this.hasLocks ? undefined : this.kill(tab);
      case 6:
        return this.hasLocks || this.tabs.length < 2 ? undefined : this.freeze(tab);
      case 7:
        return this.settle();
      default:
        if (!random.once(3)) return sleep(random.below(30));
        this.steps.push(`${name} logs in again`);
        return this.logIn(tab);
    }
  }

  private note(step: string, work: () => void): void {
    this.steps.push(step);
    work();
  }

  private open(): void {
    const { proxy } = this.around;
    const { transport } = this;
    const secretKey = transport === 'body' ? SAMPLE_SECRET_KEY : undefined;
    const tab = this.browser.open({ url: `${proxy.url}/api/session`, transport, secretKey, storage: 'browser' });
    // Nothing of a killed tab goes on.
    const untilDead = <T>(value: T) => (this.dead.has(tab) ? new Promise<never>(() => undefined) : value);
    tab.network = async (url, init, send) => {
      await untilDead(undefined);
      return untilDead(await send(url, init));
    };
    this.tabs.push(tab);
  }

  private async logIn(tab = this.tabs[0]): Promise<void> {
    const { username, password } = this.around;
    for (;;) {
      try {
        return await tab.client.login({ username, password, session: TYPE });
      } catch (error) {
        // A server that restarts loses logins too, and users then try again.
        assertPassing(error);
        await sleep(50);
      }
    }
  }

  private refresh(tab: Tab): void {
    this.start(tab, tab.client.refresh());
  }

  private async request({ client }: Tab): Promise<void> {
    const { status } = await client.fetch(`${this.around.proxy.url}/api/me`).catch((error: unknown) => {
      if (error instanceof SessionError) throw error;
      return { status: 0 };
    });
    if (status === 401) throw new Error('a request was refused');
  }

  private start(tab: Tab, work: Promise<void>): void {
    const passing = work.catch(assertPassing);
    passing.catch(() => undefined);
    this.pending.push({ tab, work: passing });
  }

  /** Waits for everything that was begun. */
  private async finished(): Promise<void> {
    await Promise.all(this.pending.splice(0).map(({ work }) => work));
  }

  /** The tab disappears, and nothing of it goes on except what the server has received. */
  private async kill(tab: Tab): Promise<void> {
    this.steps.push(`tab ${this.tabs.indexOf(tab)} is killed`);
    this.refresh(tab);
    await sleep(this.random.below(20));
    this.pending = this.pending.filter((begun) => begun.tab !== tab);
    this.dead.add(tab);
    tab.kill();
    this.tabs = this.tabs.filter((other) => other !== tab);
    if (this.tabs.length === 0) this.open();
    await this.quiet();
    // Its lease lapses.
    this.browser.wrongBy += PAUSE;
  }

  /** The tab gets the answer to a refresh only after a pause in which the others go on. */
  private async freeze(tab: Tab): Promise<void> {
    this.steps.push(`tab ${this.tabs.indexOf(tab)} is frozen`);
    await this.finished();
    const { network } = tab;
    const held = new Promise<void>((resolve) => {
      const thawed = new Promise<void>((thaw) => (this.frozen = { tab, thaw }));
      tab.network = async (url, init, send) => {
        const response = await network(url, init, send).finally(resolve);
        await thawed;
        return response;
      };
    });
    const refreshed = tab.client.refresh().catch(assertPassing);
    await Promise.race([held, refreshed]);
    await this.pause();
    const others = this.tabs.filter((other) => other !== tab);
    await Promise.all(others.map((other) => other.client.refresh().catch(assertPassing)));
    await Promise.all(others.map((other) => this.request(other).catch(assertPassing)));
    if (this.random.once(2)) await this.pause();
    tab.network = network;
    this.frozen?.thaw();
    await refreshed;
  }

  /** Waits for everything that was begun. Then the grace passes. */
  private async settle(): Promise<void> {
    this.steps.push('all answers arrive, and the grace passes');
    await this.finished();
    await this.pause();
    for (const [at, { client }] of this.tabs.entries()) {
      const state = client.getSnapshot();
      if (state.status !== 'authenticated') throw new Error(`tab ${at} is ${JSON.stringify(state)}`);
    }
  }

  private async pause(): Promise<void> {
    await this.quiet();
    await this.around.pass();
    this.browser.wrongBy += PAUSE;
  }

  /** Waits until no message is on its way. A request that was given up may still be on its way to a server. */
  private async quiet(): Promise<void> {
    while (this.unanswered > 0 || this.around.proxy.inFlight(this.lane) > 0) await sleep(2);
  }

  /** Whatever the network does, each tab gets through in the end. */
  private async expectLoggedIn(): Promise<void> {
    for (const [at, { client }] of this.tabs.entries()) {
      await untilDone(() => client.refresh());
      const response = await untilDone(() => client.fetch(`${this.around.proxy.url}/api/me`));
      if (response.status !== 200) throw new Error(`tab ${at} got ${response.status} in the end`);
    }
  }
}

/** The generation of the refresh token in a body. Tokens themselves do not belong into a report. */
function generationIn(body: unknown): string {
  const [, payload = ''] = /"refresh":"[^".]*\.([^".]*)/.exec(String(body)) ?? [];
  return payload && `generation ${JSON.parse(Buffer.from(payload, 'base64url').toString()).gen}`;
}

/** Repeats what the network has broken. */
async function untilDone<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof SessionError) assertPassing(error);
      await sleep(20);
    }
  }
}

/** @throws the error, if it does not pass */
function assertPassing(error: unknown): void {
  if (!(error instanceof SessionError) || !PASSING.includes(error.code)) throw error as Error;
}
