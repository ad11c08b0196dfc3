import { describe, expect, test } from '@jest/globals';
import type { Verdict } from '../../../lib/session/policy.js';
import {
  loggedIn,
  policyOf,
  refreshFully,
  type Server,
  SETTLED,
  type Token,
  use,
} from '../../helpers/rotation-model.js';

/**
 * An exhaustive search of a session whose database loses commits: the row goes back to what it was some commits ago, and the
 * client keeps the tokens that it was given. The server's part is the project's own `judge`.
 */

/** A commit is a rotation, a recovery or the note that a generation was used. */
const MAX_LOST = 2;
const GENERATIONS = 4;
const FIRST: Token = { id: 0, generation: 0 };

interface World {
  readonly server: Server;
  /** The row before each of the last commits, the latest first. */
  readonly past: readonly Server[];
  /** The token that the client stores. */
  readonly stored: Token;
  /** How many commits may still be lost, and how many generations the last fail-over has lost. */
  readonly mayLose: number;
  readonly lost: number;
}

interface Step {
  readonly world: World;
  /** The verdicts on the refresh of this step. */
  readonly verdicts: readonly Verdict['kind'][];
}

const policy = policyOf({ refreshTokenLifetime: '1h' });

function committed(world: World, server: Server): World {
  if (JSON.stringify(server) === JSON.stringify(world.server)) return world;
  return { ...world, server, past: [world.server, ...world.past].slice(0, MAX_LOST) };
}

function* stepsOf(world: World): Generator<Step> {
  const { server, past, stored, mayLose } = world;
  // Ids are never used again, although the row has forgotten some.
  const id = Math.max(server.current.id, stored.id, ...past.map(({ current }) => current.id)) + 1;
  const { done, verdicts } = refreshFully(policy, server, stored, id);
  if (done && done.server.current.generation <= GENERATIONS) {
    const after = committed({ ...world, lost: 0 }, done.server);
    const isRefused = verdicts.at(-1) === 'ahead';
    yield { world: { ...after, stored: isRefused ? stored : (done.answer ?? stored) }, verdicts };
    // The answer is lost.
    yield { world: after, verdicts };
  } else if (!done) yield { world, verdicts };
  yield { world: committed(world, use(server, stored.generation)), verdicts: [] };
  yield { world: { ...world, server: { ...server, graces: Math.min(server.graces + 1, SETTLED) } }, verdicts: [] };
  for (let count = 1; count <= Math.min(mayLose, past.length); count++) {
    const before = past[count - 1];
    const lost = server.current.generation - before.current.generation;
    // Time passes on the new primary, too.
    const restored = { ...before, graces: Math.max(before.graces, server.graces) };
    yield { world: { ...world, server: restored, past: [], mayLose: mayLose - count, lost }, verdicts: [] };
  }
}

function explore(mayLose: number) {
  const worlds: World[] = [{ server: loggedIn(FIRST), past: [], stored: FIRST, mayLose, lost: 0 }];
  const seen = new Set(worlds.map((world) => JSON.stringify(world)));
  const verdicts = new Map<Verdict['kind'], World[]>();
  for (const world of worlds) {
    for (const step of stepsOf(world)) {
      for (const kind of step.verdicts) verdicts.set(kind, [...(verdicts.get(kind) ?? []), world].slice(-1000));
      const key = JSON.stringify(step.world);
      if (seen.has(key)) continue;
      seen.add(key);
      worlds.push(step.world);
    }
  }
  return { worlds, verdicts };
}

describe('an honest client of a database that loses commits', () => {
  test('goes on after the loss of one commit, whatever it was', () => {
    const { worlds, verdicts } = explore(1);
    expect(worlds.length).toBeGreaterThan(100);
    expect(verdicts.get('adopt')?.length).toBeGreaterThan(10);
    for (const kind of ['reuse', 'ahead'] as const) expect(verdicts.get(kind) ?? []).toEqual([]);
  });

  test('never ends its session, and is refused only if more than one rotation was lost', () => {
    const { verdicts } = explore(MAX_LOST);
    expect(verdicts.get('reuse') ?? []).toEqual([]);
    const refused = verdicts.get('ahead') ?? [];
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.filter(({ stored, server }) => stored.generation < server.current.generation + 2)).toEqual([]);
  });
});
