import type { SessionRecord } from '../../client/src/decisions.js';
import { CLIENT, type ClientRules } from './client-rules.js';
import {
  aged,
  type Answer,
  endingOf,
  type Flight,
  inFlight,
  LIMIT,
  recordOf,
  SETTLED_AGE,
  SLEEP,
  type Tab,
  type Token,
  tokenIn,
  used,
  withTab,
  type World,
} from './client-world.js';
import { loggedIn } from './rotation-model.js';
import { SERVER, type ServerRules } from './server-rules.js';

/** What a search covers. */
export interface Bounds {
  readonly transport: 'body' | 'cookie';
  readonly tabs: number;
  /** How often the user logs in again, and logs out. Default: never. */
  readonly logins?: number;
  readonly logouts?: number;
  /** How many tabs are frozen at a time. Default: none. */
  readonly frozen?: number;
  /** How many requests of killed tabs are in flight at a time. Default: no tab is killed. */
  readonly killed?: number;
  /** Whether no message is ever lost. Default: false. */
  readonly isReliable?: boolean;
}

/** A change of the world, with words for a trace. */
export type Step = readonly [what: string, after: World];

const NAMES = 'ABCDEF';
const CLOSED: Tab = { own: null };

/**
 * A model of the tabs of a browser, of the server, and of everything that can go wrong between them: see `World`. Each tab
 * decides with the client's own functions, and the server with its own `judge`.
 */
export class ClientModel {
  readonly isCookie: boolean;

  constructor(
    private readonly bounds: Bounds,
    private readonly client: ClientRules = CLIENT,
    private readonly server: ServerRules = SERVER,
  ) {
    this.isCookie = bounds.transport === 'cookie';
  }

  /** The user has logged in, and each tab knows it. */
  get start(): World {
    const token = { session: NAMES[0], generation: 0 };
    return {
      rows: { [token.session]: newRow() },
      stored: recordOf(1, token),
      jar: this.isCookie ? token : null,
      tabs: Array.from({ length: this.bounds.tabs }, () => CLOSED),
      orphans: [],
      expected: token.session,
      logins: 0,
      logouts: 0,
    };
  }

  /** Returns what is wrong in a world, or undefined. */
  faultOf({ rows, stored, jar, expected, tabs }: World): string | undefined {
    if (expected === 'unsettled') return undefined;
    if (expected === 'confused') return 'the record names another session than the cookies';
    if (expected === 'out') return stored?.sessionId ? 'a session came back after the logout' : undefined;
    if (!rows[expected]) return 'the server ended the session';
    if (stored?.ended) return 'the client ended the session';
    if (this.isCookie && jar?.session !== expected) return 'the cookies of the session were lost';
    // In cookies, the record follows with the next answer.
    if (stored?.sessionId !== expected) return this.isCookie ? undefined : 'the tokens of the session were lost';
    const isSeen = ({ own }: Tab) => this.client.newest(own, stored)?.sessionId === expected;
    return tabs.every(isSeen) ? undefined : 'a tab shows another session';
  }

  /** Lets each tab remember the newest record that it can see. It would see that one at its next step anyway. */
  settled(world: World): World {
    const tabs = world.tabs.map((tab) => ({ ...tab, own: this.client.newest(tab.own, world.stored) }));
    return { ...world, tabs };
  }

  /** Returns every step that can be next. */
  *stepsOf(world: World): Generator<Step> {
    yield* this.stepsOfNature(world);
    for (const [at, { frozen, flight }] of world.tabs.entries()) {
      const name = frozen === undefined ? `tab ${at}` : `frozen tab ${at}`;
      const steps = frozen === undefined ? this.stepsOfTab(world, at) : this.stepsOfFrozen(world, at, frozen);
      for (const [what, after] of steps) yield [`${name} ${what}`, after];
      if (!flight || flight.hasArrived) continue;
      for (const [what, after, next] of this.stepsOfFlight(world, flight))
        yield [`${name}: ${what}`, this.received(after, at, next)];
    }
    for (const [at, flight] of world.orphans.entries())
      for (const [what, after, next] of this.stepsOfFlight(world, flight)) {
        const isOver = !next || next.hasArrived;
        const orphans = isOver ? world.orphans.toSpliced(at, 1) : world.orphans.with(at, next);
        yield [`killed tab: ${what}`, { ...after, orphans }];
      }
  }

