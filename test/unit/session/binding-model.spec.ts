import { describe, expect, test } from '@jest/globals';
import { bindingOf, demandOf, isFirstProof, type SenderProof } from '../../../lib/session/binding.js';
import { carryOut, judge, loggedIn, policyOf, type Server, SETTLED, type Token } from '../../helpers/rotation-model.js';

/**
 * An exhaustive search of a small model of a bound session. The verdicts are the project's own: `judge` for the token, and
 * `demandOf` for the proof. What follows from them is written again here, from the design.
 */

const OWN: SenderProof = { kind: 'dbsc', thumbprint: 'A'.repeat(43) };
const OTHERS: SenderProof = { kind: 'dbsc', thumbprint: 'B'.repeat(43) };

const NOW = 1_000_000_000;
const WITHIN = 120_000;
const PREFER = policyOf({ refreshTokenLifetime: '1h', binding: 'prefer', bindWithin: '2m' });
const REQUIRE = policyOf({ refreshTokenLifetime: '1h', binding: 'require', bindWithin: '2m' });

/** The owner's browser, and the session. `isLate`: the time in which a key may be registered has passed. */
interface World {
  readonly server: Server;
  readonly binding: string | null;
  readonly pendingBinding: string | null;
  readonly isLate: boolean;
  readonly stored: Token;
  /** Every token that the owner has had. A thief may have a copy of each. */
  readonly held: readonly Token[];
  /** Whether the browser knows that its key is registered. From then on, it sends proofs. */
  readonly knows: boolean;
  readonly requests: readonly Message[];
  readonly answers: readonly Message[];
}

interface Message {
  /** Undefined for a registration. */
  readonly token?: Token;
  readonly isProven: boolean;
  readonly isOld: boolean;
}

const FIRST: Token = { id: 0, generation: 0 };
const START: World = {
  server: loggedIn(FIRST),
  binding: null,
  pendingBinding: null,
  isLate: false,
  stored: FIRST,
  held: [FIRST],
  knows: false,
  requests: [],
  answers: [],
};
const IN_FLIGHT = 2;
const GENERATIONS = 3;
const TICK = 0.5;

type Demand = typeof demandOf;
type Policy = typeof PREFER;

/** What the server decides about a proof. */
function demand(world: World, policy: Policy, proof: SenderProof | undefined, ask: Demand) {
  const createdAt = new Date(NOW - (world.isLate ? WITHIN : 0));
  return ask({ ...world, createdAt }, policy, proof, NOW);
}

/** The server handles a refresh. Returns null if the session ends, and undefined if it refuses and changes nothing. */
function refresh(world: World, policy: Policy, token: Token, proof: SenderProof | undefined, ask: Demand) {
  if (demand(world, policy, proof, ask) !== 'met') return undefined;
  const done = carryOut(judge(policy, world.server, token).kind, world.server, token);
  if (!done) return null;
  const binding = isFirstProof(world, proof) && proof ? bindingOf(proof) : world.binding;
  return { world: { ...world, server: done.server, binding }, answer: done.answer };
}

/** What can happen next. A refusal that changes nothing is no move, unless it logs the owner out. */
function* movesOf(world: World, policy: Policy, ask: Demand): Generator<World | 'logged out'> {
  const { stored, knows, requests, answers } = world;
  if (requests.length + answers.length < IN_FLIGHT) {
    // A browser whose key is registered may still have an ordinary refresh under way.
    for (const isProven of knows ? [true, false] : [false])
      yield { ...world, requests: [...requests, { token: stored, isProven, isOld: false }] };
    if (!world.isLate) yield { ...world, requests: [...requests, { isProven: true, isOld: false }] };
  }
  for (const [at, request] of requests.entries()) {
    const rest = { ...world, requests: requests.toSpliced(at, 1) };
    yield rest;
    if (!request.token) {
      if (world.isLate) continue;
      const registered = { ...rest, pendingBinding: bindingOf(OWN) };
      yield { ...registered, answers: [...answers, request] };
      continue;
    }
    const done = refresh(rest, policy, request.token, request.isProven ? OWN : undefined, ask);
    // Under `require`, a browser that has not registered its key in time has to log in again.
    if (done === null) yield 'logged out';
    if (!done || done.world.server.current.generation > GENERATIONS) continue;
    const { answer } = done;
    yield { ...done.world, answers: answer ? [...answers, { ...request, token: answer }] : answers };
  }
  for (const [at, { token }] of answers.entries()) {
    const rest = { ...world, answers: answers.toSpliced(at, 1) };
    yield rest;
    if (!token) yield { ...rest, knows: true };
    else if (token.generation > stored.generation) yield { ...rest, stored: token, held: [...world.held, token] };
  }
  if (requests.length === 0) yield { ...world, isLate: true };
  if ([...requests, ...answers].some(({ isOld }) => isOld)) return;
  const aged = (message: Message) => ({ ...message, isOld: true });
  const server = { ...world.server, graces: Math.min(world.server.graces + TICK, SETTLED) };
  yield { ...world, server, requests: requests.map(aged), answers: answers.map(aged) };
}

