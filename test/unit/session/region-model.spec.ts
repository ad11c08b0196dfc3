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
 * An exhaustive search of a session in two regions. The home region commits, and the other one gets a copy of its row later. The
 * search shows which rules of docs/regions.md are needed, and what a lost region costs. The server's part is the project's own
 * `judge`.
 */

const FIRST: Token = { id: 0, generation: 0 };
const GENERATIONS = 3;
const policy = policyOf({ refreshTokenLifetime: '1h' });

/** Which region takes the refreshes of a user: the home alone, until it is lost; or each region, by its own copy. */
type Rule = 'home' | 'each';
type Region = 'home' | 'other';

interface World {
  readonly home: Server;
  /** The copy in the other region. After the home is lost, the row. */
  readonly other: Server;
  readonly isLost: boolean;
  readonly stored: Token;
  /** The token of a thief, who has copied the client's token at some time. */
  readonly stolen?: Token;
  /** How many commits the copy may be behind. */
  readonly behind: number;
}

interface Step {
  readonly world: World;
  readonly verdicts: readonly Verdict['kind'][];
  readonly party?: 'client' | 'thief';
}

const newId = ({ home, other, stored, stolen = FIRST }: World) =>
  Math.max(home.current.id, other.current.id, stored.id, stolen.id) + 1;

const written = (world: World, region: Region, row: Server): World => {
  if (region === 'other' || world.isLost) return { ...world, other: row };
  return { ...world, home: row, behind: world.behind + 1 };
};

function* stepsOf(world: World, rule: Rule): Generator<Step> {
  const { home, other, isLost, stored, stolen, behind } = world;
  const regions: Region[] = rule === 'each' && !isLost ? ['home', 'other'] : [isLost ? 'other' : 'home'];
  for (const region of regions) {
    const row = world[region];
    for (const party of ['client', 'thief'] as const) {
      const token = party === 'client' ? stored : stolen;
      if (!token) continue;
      const { done, verdicts } = refreshFully(policy, row, token, newId(world));
      if (!done) yield { world, verdicts, party };
      else if (done.server.current.generation <= GENERATIONS) {
        const after = done.server === row ? world : written(world, region, done.server);
        const got = verdicts.at(-1) === 'ahead' ? token : (done.answer ?? token);
        yield { world: { ...after, [party === 'client' ? 'stored' : 'stolen']: got }, verdicts, party };
        // The answer is lost.
        if (party === 'client') yield { world: after, verdicts, party };
      }
    }
    const used = use(row, stored.generation);
    if (used !== row) yield { world: written(world, region, used), verdicts: [] };
  }
  if (!stolen) yield { world: { ...world, stolen: stored }, verdicts: [] };
  if (!isLost && behind > 0) yield { world: { ...world, other: home, behind: 0 }, verdicts: [] };
  if (!isLost && rule === 'home') yield { world: { ...world, isLost: true, behind: 0 }, verdicts: [] };
  const later = (row: Server): Server => ({ ...row, graces: Math.min(row.graces + 1, SETTLED) });
  yield { world: { ...world, home: later(home), other: later(other) }, verdicts: [] };
}

/** Returns every step that is possible. The copy is at most `maxBehind` commits behind, or else it is made before the next one. */
function explore(rule: Rule, { maxBehind, withThief = false }: { maxBehind: number; withThief?: boolean }) {
  const row = loggedIn(FIRST);
  const worlds: World[] = [{ home: row, other: row, isLost: false, stored: FIRST, behind: 0 }];
  const seen = new Set(worlds.map((world) => JSON.stringify(world)));
  const steps: (Step & { readonly from: World })[] = [];
  for (const world of worlds) {
    for (const step of stepsOf(world, rule)) {
      if (step.world.behind > maxBehind || (step.world.stolen && !withThief)) continue;
      steps.push({ ...step, from: world });
      const key = JSON.stringify(step.world);
      if (seen.has(key)) continue;
      seen.add(key);
      worlds.push(step.world);
    }
  }
  return { worlds, steps };
}

/** Lets the owner and the thief refresh in turn, with long pauses, and tells whether the server ends the session. */
function endsInTurns(start: World): boolean {
  let { stored, stolen, other: row } = start;
  for (let turn = 0; turn < 6; turn++) {
    const isOwner = turn % 2 === 0;
    const token = isOwner ? stored : (stolen as Token);
    const id = newId({ ...start, other: row, stored, stolen });
    const { done, verdicts } = refreshFully(policy, { ...row, graces: SETTLED }, token, id);
    if (!done) return true;
    // The owner's client takes that for the end of its session, and asks for a login.
    if (isOwner && verdicts.includes('ahead')) return false;
    row = done.server;
    if (isOwner) stored = done.answer ?? token;
    else if (!verdicts.includes('ahead')) stolen = done.answer ?? token;
  }
  return false;
}

const kindsIn = (steps: readonly Step[]) => new Set(steps.flatMap(({ verdicts }) => verdicts));

describe('a session of a user whose home region takes every refresh', () => {
  test('survives the loss of the region, if the copy lacks one rotation', () => {
    const { worlds, steps } = explore('home', { maxBehind: 1 });
    expect(worlds.filter(({ isLost }) => isLost).length).toBeGreaterThan(50);
    expect(kindsIn(steps)).toContain('adopt');
    expect([...kindsIn(steps)].filter((kind) => kind === 'reuse' || kind === 'ahead')).toEqual([]);
  });

  test('needs a new login if the copy lacks more, and never looks stolen', () => {
    const { steps } = explore('home', { maxBehind: 3 });
    expect(kindsIn(steps)).not.toContain('reuse');
    const refused = steps.filter(({ verdicts }) => verdicts.includes('ahead'));
    expect(refused.length).toBeGreaterThan(0);
    for (const { from } of refused) {
      expect(from.isLost).toBe(true);
      expect(from.stored.generation).toBeGreaterThanOrEqual(from.other.current.generation + 2);
    }
  });

  test('ends if a thief uses a token that the copy takes for the current one', () => {
    const { worlds } = explore('home', { maxBehind: 1, withThief: true });
    const both = worlds.filter(({ isLost, stolen, stored }) => isLost && stolen && stolen.id !== stored.id);
    expect(both.length).toBeGreaterThan(100);
    expect(both.filter((world) => !endsInTurns(world))).toEqual([]);
  });

  test('leaves the thief in, and logs the owner out, if the copy lacks more', () => {
    const { worlds } = explore('home', { maxBehind: 2, withThief: true });
    const undetected = worlds.filter(
      (world) => world.isLost && world.stolen && world.stolen.id !== world.stored.id && !endsInTurns(world),
    );
    expect(undetected.length).toBeGreaterThan(0);
    expect(undetected.filter(({ stored, other }) => stored.generation <= other.current.generation)).toEqual([]);
  });
});

describe('a session that each region refreshes by its own copy', () => {
  test('looks stolen although its only client is honest', () => {
    const { steps } = explore('each', { maxBehind: 1 });
    expect(kindsIn(steps)).toContain('reuse');
  });
});
