import { expect, test } from '@jest/globals';
import { BACKEND_KEY } from '../helpers/cluster.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { Tally } from '../helpers/tally.js';
import { decoded } from '../helpers/tokens.js';
import { Lanes } from './lanes.js';
import { atOnce, inBatches, outcome, type RacedSession, refreshed } from './race.js';

const POLICIES = {
  FREE: { refreshTokenLifetime: '1d', renewal: true },
  // Without a grace, a lost successor can only be recovered, and that only while nobody has used it.
  NO_GRACE: { refreshTokenLifetime: '1d', reuseGrace: 0, renewal: true },
} as const;
const EITHER_FIRST = { '200 | 200': true, '401 session_not_found | 200': true };

onEachDatabase((databaseName) => {
  const lanes = Lanes.of(databaseName, { policies: POLICIES, backendKeys: BACKEND_KEY });
  const logout = (session: RacedSession) => lanes.logout(session);

  /** Renews with the session's first token. Adds the access token to those that must be refused after the end. */
  const renew = async (session: RacedSession) => {
    const answer = await lanes.cluster.any().renew(session.refresh[0]);
    if (answer.status === 200) {
      expect(decoded(answer.body.access, 1).gen).toBe(0);
      session.access.push(answer.body.access);
    }
    return outcome(answer);
  };

  test.each([
    ['logout', 'logout', logout],
    ['destroyAllOther of another session', 'destroyed', (_: RacedSession, lane: number) => lanes.destroyAllOther(lane)],
  ] as const)('renew races with %s: no access token outlives the session', async (name, reason, end) => {
    const tally = new Tally();
    await inBatches(
      async (lane) => {
        const session = await lanes.newSession(lane);
        const outcomes = await atOnce(
          () => renew(session),
          () => end(session, lane),
        );
        tally.add(outcomes.join(' | '));
        return session;
      },
      (ended) => lanes.inspection.expectEnded(ended, reason),
      () => tally.hasAll(EITHER_FIRST),
    );
    await lanes.inspection.expectLiving(lanes.keptSessions);
    lanes.report(`renew | ${name}`, tally);
    tally.expect(EITHER_FIRST);
  });

  test.each(['FREE', 'NO_GRACE'])(
    'renew races with refresh, whose answer is lost: the client goes on (%s)',
    async (type) => {
      const { cluster } = lanes;
      const tally = new Tally();
      await inBatches(
        async (lane) => {
          const session = await lanes.newSession(lane, type);
          const [renewed] = await atOnce(
            () => renew(session),
            () => refreshed(cluster.any(), { ...session, access: [], refresh: [session.refresh[0]] }),
          );
          // The renderer uses the access token at every process, so each notes its generation.
          for (const process of cluster.processes) expect(outcome(await process.me(session.access[1]))).toBe('200');
          const again = outcome(await refreshed(cluster.any(), session));
          tally.add(`${renewed}, then ${again}`);
          expect(outcome(await cluster.any().me(session.access[2]))).toBe('200');
          await logout(session);
          return session;
        },
        (ended) => lanes.inspection.expectEnded(ended, 'logout'),
      );
      lanes.report(`renew | refresh ${type}`, tally);
      tally.expect({ '200, then 200': true });
    },
  );
});