  /** Time passes, and tokens are used. */
  private *stepsOfNature(world: World): Generator<Step> {
    const isBusy = world.tabs.some(({ frozen, read, unstored }) => frozen === undefined && (read ?? unstored));
    if (!isBusy && inFlight(world).every(({ age }) => age === 0)) yield ['a tick', aged(world)];
    const token = this.isCookie ? world.jar : tokenIn(world.stored);
    if (!token) return;
    yield ['the access token is used', used(world, token)];
    if (!this.isCookie) return;
    const { rows, access } = this.server.renew(world.rows, token);
    if (access) yield ['a renderer renders a page', used({ ...world, rows }, access)];
  }

  private *stepsOfTab(world: World, at: number): Generator<Step> {
    const { tabs, stored } = world;
    const { own, read, flight, unstored, lease } = tabs[at];
    const { logins = 0, logouts = 0, frozen = 0, killed = 0 } = this.bounds;
    if (!flight && !read && !unstored) {
      const held = this.client.newest(own, stored);
      for (const leased of this.leasedBy(world, at)) {
        const ready = withTab(leased, at, { own: held });
        if (held?.sessionId) yield ['reads the store', withTab(ready, at, { read: held })];
        if (world.logins < logins)
          yield ['sends a login', { ...this.sent(ready, at, 'login', held), logins: world.logins + 1 }];
        if (held?.sessionId && world.logouts < logouts) yield ['logs out', this.loggedOut(ready, at, held)];
      }
      return;
    }
    if (read) yield ['sends a refresh', this.sent(world, at, 'refresh', read)];
    if (unstored)
      yield [
        'stores the answer',
        withTab({ ...world, stored: unstored }, at, { own: unstored, unstored: undefined, lease: undefined }),
      ];
    if (tabs.filter((tab) => tab.frozen !== undefined).length < frozen)
      yield ['freezes', withTab(world, at, { frozen: 0 })];
    const left = flight ? [flight] : [];
    if ((unstored || flight?.kind === 'refresh') && world.orphans.length + left.length <= killed)
      yield [
        'is killed',
        {
          ...world,
          tabs: tabs.with(at, CLOSED),
          orphans: [...world.orphans, ...left],
          deadLease: lease ?? world.deadLease,
        },
      ];
  }

  private *stepsOfFrozen(world: World, at: number, frozen: number): Generator<Step> {
    if (frozen < SLEEP) return;
    const { flight, read } = world.tabs[at];
    const awake = withTab(world, at, { frozen: undefined });
    if (flight) yield ['wakes up with an answer', this.processed(awake, at, flight, this.noticesSleep())];
    else if (read && this.noticesSleep())
      yield ['wakes up, and will read again', withTab(awake, at, { read: undefined, lease: undefined })];
    else yield ['wakes up', awake];
  }

  /** Whether the client notices that its tab has slept. In either case, only one of its clocks has. */
  private noticesSleep(): boolean {
    const start = { wall: 0, monotonic: 0 };
    const isLate = (wall: number, monotonic: number) => this.client.isTooLate(start, { wall, monotonic }, LIMIT);
    return isLate(SLEEP, 0) && isLate(-SLEEP, SLEEP);
  }

  /** Lets a tab take the lease, if it may. */
  private *leasedBy(world: World, at: number): Generator<World> {
    const holder = world.tabs.findIndex(({ lease }) => lease !== undefined);
    const age = world.tabs[holder]?.lease ?? world.deadLease;
    const lease = age === undefined ? null : { owner: String(holder), until: LIMIT - age };
    if (!this.client.mayTake(lease, String(at), 0, LIMIT)) return;
    const tabs = world.tabs.map((tab) => ({ ...tab, lease: undefined }));
    yield withTab({ ...world, tabs, deadLease: undefined }, at, { lease: 0 });
  }

  private sent(world: World, at: number, kind: Flight['kind'], record: SessionRecord | null): World {
    const presented = this.isCookie ? world.jar : tokenIn(record);
    return withTab(world, at, { read: undefined, flight: { kind, sent: record, presented, age: 0 } });
  }

  private loggedOut(world: World, at: number, held: SessionRecord): World {
    const stored = endingOf(this.client.nextEpoch(held, 0), 'logout');
    const sent = withTab(this.sent(world, at, 'logout', held), at, { own: stored });
    return { ...sent, stored, expected: 'out', logouts: world.logouts + 1 };
  }

