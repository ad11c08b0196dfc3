import { describe, expect, test } from '@jest/globals';
import { ClientModel } from '../../helpers/client-model.js';
import { CLIENT, type ClientRules } from '../../helpers/client-rules.js';
import { search } from '../../helpers/client-search.js';
import {
  endingOf,
  inFlight,
  recordOf,
  type Row,
  type Rows,
  SETTLED_AGE,
  type Token,
  tokenIn,
  used,
  type World,
} from '../../helpers/client-world.js';
import { SERVER, type ServerRules, verdictOn } from '../../helpers/server-rules.js';

/**
 * P2 with the client and with renderers: a thief never keeps access unnoticed. The thief has a copy of any token of the user.
 * Thief and user go on outside the grace, in any order, and any answer may be lost. It is noticed if the session ends or if
 * `refresh.reused` is emitted, and the user notices if the client says that the session has ended.
 */

const SESSION = 'A';
const MOVES = 6;

interface Theft {
  readonly world: World;
  /** The thief's token. */
  readonly stolen: Token;
  /** How often the user's client has refreshed. */
  readonly refreshes: number;
  /** After how many of these the thief had access for the last time. */
  readonly access: number;
  readonly isNoticed: boolean;
}

/** Every state between two refreshes that an honest client can reach, with every token that a thief may have copied. */
function thefts(transport: 'body' | 'cookie'): Theft[] {
  const { worlds } = search(new ClientModel({ transport, tabs: 2, killed: 1 }));
  const quiet = worlds.filter((world) => inFlight(world).length === 0 && world.rows[SESSION]?.age === SETTLED_AGE);
  return quiet.flatMap((world) => {
    const { current, parent } = (world.rows[SESSION] as Row).server;
    // Between the parent and the current generation lies a lost successor. Before the parent lie the superseded ones.
    const generations = [current.generation, parent?.generation ?? 0, current.generation - 0.5, -1];
    return [...new Set(generations)].map((generation): Theft => ({
      world,
      stolen: { session: SESSION, generation },
      refreshes: 0,
      access: 0,
      isNoticed: false,
    }));
  });
}

/** The same world when the grace is over. */
const later = (world: World): World => {
  const row = world.rows[SESSION];
  return row ? { ...world, rows: { ...world.rows, [SESSION]: { ...row, age: SETTLED_AGE } } } : world;
};

const isReuse = (rows: Rows, token: Token): boolean => {
  const row = rows[token.session];
  return row !== null && verdictOn(row, token) === 'reuse';
};

class Game {
  constructor(
    private readonly isCookie: boolean,
    private readonly server: ServerRules,
    private readonly client: ClientRules,
  ) {}

  *movesOf(theft: Theft): Generator<Theft> {
    const now = { ...theft, world: later(theft.world) };
    yield* this.thiefRefreshes(now);
    yield* this.ownerRefreshes(now);
    if (this.isCookie) yield* this.pagesAreRendered(now);
  }

  private *thiefRefreshes(theft: Theft): Generator<Theft> {
    const { world, stolen, refreshes } = theft;
    const { rows, answer } = this.server.refresh(world.rows, stolen, this.isCookie);
    const after = { ...theft, world: { ...world, rows }, isNoticed: theft.isNoticed || isReuse(world.rows, stolen) };
    yield after;
    if (answer.status !== 200) return;
    const token = answer.token ?? stolen;
    const got = { ...after, stolen: token, access: refreshes };
    yield got;
    yield { ...got, world: used(got.world, token) };
  }

