import { describe, expect, test } from '@jest/globals';
import { OptionFaults } from '../../../lib/option-check.js';
import { readPolicies } from '../../../lib/session/session.options.js';
import { type RotationState, SessionPolicyService, type Verdict } from '../../../lib/session/session-policy.service.js';

/**
 * An exhaustive search of a small model of rotation, in which the server's part is the project's own `judge`. A token is the
 * number that stands for its `jti`, with its generation. Time is a flag: whether the grace of the last rotation is running.
 */
interface Token {
  readonly id: number;
  readonly generation: number;
}

interface Server {
  readonly current: Token;
  readonly parent: Token | null;
  readonly confirmed: number;
  readonly inGrace: boolean;
}

type Judge = (server: Server, token: Token) => Verdict['kind'];

const GRACE = 10_000;
const NOW = 1_000_000;
const [policy] = [
  ...readPolicies({ T: { refreshTokenLifetime: '1h', reuseGrace: GRACE / 1000 } }, 300_000, new OptionFaults()),
].map(([type, config]) => new SessionPolicyService(type, config));

const judge: Judge = ({ current, parent, confirmed, inGrace }, token) => {
  const row: RotationState = {
    generation: current.generation,
    refreshJti: String(current.id),
    parentGeneration: parent?.generation ?? null,
    parentJti: parent && String(parent.id),
    confirmedGeneration: confirmed,
    rotatedAt: new Date(inGrace ? NOW : NOW - GRACE),
    expiresAt: new Date(NOW + 1_000_000),
    absoluteExpiresAt: null,
  };
  return policy.judge(row, { jti: String(token.id), generation: token.generation }, NOW).kind;
};

/** What the service does by each verdict: the row after it, and the token that it answers; null where the session ends. */
function carryOut(
  kind: Verdict['kind'],
  server: Server,
  token: Token,
  recoverKeepsTime = false,
): { server: Server; answer: Token } | null {
  const next = { id: server.current.id + 1, generation: server.current.generation + 1 };
  switch (kind) {
    case 'rotate':
      return { server: { current: next, parent: token, confirmed: token.generation, inGrace: true }, answer: next };
    case 'recover':
      return { server: { ...server, current: next, inGrace: !recoverKeepsTime }, answer: next };
    case 'renew':
      return { server: { ...server, confirmed: Math.max(server.confirmed, token.generation) }, answer: server.current };
    case 'replay':
      return { server, answer: server.current };
    case 'reuse':
    case 'expired':
    case 'keep':
      return null;
  }
}

const use = (server: Server, { generation }: Token): Server =>
  generation === server.current.generation ? { ...server, confirmed: Math.max(server.confirmed, generation) } : server;

const START: Server = { current: { id: 0, generation: 0 }, parent: null, confirmed: 0, inGrace: false };

/** An honest client: what it has stored, its requests on their way, and the answers to them. */
interface World {
  readonly server: Server;
  readonly stored: Token;
  readonly requests: readonly Token[];
  readonly answers: readonly Token[];
}

const IN_FLIGHT = 3;
const GENERATIONS = 5;

function* movesOf(world: World, decide: Judge, recoverKeepsTime: boolean): Generator<World | 'logged out'> {
  const { server, stored, requests, answers } = world;
  if (requests.length + answers.length < IN_FLIGHT) yield { ...world, requests: [...requests, stored] };
  yield { ...world, server: use(server, stored) };
  for (const [at, token] of requests.entries()) {
    const rest = requests.toSpliced(at, 1);
    yield { ...world, requests: rest };
    const done = carryOut(decide(server, token), server, token, recoverKeepsTime);
    if (!done) yield 'logged out';
    else if (done.server.current.generation <= GENERATIONS)
      yield { ...world, server: done.server, requests: rest, answers: [...answers, done.answer] };
  }
  for (const [at, answer] of answers.entries()) {
    const rest = answers.toSpliced(at, 1);
    yield { ...world, answers: rest };
    // It never puts an older generation over a newer.
    yield { ...world, answers: rest, stored: answer.generation > stored.generation ? answer : stored };
  }
  // No delay is longer than the grace: what was on its way when it began has arrived or is lost when it ends.
  if (requests.length + answers.length === 0) yield { ...world, server: { ...server, inGrace: false } };
}

/** @returns how many worlds there are, and whether the honest client is logged out in one of them */
function explore(decide: Judge, recoverKeepsTime = false): { worlds: number; loggedOut: boolean } {
  const queue: World[] = [{ server: START, stored: START.current, requests: [], answers: [] }];
  const seen = new Set(queue.map((world) => JSON.stringify(world)));
  for (const world of queue) {
    for (const next of movesOf(world, decide, recoverKeepsTime)) {
      if (next === 'logged out') return { worlds: seen.size, loggedOut: true };
      const key = JSON.stringify({
        ...next,
        requests: next.requests.map(({ id }) => id).sort(),
        answers: next.answers.map(({ id }) => id).sort(),
      });
      if (!seen.has(key)) {
        seen.add(key);
        queue.push(next);
      }
    }
  }
  return { worlds: seen.size, loggedOut: false };
}

const without =
  (kind: Verdict['kind'], instead: Verdict['kind']): Judge =>
  (server, token) => {
    const verdict = judge(server, token);
    return verdict === kind ? instead : verdict;
  };

describe('P1: an honest client is never logged out', () => {
  test('whatever is lost, repeated or delayed inside the grace', () => {
    const { worlds, loggedOut } = explore(judge);
    expect(loggedOut).toBe(false);
    expect(worlds).toBeGreaterThan(500);
  });

  test.each([
    ['renew', without('renew', 'rotate')],
    ['replay', without('replay', 'reuse')],
    ['recover', without('recover', 'reuse')],
  ])('it would be without %s', (_, decide) => {
    expect(explore(decide).loggedOut).toBe(true);
  });

  test('it would be if recovery began no new grace', () => {
    expect(explore(judge, true).loggedOut).toBe(true);
  });
});

describe('P2: a thief and an honest client who both go on refreshing outside the grace end the session by the third move', () => {
  /** From every state that an honest client can have brought about, with the thief's copy of what it has stored. */
  const before: Server[] = [
    START,
    { current: { id: 2, generation: 2 }, parent: { id: 0, generation: 1 }, confirmed: 1, inGrace: false },
  ];
  const choices = [false, true];
  const runs = before.flatMap((server) =>
    choices.flatMap((thiefFirst) =>
      choices.flatMap((first) => choices.map((second) => ({ server, thiefFirst, uses: [first, second, true] }))),
    ),
  );

  test.each(runs)('%j', ({ server: start, thiefFirst, uses }) => {
    let server = start;
    const held = { thief: start.current, owner: start.current };
    let moves = 0;
    for (const doesUse of uses) {
      const who = (moves % 2 === 0) === thiefFirst ? 'thief' : 'owner';
      moves++;
      const outside = { ...server, inGrace: false };
      const done = carryOut(judge(outside, held[who]), outside, held[who]);
      if (!done) return;
      held[who] = done.answer;
      server = doesUse ? use(done.server, done.answer) : done.server;
    }
    throw new Error(`alive after ${moves} moves`);
  });
});
