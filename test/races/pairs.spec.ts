import { afterAll, beforeAll, test } from '@jest/globals';
import { type Cluster, startCluster, type Tokens } from '../helpers/cluster.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';
import {
  atOnce,
  inBatches,
  Inspection,
  LANES,
  outcome,
  raced,
  type RacedSession,
  refreshed,
  ROUNDS,
  Tally,
} from './race.js';

const POLICIES = {
  FREE: { refreshTokenLifetime: '1d' },
  // Without a grace, only the compare-and-swap keeps two refreshes apart.
  NO_GRACE: { refreshTokenLifetime: '1d', reuseGrace: 0 },
  PAIR: { refreshTokenLifetime: '1d', maxActiveSessions: 2 },
} as const;
/** One for each lane, so that no race affects another. */
const USERS = Array.from({ length: LANES }, (_, lane) => `user-${lane}`);
/** About how much longer a login takes than ending a session, in milliseconds. The delay lets either come first. */
const LOGIN_TAKES = 20;
const GONE = '401 session_not_found';

onEachDatabase((databaseName) => {
  let cluster: Cluster;
  let inspection: Inspection;
  /** One session of each user, which the races never end, and which ends the others. */
  let kept: Tokens[];
  const lines: string[] = [];

  beforeAll(async () => {
    cluster = await startCluster(databaseName, {
      policies: POLICIES,
      revocation: { pollInterval: '100ms' },
      cleanup: { interval: '50ms' },
    });
    inspection = new Inspection(cluster);
    await cluster.addUsers(['canary', ...USERS]);
    kept = await Promise.all(USERS.map((user) => cluster.any().loggedIn(user, 'FREE')));
  });
  afterAll(async () => {
    console.log(lines.join('\n'));
    await cluster?.stop();
  });

  const newSession = async (lane: number, type = 'FREE') =>
    raced(await cluster.any().loggedIn(USERS[lane], type), type);
  const keptSessions = () => kept.map((tokens) => raced(tokens, 'FREE'));

  /** Races the two requests for a new session in each round. Whichever comes first, the session must have ended. */
  async function race(
    one: (session: RacedSession, lane: number) => Promise<string>,
    other: (session: RacedSession, lane: number) => Promise<string>,
    reason: string,
  ): Promise<Tally> {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const session = await newSession(lane);
        const outcomes = await atOnce(
          () => one(session, lane),
          () => other(session, lane),
        );
        tally.add(outcomes.join(' | '));
        return session;
      },
      (ended) => inspection.expectEnded(ended, reason),
    );
    await inspection.expectLiving(keptSessions());
    return tally;
  }

  const refresh = async (session: RacedSession) => outcome(await refreshed(cluster.any(), session));
  const logout = async (session: RacedSession) => outcome(await cluster.any().logout(session.refresh[0]));
  const destroy = async ({ id }: RacedSession, lane: number) =>
    outcome(await cluster.any().destroy(kept[lane].access, id));
  const destroyAllOther = async (_: RacedSession, lane: number) =>
    outcome(await cluster.any().destroyAllOther(kept[lane]));

  function report(pair: string, tally: Tally): void {
    lines.push(`${databaseName}: ${pair}, ${ROUNDS} rounds: ${String(tally)}`);
  }

  test('refresh races with logout', async () => {
    const tally = await race(refresh, logout, 'logout');
    report('refresh | logout', tally);
    tally.expect({ '200 | 200': true, [`${GONE} | 200`]: true });
  });

  test('refresh races with destroy', async () => {
    const tally = await race(refresh, destroy, 'destroyed');
    report('refresh | destroy', tally);
    tally.expect({ '200 | 200': true, [`${GONE} | 200`]: true });
  });

  test('refresh races with destroyAllOther of another session', async () => {
    const tally = await race(refresh, destroyAllOther, 'destroyed');
    report('refresh | destroyAllOther', tally);
    tally.expect({ '200 | 200': true, [`${GONE} | 200`]: true });
  });

  test('refresh races with refresh, without a grace: no generation is issued twice', async () => {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const session = await newSession(lane, 'NO_GRACE');
        const outcomes = await atOnce(
          () => refresh(session),
          () => refresh(session),
        );
        const generations = session.refresh.slice(1).map((token) => String(decoded(token, 1).gen));
        tally.add(`${outcomes.join(' | ')}, generations ${generations.sort().join(' and ')}`);
        await logout(session);
        return session;
      },
      (ended) => inspection.expectEnded(ended, 'logout'),
    );
    report('refresh | refresh', tally);
    tally.expect({
      '200 | 200, generations 1 and 2': true,
      // An update on MariaDB returns no row. If the other refresh went on before the row was read, it is judged again.
      '200 | 200, generations 2 and 3': false,
    });
  });

  test('logout races with destroy: exactly one of them ends the session', async () => {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const session = await newSession(lane);
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
          await inspection.expectEnded(sessions, reason);
        }
      },
    );
    report('logout | destroy', tally);
    tally.expect({ '200 | 404 session_not_found': true, [`${GONE} | 200`]: true });
  });

  test('destroyAllOther races with login', async () => {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const earlier = await newSession(lane);
        const [outcome, session] = await atOnce(
          () => destroyAllOther(earlier, lane),
          () => newSession(lane),
          LOGIN_TAKES,
        );
        return { outcome, earlier, session };
      },
      async (results) => {
        const rows = await inspection.rowsOf(USERS);
        const stays = ({ id }: RacedSession) => rows.some((row) => row.id === id);
        for (const { outcome, session } of results) tally.add(`${outcome} | ${stays(session) ? 'lives' : 'ended'}`);
        const living = results.map((result) => result.session).filter(stays);
        await inspection.expectLiving(living);
        await inspection.expectEnded(
          results.flatMap(({ earlier, session }) => [earlier, session]).filter((session) => !living.includes(session)),
          'destroyed',
        );
        await inspection.expectOnly(USERS, [...keptSessions(), ...living]);
        await Promise.all(living.map(logout));
      },
    );
    report('destroyAllOther | login', tally);
    tally.expect({ '200 | lives': true, '200 | ended': true });
  });

  test('destroyAllOther races with a login that evicts the asking session', async () => {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const tokens = await cluster.any().loggedIn(USERS[lane], 'PAIR');
        const asking = raced(tokens, 'PAIR');
        const other = await newSession(lane, 'PAIR');
        const [answer, session] = await atOnce(
          () => cluster.any().destroyAllOther(tokens, 'PAIR'),
          () => newSession(lane, 'PAIR'),
          LOGIN_TAKES,
        );
        return { outcome: outcome(answer), asking, other, session };
      },
      async (results) => {
        const rows = await inspection.rowsOf(USERS);
        const stays = ({ id }: RacedSession) => rows.some((row) => row.id === id);
        for (const { outcome, asking, other, session } of results) {
          const living = [asking, other, session].map((one) => (stays(one) ? 'lives' : 'ended'));
          tally.add(`${outcome} | ${living.join(' ')}`);
        }
        const all = results.flatMap(({ asking, other, session }) => [asking, other, session]);
        const living = all.filter(stays);
        const ended = all.filter((session) => !stays(session));
        await inspection.expectLiving(living);
        await inspection.expectEnded(ended);
        await inspection.expectOnly(USERS, [...keptSessions(), ...living]);
        await Promise.all(living.map(logout));
      },
    );
    report('destroyAllOther | login that evicts; the asking, the other and the new session', tally);
    tally.expect({ '200 | lives ended lives': true, '401 token_not_valid | ended lives lives': true });
  });
});