  /** A request or an answer is lost, or arrives. What remains of it is undefined, or has arrived, or is the answer. */
  private *stepsOfFlight(
    world: World,
    flight: Flight,
  ): Generator<readonly [what: string, after: World, next?: Flight]> {
    const { kind, answer, presented } = flight;
    // A login with cookies whose answer is lost may have ended the session. The user then logs in again.
    const isLoss = answer !== undefined && kind === 'login' && this.isCookie;
    if (!this.bounds.isReliable && !isLoss) yield [`the ${answer ? 'answer' : kind} is lost`, world];
    if (answer) {
      const token = answer.status === 200 ? answer.token : undefined;
      const jar = !this.isCookie || kind === 'logout' ? null : (token ?? world.jar);
      yield [`the answer to the ${kind} arrives`, { ...world, jar }, { ...flight, hasArrived: true }];
    } else if (kind === 'refresh') {
      const { rows, answer } = this.server.refresh(world.rows, presented, this.isCookie);
      yield ['the refresh is handled', { ...world, rows }, { ...flight, answer }];
      yield ['the server is unavailable', world, { ...flight, answer: { status: 503, code: 'unavailable' } }];
    } else if (kind === 'logout') {
      const rows = presented ? { ...world.rows, [presented.session]: null } : world.rows;
      yield ['the logout is handled', { ...world, rows }, { ...flight, answer: { status: 200 } }];
    } else {
      const session = NAMES[Object.keys(world.rows).length];
      const token = { session, generation: 0 };
      // A login with cookies replaces the session that they prove.
      const replaced = this.isCookie && presented && { [presented.session]: null };
      const rows = { ...world.rows, ...replaced, [session]: newRow() };
      const expected = this.isCookie ? 'unsettled' : world.expected;
      yield [
        'the login is handled',
        { ...world, rows, expected },
        { ...flight, answer: { status: 200, session, token } },
      ];
    }
  }

  private received(world: World, at: number, flight: Flight | undefined): World {
    if (!flight) return withTab(world, at, { flight, lease: undefined });
    const isProcessed = flight.hasArrived && world.tabs[at].frozen === undefined;
    return isProcessed ? this.processed(world, at, flight, false) : withTab(world, at, { flight });
  }

  /** The tab decides what an answer means. */
  private processed(world: World, at: number, { kind, sent, answer }: Flight, isTooLate: boolean): World {
    const { client } = this;
    const idle = withTab(world, at, { flight: undefined, lease: undefined });
    const held = client.newest(world.tabs[at].own, world.stored);
    if (!answer || kind === 'logout') return idle;
    if (kind === 'login') return this.afterLogin(idle, at, held, sent, answer.token as Token);
    if (isTooLate) return idle;
    const adopted = withTab(idle, at, { own: held });
    const meaning = client.meaningOfRefresh(answer);
    if (meaning === 'later') return adopted;
    if (meaning === 'over') {
      const isOver = client.afterRefusal(held, sent as SessionRecord) === 'end';
      return isOver ? stored(adopted, at, endingOf(client.nextEpoch(held, 0), 'revoked')) : adopted;
    }
    const next = this.isCookie ? this.afterCookies(held, sent, answer) : this.afterBody(held, sent, answer);
    if (!next) return adopted;
    if (this.isCookie && next.sessionId !== answer.session) return { ...adopted, expected: 'confused' };
    if (client.storesFirst) return stored(adopted, at, next);
    return withTab(used(adopted, tokenIn(next) as Token), at, { unstored: next, lease: 0 });
  }

  private afterLogin(
    world: World,
    at: number,
    held: SessionRecord | null,
    sent: SessionRecord | null,
    token: Token,
  ): World {
    // In bodies, the user has a session once its answer has arrived. In cookies, the later login has replaced it by then.
    const latest = this.isCookie ? Object.keys(world.rows).sort().at(-1) : world.expected;
    const isLatest = latest === 'out' || token.session >= (latest as string);
    const isOvertaken = !isLatest || (world.expected === 'out' && sent?.ended !== 'logout');
    const expected = isOvertaken ? world.expected : token.session;
    const isTaken = this.client.takesLogin(held, sent?.epoch ?? 0, token.session);
    const after = isTaken ? stored(world, at, recordOf(this.client.nextEpoch(held, 0), token)) : world;
    return { ...after, expected };
  }

  private afterBody(
    held: SessionRecord | null,
    sent: SessionRecord | null,
    { token }: Answer,
  ): SessionRecord | undefined {
    const next = token && sent && { ...sent, generation: token.generation };
    return next && this.client.supersedes(next, held) ? next : undefined;
  }

  private afterCookies(held: SessionRecord | null, sent: SessionRecord | null, { session = '' }: Answer) {
    const what = this.client.afterCookies(held, sent, session);
    if (what === 'store') return { ...(held as SessionRecord), generation: (held as SessionRecord).generation + 1 };
    return what === 'adopt' ? recordOf(this.client.nextEpoch(held, 0), { session, generation: 0 }) : undefined;
  }
}

const stored = (world: World, at: number, record: SessionRecord): World =>
  withTab({ ...world, stored: record }, at, { own: record });

const newRow = () => ({ server: loggedIn({ id: 0, generation: 0 }), age: SETTLED_AGE });
