import { ACCESS_COOKIE } from '../helpers/cookies.js';
import { CREDENTIALS, LOGIN, LOGOUT, REFRESH } from '../helpers/dbsc-app.js';
import { DbscBrowser, ORIGIN, type PageAnswer, type Send } from '../helpers/dbsc-browser.js';
import { deviceKeys, refreshProof } from '../helpers/dbsc-proofs.js';
import type { Random } from '../helpers/random.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** What a schedule does to the world that all schedules share. */
export interface World {
  readonly random: Random;
  readonly send: Send;
  now(): number;
  advance(milliseconds: number): Promise<void>;
  /** Starts the application again, perhaps with new keys. */
  restart(): Promise<void>;
}

/** What happened, for a message if a rule is broken. */
export type Trace = string[];

/** The answers that say that the server or the network has failed. */
const isFault = ({ status }: PageAnswer) => status === 0 || status >= 500;

/**
 * The life of one session: the owner's browser, a thief with a copy of its cookies, and a network, a server and clocks that fail.
 *
 * Two rules hold: the owner is never logged out, and the thief never gets a token after the one that he has copied.
 */
export class DbscSchedule {
  readonly trace: Trace = [];
  private readonly random: Random;
  private readonly browser: DbscBrowser;
  private readonly thief: DbscBrowser;
  /** How many of the next requests of the owner may fail, at random. */
  private faulty = false;
  /** How wrong the clock of the owner's device is, in milliseconds. */
  private skew = 0;
  private stolen?: { readonly access: string | undefined; readonly until: number };
  /** How many proofs the server had accepted before the last login. */
  private proofs = 0;

  constructor(
    private readonly world: World,
    private readonly user: string,
  ) {
    this.random = world.random;
    const send: Send = (...request) => (this.faulty ? this.sendBadly(request) : world.send(...request));
    this.browser = new DbscBrowser(send, () => world.now() + this.skew);
    this.thief = new DbscBrowser(world.send, () => world.now());
  }

  /** @throws Error if a rule is broken */
  async run(steps: number): Promise<void> {
    await this.logIn();
    for (let step = 0; step < steps; step++) {
      await this.step();
      this.faulty = false;
    }
    await this.expectLoggedIn();
    await this.expectThiefOut();
  }

  private async step(): Promise<void> {
    const { random, world } = this;
    this.faulty = random.once(2);
    switch (random.below(16)) {
      case 0:
        return this.note(`advance`, world.advance(random.below(30_000)));
      case 1:
        return this.note(`minutes`, world.advance(2 * MINUTE + random.below(8 * MINUTE)));
      case 2:
        return this.note(`hours`, world.advance(HOUR + random.below(9 * HOUR)));
      case 3:
        return this.note(`back`, world.advance(-random.below(2 * MINUTE)));
      case 4:
        this.skew = (random.next() - 0.5) * 2 * (random.once(2) ? HOUR : MINUTE);
        return this.note(`skew ${this.skew}`);
      case 5:
        return random.once(4) ? this.note('restart', world.restart()) : undefined;
      case 6:
        return this.note('register', this.browser.register());
      case 7:
        return this.note('early', this.browser.renewEarly());
      case 8:
      case 13:
        return this.steal();
      case 9:
        return this.expectThiefOut();
      case 10:
        return this.note(
          'page refreshes',
          this.ask(() => this.browser.fetch('POST', REFRESH, {})),
        );
      case 11:
        this.browser.quota = random.once(3) ? 2 : Infinity;
        return this.note(`quota ${this.browser.quota}`);
      case 12:
        if (random.once(6)) return this.logInAgain();
        return this.note(
          'parallel',
          Promise.all([1, 2, 3].map((at) => this.ask(() => this.browser.fetch('GET', `/me?${at}`)))),
        );
      default:
        return this.expectLoggedIn();
    }
  }

  private async logIn(): Promise<void> {
    this.faulty = false;
    const body = { ...CREDENTIALS, username: this.user, password: `${this.user}-password` };
    const { status } = await this.browser.fetch('POST', LOGIN, body);
    if (status !== 200) throw new Error(`login: ${status}`);
    this.trace.push('login');
    this.proofs = this.browser.proofs;
    this.stolen = undefined;
    if (!this.random.once(4)) await this.note('register', this.browser.register());
  }