const keyOf = (world: World): string => {
  const sorted = (messages: readonly Message[]) => messages.map((message) => JSON.stringify(message)).sort();
  return JSON.stringify({ ...world, requests: sorted(world.requests), answers: sorted(world.answers) });
};

/** Returns every state that the owner's browser can reach, and whether it is logged out in any of them. */
function explore(policy: Policy, ask: Demand = demandOf): { worlds: World[]; loggedOut: boolean } {
  const worlds = [START];
  const seen = new Set(worlds.map(keyOf));
  let loggedOut = false;
  for (const world of worlds) {
    for (const next of movesOf(world, policy, ask)) {
      if (next === 'logged out') {
        loggedOut = true;
        continue;
      }
      const key = keyOf(next);
      if (!seen.has(key)) {
        seen.add(key);
        worlds.push(next);
      }
    }
  }
  return { worlds, loggedOut };
}

/** Whether a thief with a copy of any of the owner's tokens gets an answer in any of these states. */
function thiefGetsAnswer(worlds: readonly World[], policy: Policy, ask: Demand = demandOf): boolean {
  return worlds.some((world) =>
    world.held.some((copy) =>
      [undefined, OTHERS, { ...OWN, kind: 'dpop' as const }].some((proof) => refresh(world, policy, copy, proof, ask)),
    ),
  );
}

const EXPLORED = new Map([PREFER, REQUIRE].map((policy) => [policy, explore(policy)]));
const exploredWith = (policy: Policy) => EXPLORED.get(policy) as ReturnType<typeof explore>;

describe.each([
  ['prefer', PREFER],
  ['require', REQUIRE],
])('with `binding: %s`', (_, policy) => {
  const { worlds, loggedOut } = exploredWith(policy);
  const bound = worlds.filter(({ binding }) => binding !== null);

  test('the owner is never logged out, whatever is lost, repeated or late, bound or not', () => {
    expect(loggedOut).toBe(false);
    expect(bound.length).toBeGreaterThan(200);
    expect(worlds.length - bound.length).toBeGreaterThan(200);
  });

  test('a browser that knows its key can always refresh', () => {
    const known = worlds.filter(({ knows }) => knows);
    expect(known.length).toBeGreaterThan(200);
    expect(known.every((world) => refresh(world, policy, world.stored, OWN, demandOf))).toBe(true);
  });

  test('a thief without the key gets nothing from a bound session, with no copy in any state', () => {
    expect(thiefGetsAnswer(bound, policy)).toBe(false);
  });

  test('a thief would get tokens if the binding were not compared', () => {
    expect(thiefGetsAnswer(bound, policy, () => 'met')).toBe(true);
  });
});

test('an unbound session refreshes as ever with `prefer`, and only within the window with `require`', () => {
  const unbound = (policy: Policy) =>
    exploredWith(policy).worlds.filter(
      ({ binding, pendingBinding, isLate }) => isLate && binding === null && !pendingBinding,
    );
  expect(unbound(PREFER).every((world) => refresh(world, PREFER, world.stored, undefined, demandOf))).toBe(true);
  expect(unbound(REQUIRE).some((world) => refresh(world, REQUIRE, world.stored, undefined, demandOf))).toBe(false);
  expect(unbound(REQUIRE).length).toBeGreaterThan(10);
});

test('the owner needs refusals that change nothing: their own ordinary refresh may arrive after the first proof', () => {
  const late = exploredWith(PREFER).worlds.filter(({ binding, requests }) =>
    requests.some(({ token, isProven }) => binding !== null && token && !isProven),
  );
  expect(late.length).toBeGreaterThan(10);
  expect(late.some((world) => refresh(world, PREFER, world.stored, undefined, demandOf))).toBe(false);
});
