import fc from 'fast-check';
import type { ReuseKind, SessionPolicyService, Verdict } from '../../lib/session/policy.js';
import {
  carryOut,
  type Ends,
  judge,
  loggedIn,
  type Outcome,
  type Server,
  SETTLED,
  type Token,
  use,
} from './rotation-model.js';

/** Which of a session's tokens: the one that the client has stored, or a number that counts back from the latest. */
type Choice = 'own' | number;

/** The claim that an attacker who has the signing key forges. */
export type Forgery = 'generation' | 'type' | 'end';

/** A step of a trace. Clients are numbers. All hold the login's token, so any of them may be the thief. */
export type Move =
  | { do: 'refresh'; by: number; token: Choice; isLost: boolean }
  | { do: 'refresh as another type'; by: number; token: Choice }
  | { do: 'refresh with a forged token'; by: number; token: Choice; forged: Forgery }
  | { do: 'use an access token'; latestBut: number }
  | { do: 'log out'; by: number; token: Choice }
  | { do: 'log in'; by: number }
  | { do: 'copy'; from: number; to: number }
  | { do: 'the grace passes' }
  | { do: 'the end comes near' }
  | { do: 'the end passes' }
  | { do: 'uses are written' }
  | { do: 'the database loses a generation' };

/** The members of an event that are compared. */
export interface ExpectedEvent {
  readonly name: string;
  readonly rotated?: boolean;
  readonly reason?: string;
  readonly reuse?: ReuseKind;
  readonly presented?: number;
  readonly current?: number;
  readonly presenter?: string;
  readonly other?: string;
}

/** The expected result of a move. */
export interface Expected {
  readonly status?: number;
  /** The verdict, if `judge` was asked. */
  readonly verdict?: Verdict;
  readonly code?: string;
  /** The token to present. */
  readonly token?: Token;
  /** The index of the access token to present, in the order of issue. */
  readonly access?: number;
  /** The refresh token of the answer, or null if it has none. */
  readonly refresh?: Token | null;
  /** The generation of the answer's access token. */
  readonly generation?: number;
  readonly isExtended?: boolean;
  /** The first verdict, if the token was adopted. `verdict` is then the one after it. */
  readonly adopted?: Verdict;
  readonly events: readonly ExpectedEvent[];
}

const CLIENTS = 3;
const client = fc.nat(CLIENTS - 1);
const token = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Choice>('own') },
  { weight: 3, arbitrary: fc.nat(2) },
  { weight: 1, arbitrary: fc.nat(20) },
);
const just = <M extends Move['do']>(name: M) => fc.record({ do: fc.constant(name) });

/** Any move. Most are refreshes. */
export const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 45,
    arbitrary: fc.record({
      do: fc.constant('refresh' as const),
      by: client,
      token,
      isLost: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('refresh as another type' as const), by: client, token }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('refresh with a forged token' as const),
      by: client,
      token,
      forged: fc.constantFrom<Forgery>('generation', 'type', 'end'),
    }),
  },
  { weight: 10, arbitrary: fc.record({ do: fc.constant('use an access token' as const), latestBut: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('log out' as const), by: client, token }) },
  { weight: 15, arbitrary: fc.record({ do: fc.constant('log in' as const), by: client }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('copy' as const), from: client, to: client }) },
  { weight: 15, arbitrary: just('the grace passes') },
  { weight: 3, arbitrary: just('the end comes near') },
  { weight: 2, arbitrary: just('the end passes') },
  { weight: 4, arbitrary: just('uses are written') },
  { weight: 4, arbitrary: just('the database loses a generation') },
);

export const agentOf = (by: number): string => `client ${by}`;

const UNKNOWN: Expected = { status: 401, code: 'session_not_found', events: [] };
const NOTHING: Expected = { events: [] };

/** A session's row, with its expiry and the client that received the current token. */
interface Row {
  readonly server: Server;
  readonly ends: Ends;
  readonly agent: string;
}

/** A session, its clients and one process. For each move it returns what the application must do. */
export class ModelledSession {
  row: Row | null = null;
  /** The row before its last generation began. */
  private before: Row | null = null;
  private handedOut: Token[] = [];
  private accessTokens: number[] = [];
  private stored: Token[] = [];
  /** The highest generation that was used with this process, and the same if it is not yet written, else 0. */
  private noted = 0;
  private unwritten = 0;
  /** Whether the session had expired when it ended. */
  private hasExpired = false;

