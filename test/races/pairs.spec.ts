import { test } from '@jest/globals';
import { onEachDatabase } from '../helpers/matrix.js';
import { Tally } from '../helpers/tally.js';
import { decoded } from '../helpers/tokens.js';
import { Lanes } from './lanes.js';
import { atOnce, inBatches, outcome, raced, type RacedSession, refreshed } from './race.js';

const POLICIES = {
  FREE: { refreshTokenLifetime: '1d' },
  // Without a grace, only the compare-and-swap keeps two refreshes apart.
  NO_GRACE: { refreshTokenLifetime: '1d', reuseGrace: 0 },
  PAIR: { refreshTokenLifetime: '1d', maxActiveSessions: 2 },
} as const;
/**
 * About how much longer a login takes than ending a session, in milliseconds, on a quiet machine. The delay lets either come first.
 * Later batches wait longer, for a busy one.
 */
const LOGIN_TAKES = 20;
const GONE = '401 session_not_found';
const EITHER_FIRST = { '200 | 200': true, [`${GONE} | 200`]: true };

onEachDatabase((databaseName) => {
  const lanes = Lanes.of(databaseName, { policies: POLICIES, cleanup: { interval: '50ms' } });
  const any = () => lanes.cluster.any();

  /** Races the two requests for a new session in each round. Whichever comes first, the session must have ended. */
  async function race(
    one: (session: RacedSession, lane: number) => Promise<string>,
    other: (session: RacedSession, lane: number) => Promise<string>,
    reason: string,
    expected: Record<string, boolean>,
  ): Promise<Tally> {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const session = await lanes.newSession(lane);
        const outcomes = await atOnce(
          () => one(session, lane),
          () => other(session, lane),
        );
        tally.add(outcomes.join(' | '));
        return session;
      },
      (ended) => lanes.inspection.expectEnded(ended, reason),
      () => tally.hasAll(expected),
    );
    await lanes.inspection.expectLiving(lanes.keptSessions);
    tally.expect(expected);
    return tally;
  }

  const refresh = async (session: RacedSession) => outcome(await refreshed(any(), session));
  const logout = (session: RacedSession) => lanes.logout(session);
  const destroy = async ({ id }: RacedSession, lane: number) =>
    outcome(await any().destroy(lanes.kept[lane].access, id));
  const destroyAllOther = (_: RacedSession, lane: number) => lanes.destroyAllOther(lane);

  test('refresh races with logout', async () => {
    const tally = await race(refresh, logout, 'logout', EITHER_FIRST);
    lanes.report('refresh | logout', tally);
  });

  test('refresh races with destroy', async () => {
    const tally = await race(refresh, destroy, 'destroyed', EITHER_FIRST);
    lanes.report('refresh | destroy', tally);
  });

  test('refresh races with destroyAllOther of another session', async () => {
    const tally = await race(refresh, destroyAllOther, 'destroyed', EITHER_FIRST);
    lanes.report('refresh | destroyAllOther', tally);
  });

  test('refresh races with refresh, without a grace: no generation is issued twice', async () => {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const session = await lanes.newSession(lane, 'NO_GRACE');
        const outcomes = await atOnce(
          () => refresh(session),
          () => refresh(session),
        );
        const generations = session.refresh.slice(1).map((token) => decoded(token, 1).gen);
        tally.add(`${outcomes.join(' | ')}, ${new Set(generations).size} generations`);
        await logout(session);
        return session;
      },
      (ended) => lanes.inspection.expectEnded(ended, 'logout'),
    );
    lanes.report('refresh | refresh', tally);
    tally.expect({ '200 | 200, 2 generations': true });
  });

  test('logout races with destroy: exactly one of them ends the session', async () => {
    const tally = new Tally();
    const expected = { '200 | 404 session_not_found': true, [`${GONE} | 200`]: true };
    await inBatches(
      async (lane) => {
        const session = await lanes.newSession(lane);
        const outcomes = await atOnce(
          () => logout(session),
          () => destroy(session, lane),
        );
        tally.add(outcomes.join(' | '));
        return { session, reason: outcomes[0] === '200' ? 'logout' : 'destroyed' };
      },
      async (ended) => {
        for (const reason of ['logout', 'destroyed']) {
          const sessions = ended.filter((one) => one.reason === reason).map((one) => one.session);
          await lanes.inspection.expectEnded(sessions, reason);
        }
      },
      () => tally.hasAll(expected),
    );
    lanes.report('logout | destroy', tally);
    tally.expect(expected);
  });

  test('destroyAllOther races with login', async () => {
    const tally = new Tally();
    const expected = { '200 | lives': true, '200 | ended': true };
    await inBatches(
      async (lane, batch) => {
        const earlier = await lanes.newSession(lane);
        const [outcome, session] = await atOnce(
          () => destroyAllOther(earlier, lane),
          () => lanes.newSession(lane),
          LOGIN_TAKES * 2 ** (batch % 5),
        );
        return { outcome, earlier, session };
      },
      async (results) => {
        const rows = await lanes.inspection.rowsOf(lanes.users);
        const stays = ({ id }: RacedSession) => rows.some((row) => row.id === id);
        for (const { outcome, session } of results) tally.add(`${outcome} | ${stays(session) ? 'lives' : 'ended'}`);
        const living = results.map((result) => result.session).filter(stays);
        await lanes.inspection.expectLiving(living);
        await lanes.inspection.expectEnded(
          results.flatMap(({ earlier, session }) => [earlier, session]).filter((session) => !living.includes(session)),
          'destroyed',
        );
        await lanes.inspection.expectOnly(lanes.users, [...lanes.keptSessions, ...living]);
        await Promise.all(living.map(logout));
      },
      () => tally.hasAll(expected),
    );
    lanes.report('destroyAllOther | login', tally);
    tally.expect(expected);
  });

  test('destroyAllOther races with a login that evicts the asking session', async () => {
    const tally = new Tally();
    const expected = { '200 | lives ended lives': true, '401 token_not_valid | ended lives lives': true };
    await inBatches(
      async (lane, batch) => {
        const tokens = await any().loggedIn(lanes.users[lane], 'PAIR');
        const asking = raced(tokens, 'PAIR');
        const other = await lanes.newSession(lane, 'PAIR');
        const [answer, session] = await atOnce(
          () => any().destroyAllOther(tokens, 'PAIR'),
          () => lanes.newSession(lane, 'PAIR'),
          LOGIN_TAKES * 2 ** (batch % 5),
        );
        return { outcome: outcome(answer), asking, other, session };
      },
      async (results) => {
        const rows = await lanes.inspection.rowsOf(lanes.users);
        const stays = ({ id }: RacedSession) => rows.some((row) => row.id === id);
        for (const { outcome, asking, other, session } of results) {
          const living = [asking, other, session].map((one) => (stays(one) ? 'lives' : 'ended'));
          tally.add(`${outcome} | ${living.join(' ')}`);
        }
        const all = results.flatMap(({ asking, other, session }) => [asking, other, session]);
        const living = all.filter(stays);
        const ended = all.filter((session) => !stays(session));
        await lanes.inspection.expectLiving(living);
        await lanes.inspection.expectEnded(ended);
        await lanes.inspection.expectOnly(lanes.users, [...lanes.keptSessions, ...living]);
        await Promise.all(living.map(logout));
      },
      () => tally.hasAll(expected),
    );
    lanes.report('destroyAllOther | login that evicts; the asking, the other and the new session', tally);
    tally.expect(expected);
  });
});
