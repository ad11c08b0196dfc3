import { describe, expect, test } from '@jest/globals';
import type { Verdict } from '../../../lib/session/policy.js';
import {
  carryOut,
  judge,
  loggedIn,
  type Outcome,
  policyOf,
  type Server,
  SETTLED,
  type Token,
  use,
} from '../../helpers/rotation-model.js';

/** An exhaustive search of a small model of rotation, in which the server's part is the project's own `judge`. */

/**
 * What the server does with a refresh token.
 * @returns null if the session ends
 */
type Refresh = (server: Server, token: Token) => Outcome | null;

const policy = policyOf({ refreshTokenLifetime: '1h' });
const refresh: Refresh = (server, token) => carryOut(judge(policy, server, token).kind, server, token);

/** The same server with one verdict replaced by another. */
const without =
  (kind: Verdict['kind'], instead: Verdict['kind']): Refresh =>
  (server, token) => {
    const verdict = judge(policy, server, token).kind;
    return carryOut(verdict === kind ? instead : verdict, server, token);
  };

const withoutNewGrace: Refresh = (server, token) => {
  const done = refresh(server, token);
  const isRecovery = judge(policy, server, token).kind === 'recover';
  return done && isRecovery ? { ...done, server: { ...done.server, graces: SETTLED } } : done;
};

/** The same server, if it rotated and recovered as soon as the grace is over. */
const withoutPause: Refresh = (server, token) =>
  refresh({ ...server, graces: server.graces < 1 ? server.graces : SETTLED }, token);

/** An honest client: its stored token, every token it has ever stored, its pending requests and their answers. */
interface World {
  readonly server: Server;
  readonly stored: Token;
  readonly held: readonly Token[];
  readonly requests: readonly Message[];
  readonly answers: readonly Message[];
}

/** A request or its answer. Both have arrived or are lost before the second tick. */
interface Message {
  readonly token: Token;
  readonly isOld: boolean;
}

/** How much of the grace passes in a tick. */
const TICK = 0.5;

const IN_FLIGHT = 3;
const GENERATIONS = 5;
const FIRST: Token = { id: 0, generation: 0 };
const START: World = { server: loggedIn(FIRST), stored: FIRST, held: [FIRST], requests: [], answers: [] };

function* movesOf(world: World, serve: Refresh): Generator<World | 'logged out'> {
  const { server, stored, held, requests, answers } = world;
  if (requests.length + answers.length < IN_FLIGHT)
    yield { ...world, requests: [...requests, { token: stored, isOld: false }] };
  yield { ...world, server: use(server, stored.generation) };
  for (const [at, { token, isOld }] of requests.entries()) {
    const rest = requests.toSpliced(at, 1);
    yield { ...world, requests: rest };
    const done = serve(server, token);
    if (!done) yield 'logged out';
    else if (done.server.current.generation <= GENERATIONS) {
      const answer = done.answer && { token: done.answer, isOld };
      yield { ...world, server: done.server, requests: rest, answers: answer ? [...answers, answer] : answers };
    }
  }
  for (const [at, { token }] of answers.entries()) {
    const rest = answers.toSpliced(at, 1);
    yield { ...world, answers: rest };
    // It never replaces a newer generation with an older one.
    if (token.generation > stored.generation) yield { ...world, answers: rest, stored: token, held: [...held, token] };
  }
  if ([...requests, ...answers].some(({ isOld }) => isOld)) return;
  const graces = Math.min(server.graces + TICK, SETTLED);
  yield { ...world, server: { ...server, graces }, requests: requests.map(aged), answers: answers.map(aged) };
}

const aged = (message: Message): Message => ({ ...message, isOld: true });
const keyOfMessage = ({ token, isOld }: Message) => `${token.id}${isOld ? '!' : ''}`;

const keyOf = (world: World): string =>
  JSON.stringify({
    ...world,
    requests: world.requests.map(keyOfMessage).sort(),
    answers: world.answers.map(keyOfMessage).sort(),
  });

/** Returns every state that the client can reach, up to the first in which it is logged out. */
function explore(serve: Refresh): { worlds: World[]; loggedOut: boolean } {
  const worlds = [START];
  const seen = new Set(worlds.map(keyOf));
  for (const world of worlds) {
    for (const next of movesOf(world, serve)) {
      if (next === 'logged out') return { worlds, loggedOut: true };
      const key = keyOf(next);
      if (!seen.has(key)) {
        seen.add(key);
        worlds.push(next);
      }
    }
  }
  return { worlds, loggedOut: false };
}