  constructor(
    private readonly policy: SessionPolicyService,
    private readonly isBound: boolean,
  ) {}

  take(move: Move): Expected {
    switch (move.do) {
      case 'log in':
        return this.row ? NOTHING : this.logIn(move.by);
      case 'refresh':
        return this.refresh(move.by, this.chosen(move), !move.isLost);
      case 'refresh with a forged token':
        return this.refreshForged(move.by, this.chosen(move), move.forged);
      case 'refresh as another type':
        return this.refreshAsAnother(this.chosen(move));
      case 'use an access token':
        return this.use(this.accessTokens.length - 1 - move.latestBut);
      case 'log out':
        return this.logOut(this.chosen(move));
      case 'copy':
        this.stored[move.to] = this.stored[move.from];
        return NOTHING;
      case 'the grace passes':
      case 'the end comes near':
      case 'the end passes':
      case 'uses are written':
      case 'the database loses a generation':
        this.happen(move.do);
        return NOTHING;
    }
  }

  private chosen({ by, token }: { by: number; token: Choice }): Token | undefined {
    return token === 'own' ? this.stored[by] : this.handedOut.at(-1 - (token % Math.max(1, this.handedOut.length)));
  }

  private logIn(by: number): Expected {
    const first = { id: 0, generation: 0 };
    this.row = { server: loggedIn(first), ends: { isBound: this.isBound }, agent: agentOf(by) };
    this.before = null;
    this.handedOut = [first];
    this.accessTokens = [0];
    this.stored = Array.from({ length: CLIENTS }, () => first);
    this.noted = this.unwritten = 0;
    this.hasExpired = false;
    return { status: 200, refresh: first, generation: 0, events: [{ name: 'session.created' }] };
  }

  private refresh(by: number, token: Token | undefined, arrives: boolean): Expected {
    if (!token) return NOTHING;
    if (!this.row) return { ...UNKNOWN, token };
    const earlier = this.row;
    const first = this.judge(token);
    if (first.kind === 'ahead') return { status: 401, verdict: first, code: 'token_not_valid', token, events: [] };
    if (first.kind === 'adopt') {
      const { server } = carryOut('adopt', earlier.server, token) as Outcome;
      this.row = { ...earlier, server };
    }
    const refreshed = this.refreshKnown(by, token, arrives);
    if (first.kind !== 'adopt') return refreshed;
    this.before = earlier;
    return { ...refreshed, adopted: first };
  }

  private judge(token: Token): Verdict {
    const { server, ends } = this.row as Row;
    return judge(this.policy, { ...server, confirmed: Math.max(server.confirmed, this.noted) }, token, ends);
  }

  private refreshKnown(by: number, token: Token, arrives: boolean): Expected {
    const row = this.row as Row;
    const verdict = this.judge(token);
    const done = carryOut(verdict.kind, row.server, token, this.handedOut.length);
    const events = this.eventsOf(verdict, token, by);
    if (!done) {
      this.close();
      return { status: 401, verdict, code: 'token_not_valid', token, events };
    }
    const isExtended = this.advance(verdict, done, token, by);
    const { generation } = verdict.kind === 'hold' ? token : done.server.current;
    this.accessTokens.push(generation);
    if (done.isNew) this.handedOut.push(done.server.current);
    if (done.answer && arrives) this.stored[by] = done.answer;
    const refreshed = { name: 'session.refreshed', rotated: done.isNew };
    return {
      status: 200,
      verdict,
      token,
      refresh: done.answer,
      generation,
      isExtended,
      events: [...events, refreshed],
    };
  }

  /** @returns whether the refresh extends the session */
  private advance(verdict: Verdict, done: Outcome, token: Token, by: number): boolean {
    const row = this.row as Row;
    const { extendBelow, updateLastLogin } = this.policy.config;
    if (done.isNew) {
      const isDue = !row.ends.isBound && (extendBelow === Infinity || (extendBelow > 0 && row.ends.isNear === true));
      this.before = row;
      this.row = { server: done.server, ends: isDue ? {} : row.ends, agent: agentOf(by) };
      return isDue;
    }
    // A token that stays current records who uses it.
    const agent = verdict.kind === 'keep' ? agentOf(by) : row.agent;
    // A verdict that does not confirm the generation notes it, and writes it after the answer.
    const isNoted =
      verdict.kind === 'renew' || verdict.kind === 'hold' || (verdict.kind === 'keep' && !updateLastLogin);
    if (isNoted && token.id === row.server.current.id) {
      this.note(token.generation);
      this.row = { ...row, agent };
    } else {
      this.row = { ...row, server: done.server, agent };
    }
    return false;
  }