  /** One of the user's tabs refreshes. Its answer is lost, or arrives and is used or not. */
  private *ownerRefreshes(theft: Theft): Generator<Theft> {
    const { world } = theft;
    const token = this.isCookie ? world.jar : tokenIn(world.stored);
    if (!token || !world.stored?.sessionId) return;
    const { rows, answer } = this.server.refresh(world.rows, token, this.isCookie);
    const after = { ...theft, world: { ...world, rows }, isNoticed: theft.isNoticed || isReuse(world.rows, token) };
    yield after;
    const meaning = this.client.meaningOfRefresh(answer);
    if (meaning === 'over' && this.client.afterRefusal(world.stored, world.stored) === 'end') {
      yield { ...after, world: { ...after.world, stored: endingOf(2, 'revoked') } };
    } else if (meaning === 'renewed') {
      const next = answer.token ?? token;
      const stored = recordOf(1, next);
      const jar = this.isCookie ? next : null;
      const got = { ...after, refreshes: theft.refreshes + 1, world: { ...after.world, stored, jar } };
      yield got;
      yield { ...got, world: used(got.world, next) };
    }
  }

  /** Either asks a renderer for a page, by the cookie. */
  private *pagesAreRendered(theft: Theft): Generator<Theft> {
    const { world, stolen, refreshes, isNoticed } = theft;
    const seen = this.server.renew(world.rows, stolen);
    const isRefused = !seen.access && isReuse(world.rows, stolen);
    const after = { ...theft, world: { ...world, rows: seen.rows }, isNoticed: isNoticed || isRefused };
    yield seen.access ? { ...after, access: refreshes, world: used(after.world, seen.access) } : after;
    const { jar } = world;
    const access = jar && this.server.renew(world.rows, jar).access;
    if (access) yield { ...theft, world: used(world, access) };
  }
}

/** Plays every order of moves, up to the moment in which the theft is noticed. */
function play(
  transport: 'body' | 'cookie',
  { server = SERVER, client = CLIENT }: { server?: ServerRules; client?: ClientRules } = {},
) {
  const game = new Game(transport === 'cookie', server, client);
  const keyOf = ({ world: { rows, stored, jar }, ...rest }: Theft) =>
    JSON.stringify([rows[SESSION], stored?.sessionId, stored?.generation, jar, rest]);
  let open = thefts(transport);
  let most = 0;
  const ended: Theft[] = [];
  for (let move = 0; move < MOVES; move++) {
    const next = new Map<string, Theft>();
    for (const theft of open)
      for (const after of game.movesOf(theft)) {
        if (after.isNoticed) ended.push(after);
        else next.set(keyOf(after), after);
        // Access in the move that is noticed does not count: the move was refused.
        if (!after.isNoticed) most = Math.max(most, after.access);
      }
    open = [...next.values()];
  }
  return { most, ended, game };
}

describe.each(['body', 'cookie'] as const)('P2, %s', (transport) => {
  test('the thief is refused and noticed after the second refresh of the client, whatever else happens', () => {
    const { most, ended } = play(transport);
    expect(most).toBe(1);
    expect(ended.length).toBeGreaterThan(100);
  });

  test('the next refresh of the client says that the session has ended', () => {
    const { ended, game } = play(transport);
    const over = ended.filter(({ world }) => !world.rows[SESSION] && world.stored?.sessionId);
    expect(over.length).toBeGreaterThan(10);
    const isTold = (theft: Theft) => [...game.movesOf(theft)].some(({ world }) => world.stored?.ended === 'revoked');
    expect(over.every(isTold)).toBe(true);
  });

  test.each<[rule: string, Partial<ClientRules>]>([
    ['if a refusal ended nothing', { meaningOfRefresh: ({ status }) => (status === 200 ? 'renewed' : 'later') }],
    ['if the client only tried again', { afterRefusal: () => 'retry' }],
  ])('the user would never know %s', (_, rules) => {
    const { ended, game } = play(transport, { client: { ...CLIENT, ...rules } });
    const over = ended.filter(({ world }) => !world.rows[SESSION] && world.stored?.sessionId);
    expect(over.length).toBeGreaterThan(10);
    expect(over.some((theft) => [...game.movesOf(theft)].some(({ world }) => world.stored?.ended))).toBe(false);
  });
});

test('the thief would go on unnoticed if renewal accepted superseded tokens', () => {
  const renew: ServerRules['renew'] = (rows, access) => (rows[SESSION] ? { rows, access } : { rows });
  expect(play('cookie', { server: { ...SERVER, renew } }).most).toBeGreaterThan(1);
});