describe('P1: an honest client is never logged out', () => {
  test('whatever is lost, repeated or delayed within the grace', () => {
    const { worlds, loggedOut } = explore(refresh);
    expect(loggedOut).toBe(false);
    expect(worlds.length).toBeGreaterThan(500);
  });

  test.each([
    ['renew', without('renew', 'rotate')],
    ['replay', without('replay', 'reuse')],
    ['recover', without('recover', 'reuse')],
  ])('it would be without %s', (_, serve) => {
    expect(explore(serve).loggedOut).toBe(true);
  });

  test('would be logged out if recovery did not start a new grace', () => {
    expect(explore(withoutNewGrace).loggedOut).toBe(true);
  });

  test('would be logged out if the server rotated and recovered while late answers may still arrive', () => {
    expect(explore(withoutPause).loggedOut).toBe(true);
  });
});

/** The tokens of both parties. A turn lasts until the other party gets an answer to a refresh. */
interface Theft {
  readonly server: Server;
  readonly held: Readonly<Record<Party, Token>>;
  readonly mover?: Party;
  readonly turns: number;
}

type Party = 'thief' | 'owner';
const PARTIES: readonly Party[] = ['thief', 'owner'];
const MOVES = 6;

/** Every state after the grace that an honest client can reach, with a thief's copy of each token it has held. */
const thefts = (): Theft[] =>
  explore(refresh)
    .worlds.filter(
      ({ server, requests, answers }) => server.graces === SETTLED && requests.length + answers.length === 0,
    )
    .flatMap(({ server, stored, held }) =>
      held.map((copy): Theft => ({ server, held: { thief: copy, owner: stored }, turns: 0 })),
    );

/** One party refreshes after the grace. Its answer is lost, or arrives and its access token is used or not. */
function* movesOfBoth(theft: Theft, serve: Refresh): Generator<Theft> {
  for (const mover of PARTIES) {
    const done = serve({ ...theft.server, graces: SETTLED }, theft.held[mover]);
    if (!done?.answer) continue;
    const { server, answer } = done;
    const turns = theft.turns + (mover === theft.mover ? 0 : 1);
    const answered = { held: { ...theft.held, [mover]: answer }, mover, turns };
    yield { ...theft, server };
    yield { ...answered, server };
    yield { ...answered, server: use(server, answer.generation) };
  }
}

/**
 * Plays every order of `MOVES` moves that `choose` allows.
 * @returns the maximum number of turns with an answer
 */
function mostTurns(serve: Refresh, choose: (before: Theft, after: Theft) => boolean = () => true): number {
  let states = thefts();
  let most = 0;
  for (let move = 0; move < MOVES; move++) {
    const after = states.flatMap((theft) => [...movesOfBoth(theft, serve)].filter((next) => choose(theft, next)));
    states = [...new Map(after.map((theft) => [JSON.stringify(theft), theft])).values()];
    most = Math.max(most, ...states.map(({ turns }) => turns));
  }
  return most;
}

describe('P2: a thief and an honest client who both go on refreshing outside the grace end the session by the third move', () => {
  const inTurn = (before: Theft, after: Theft) => after.turns > before.turns;

  test('refuses the third move if both take turns, from every state, with every copied token and whoever begins', () => {
    expect(thefts().length).toBeGreaterThan(100);
    expect(mostTurns(refresh, inTurn)).toBe(2);
  });

  test('answers at most two turns in any order, whatever answers are lost', () => {
    expect(mostTurns(refresh)).toBe(2);
  });

  test('refuses the other party at once if whoever refreshes also uses the access token', () => {
    const isUsed = ({ server }: Theft) => server.confirmed === server.current.generation;
    expect(mostTurns(refresh, (before, after) => inTurn(before, after) && isUsed(after))).toBe(1);
  });

  test.each([
    ['if the lost successor stayed alive', without('recover', 'replay')],
    ['if every superseded token were recovered', without('reuse', 'recover')],
  ])('both would go on for good %s', (_, serve) => {
    expect(mostTurns(serve, inTurn)).toBe(MOVES);
  });
});