  private eventsOf(verdict: Verdict, { id, generation }: Token, by: number): ExpectedEvent[] {
    const { server, agent } = this.row as Row;
    const parties = {
      presented: generation,
      current: server.current.generation,
      presenter: agentOf(by),
      other: agent,
    };
    switch (verdict.kind) {
      case 'replay':
        return [{ name: 'refresh.replayed', ...parties }];
      case 'hold':
        return id === server.current.id ? [] : [{ name: 'refresh.replayed', ...parties }];
      case 'recover':
        return [{ name: 'refresh.recovered', ...parties }];
      case 'reuse':
        return [...ending('reuse'), { name: 'refresh.reused', ...parties, reuse: verdict.reuse }];
      case 'expired':
        return [{ name: 'session.ended', reason: 'expired' }];
      case 'overdue':
      case 'adopt':
      case 'ahead':
      case 'keep':
      case 'renew':
      case 'rotate':
        return [];
    }
  }

  /** A token with another type, or with a wrong generation and the current `jti`, was never issued, so it matches no session. */
  private refreshForged(by: number, original: Token | undefined, forged: Forgery): Expected {
    if (!original) return NOTHING;
    const token = forged === 'generation' ? { ...original, generation: original.generation + 1 } : original;
    const isImpossible = forged === 'type' || (forged === 'generation' && original.id === this.row?.server.current.id);
    if (!this.row || isImpossible) return { ...UNKNOWN, token };
    // Who has our key can make two tokens with one `jti`. Here an id stands for one token.
    if (forged === 'generation' && this.judge(token).kind === 'adopt') return NOTHING;
    return this.refresh(by, token, false);
  }

  private refreshAsAnother(token: Token | undefined): Expected {
    if (!token || this.row?.ends.isPast) return NOTHING;
    if (!this.row) return { ...UNKNOWN, token };
    const isCurrent = token.id === this.row.server.current.id;
    const events = isCurrent ? this.end('mismatch') : [];
    return { status: 401, code: 'token_not_valid', token, events };
  }

  private use(access: number): Expected {
    // The model lets only the row expire. In reality the access token would have expired too.
    if (access < 0 || this.hasExpired || this.row?.ends.isPast) return NOTHING;
    if (!this.row) return { status: 401, code: 'token_not_valid', access, events: [] };
    this.note(this.accessTokens[access]);
    return { status: 200, access, events: [] };
  }

  private logOut(token: Token | undefined): Expected {
    if (!token) return NOTHING;
    if (!this.row || this.row.ends.isPast) return { ...UNKNOWN, token };
    return { status: 200, token, events: this.end('logout') };
  }

  private end(reason: string): ExpectedEvent[] {
    this.close();
    return ending(reason);
  }

  private close(): void {
    this.hasExpired = this.row?.ends.isPast ?? false;
    this.row = null;
  }

  private happen(what: Move['do']): void {
    if (!this.row) return;
    const { server, ends } = this.row;
    const graceOver = { ...server, graces: SETTLED };
    if (what === 'the grace passes') this.row = { ...this.row, server: { ...server, graces: server.graces + 1 } };
    if (what === 'the end comes near' && !ends.isPast)
      this.row = { ...this.row, server: graceOver, ends: { ...ends, isNear: true } };
    if (what === 'the end passes') this.row = { ...this.row, server: graceOver, ends: { ...ends, isPast: true } };
    if (what === 'uses are written') this.write();
    if (what === 'the database loses a generation' && this.before) {
      this.write();
      this.row = this.before;
      this.before = null;
    }
  }

  private note(generation: number): void {
    if (generation > this.noted) this.noted = this.unwritten = generation;
  }

  /** Writes what was noted, as the process does within a second. */
  write(): void {
    if (this.row) this.row = { ...this.row, server: use(this.row.server, this.unwritten) };
    this.unwritten = 0;
  }
}

/** The events when a session ends before its expiry, so that its access tokens are refused. */
function ending(reason: string): ExpectedEvent[] {
  return [
    { name: 'session.revoked', reason },
    { name: 'session.ended', reason },
  ];
}