  private async logInAgain(): Promise<void> {
    this.faulty = false;
    if (this.random.once(2)) await this.note('logout', this.browser.fetch('POST', LOGOUT, {}));
    await this.logIn();
  }

  /** Asks as a page with a client does: after a refusal it refreshes, and asks once more. */
  private async expectLoggedIn(): Promise<void> {
    const isQuiet = !this.faulty && this.browser.quota === Infinity;
    let answer = await this.ask(() => this.browser.fetch('GET', '/me'));
    const first = answer.status;
    if (answer.status === 401) {
      const refreshed = await this.ask(() => this.browser.fetch('POST', REFRESH, {}));
      if (isFault(refreshed)) return this.note(`ask ${first} refresh ${refreshed.status}`);
      // A browser may have signed too often after the redirect. A page does not take that for a logout.
      if (refreshed.body.code === 'device_proof_required' && !isQuiet)
        return this.note(`ask ${first} refresh: no proof`);
      if (refreshed.status !== 200) throw new Error(`the owner is logged out: ${JSON.stringify(refreshed)}`);
      answer = await this.ask(() => this.browser.fetch('GET', '/me'));
    }
    this.trace.push(`ask ${first} ${answer.status}`);
    if (answer.status === 200 || (!isQuiet && isFault(answer))) return;
    throw new Error(`the owner got ${JSON.stringify(answer)}`);
  }

  /** Copies the cookies of a session that is bound. */
  private async steal(): Promise<void> {
    if (this.browser.proofs === this.proofs || this.stolen) return;
    const access = this.browser.stolenBy(this.thief).get(ACCESS_COOKIE);
    const expiry = access === undefined ? 0 : (JSON.parse(atob(access.split('.')[1])) as { exp: number }).exp;
    this.stolen = { access, until: expiry * 1000 };
    await this.note('steal');
  }

  /** Lets the thief try everything that he can without the key. */
  private async expectThiefOut(): Promise<void> {
    if (!this.stolen) return;
    const { access, until } = this.stolen;
    const id = access ?? '';
    await this.thief.fetch('POST', REFRESH, {});
    const [sessionId] = (this.thief.valueOf('__Host-session-proof') ?? '').split('.');
    for (const proof of [undefined, refreshProof(deviceKeys(), 'a challenge')]) {
      const headers = {
        origin: ORIGIN,
        'sec-fetch-site': 'same-origin',
        'sec-secure-session-id': sessionId,
        cookie: `__Secure-session-refresh=${this.thief.valueOf('__Secure-session-refresh')}`,
        ...(proof !== undefined && { 'secure-session-response': proof }),
      };
      const { headers: answered, status } = await this.world.send('POST', '/api/session/dbsc/refresh', headers);
      if (answered.getSetCookie().length > 0) throw new Error(`the thief got cookies: ${status}`);
    }
    const now = this.thief.valueOf(ACCESS_COOKIE);
    if (now !== undefined && now !== id) throw new Error('the thief got a token');
    const { status } = await this.thief.fetch('GET', '/me');
    if (status === 200 && this.world.now() > until + MINUTE) throw new Error('the thief has access');
    this.trace.push(`thief ${status}`);
  }

  private async note(what: string, doing?: Promise<unknown>): Promise<void> {
    this.trace.push(`${what}${this.faulty ? ' (faulty)' : ''}`);
    await doing;
  }

  /** A request that the network has lost has the status 0. */
  private async ask(send: () => Promise<PageAnswer>): Promise<PageAnswer> {
    return send().catch((error: unknown) => {
      if (!(error instanceof Lost)) throw error;
      return { status: 0, body: {} };
    });
  }

  private async sendBadly(request: Parameters<Send>): ReturnType<Send> {
    const kind = this.random.below(8);
    if (kind === 0) throw new Lost();
    if (kind === 1) return { status: this.random.pick([500, 502, 503]), headers: new Headers(), text: '' };
    const answer = await this.world.send(...request);
    if (kind === 2) throw new Lost();
    return answer;
  }
}

class Lost extends Error {}
