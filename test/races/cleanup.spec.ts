import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SessionEntity } from 'nestjs-multisession';
import { type Cluster, type ClusterProcess, startCluster, type Tokens } from '../helpers/cluster.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';
import {
  inBatches,
  jitter,
  Inspection,
  LANES,
  outcome,
  raced,
  type RacedSession,
  refreshed,
  ROUNDS,
  Tally,
  waitUntil,
} from './race.js';

const POLICIES = {
  FREE: { refreshTokenLifetime: '1d' },
  // A fourth login evicts the oldest session, unless one of the three has expired or ended.
  BRIEF: { refreshTokenLifetime: '2s', extendSession: 'every-refresh', reuseGrace: '500ms', maxActiveSessions: 3 },
} as const;
/** More users than lanes: before a user's next turn, all sessions of the last one expire, so that none is evicted. */
const USERS = Array.from({ length: 4 * LANES }, (_, at) => `user-${at}`);
/** How long before or after a session's expiry a request may start, in milliseconds. */
const AROUND_EXPIRY = 400;
/** Requests start this much earlier, in milliseconds, to reach the database around the expiry. */
const EARLIER = 50;
const GONE = '401 session_not_found';

/** The sessions of a round, and the answers to the requests that raced with their expiry. */
interface Round {
  readonly sessions: Record<'refresh' | 'logout' | 'destroy' | 'login', RacedSession>;
  readonly outcomes: Record<'refresh' | 'logout' | 'destroy' | 'login', string>;
  /** The answers to the new access token of a refresh, if its session had not expired again. */
  readonly used: string[];
}

onEachDatabase((databaseName) => {
  let cluster: Cluster;
  let inspection: Inspection;
  let kept: Tokens[];
  const lines: string[] = [];

  beforeAll(async () => {
    cluster = await startCluster(databaseName, {
      policies: POLICIES,
      revocation: { pollInterval: '100ms' },
      cleanup: { interval: '20ms' },
    });
    inspection = new Inspection(cluster);
    await cluster.addUsers(['canary', ...USERS]);
    kept = await Promise.all(USERS.map((user) => cluster.any().loggedIn(user, 'FREE')));
  });
  afterAll(async () => {
    console.log(lines.join('\n'));
    await cluster?.stop();
  });

  const expiryOf = (token: string) => Number(decoded(token, 1).exp) * 1000;
  const brief = async (user: number) => raced(await cluster.any().loggedIn(USERS[user], 'BRIEF'), 'BRIEF');

  /** Does the work on any process, at a random moment around the session's expiry. */
  async function aroundExpiry<T>(session: RacedSession, work: (process: ClusterProcess) => Promise<T>): Promise<T> {
    const at = expiryOf(session.refresh[0]) - EARLIER + jitter(AROUND_EXPIRY);
    await sleep(Math.max(0, at - Date.now()));
    return work(cluster.any());
  }

  /** Refreshes, and shows the new access token to every process. */
  async function refreshAndUse(process: ClusterProcess, session: RacedSession) {
    const answer = await refreshed(process, session);
    if (answer.status !== 200) return { outcome: outcome(answer), used: [] };
    const used = (await Promise.all(cluster.processes.map((each) => each.me(session.access[1])))).map(outcome);
    const stillLives = Date.now() < expiryOf(session.refresh[1]);
    return { outcome: '200', used: stillLives ? used : [] };
  }

  /** While a user's three sessions expire, one is refreshed, one logged out, one destroyed, and the user logs in again. */
  async function round(user: number): Promise<Round> {
    const [one, two, three] = await Promise.all([brief(user), brief(user), brief(user)]);
    const [refresh, logout, destroy, login] = await Promise.all([
      aroundExpiry(one, (process) => refreshAndUse(process, one)),
      aroundExpiry(two, (process) => process.logout(two.refresh[0])),
      aroundExpiry(three, (process) => process.destroy(kept[user].access, three.id)),
      aroundExpiry(one, () => brief(user)),
    ]);
    return {
      sessions: { refresh: one, logout: two, destroy: three, login },
      outcomes: { refresh: refresh.outcome, logout: outcome(logout), destroy: outcome(destroy), login: '200' },
      used: refresh.used,
    };
  }

  test('cleanup races with refresh, logout, destroy and login for sessions that are expiring', async () => {
    const tallies = { refresh: new Tally(), logout: new Tally(), destroy: new Tally(), login: new Tally() };
    const rounds: Round[] = [];
    let turns = 0;
    await inBatches(
      () => round(turns++ % USERS.length),
      (results) => {
        rounds.push(...results);
        return Promise.resolve();
      },
    );
    // No more requests: now every session expires, and the cleanup of some process deletes it.
    await waitUntil(async () => (await cluster.dataSource.manager.countBy(SessionEntity, { type: 'BRIEF' })) === 0);

    const { entries } = await inspection.stored(rounds.flatMap(({ sessions }) => Object.values(sessions)));
    const reasons = new Map(entries.map((entry) => [entry.sessionId, entry.reason]));
    const reasonOf = ({ id }: RacedSession) => reasons.get(id) ?? 'no entry';
    for (const { sessions, outcomes, used } of rounds) {
      for (const name of ['refresh', 'logout', 'destroy', 'login'] as const) {
        tallies[name].add(`${outcomes[name]} | ${reasonOf(sessions[name])}`);
      }
      if (reasonOf(sessions.refresh) === 'no entry') expect(used.filter((seen) => seen !== '200')).toEqual([]);
    }
    for (const [name, tally] of Object.entries(tallies)) {
      lines.push(`${databaseName}: ${name} | cleanup, ${ROUNDS} rounds: ${String(tally)}`);
    }
    // The entry has the reason of the request that was granted. A session that only expired needs no entry.
    tallies.refresh.expect({
      '200 | no entry': true,
      '200 | evicted': false,
      [`${GONE} | no entry`]: false,
      [`${GONE} | evicted`]: false,
      '401 token_not_valid | no entry': false,
      // The login began before the expiry, and committed after the refresh had read the row.
      '401 token_not_valid | evicted': false,
    });
    expect(rounds.some(({ outcomes }) => outcomes.refresh.startsWith('401'))).toBe(true);
    tallies.logout.expect({ '200 | logout': true, [`${GONE} | no entry`]: true, [`${GONE} | evicted`]: false });
    const unknown = '404 session_not_found';
    tallies.destroy.expect({
      '200 | destroyed': true,
      [`${unknown} | no entry`]: true,
      [`${unknown} | evicted`]: false,
    });
    tallies.login.expect({ '200 | no entry': true });
    for (let at = 0; at < rounds.length; at += LANES) {
      await inspection.expectRefused(rounds.slice(at, at + LANES).flatMap(({ sessions }) => Object.values(sessions)));
    }
    await inspection.expectOnly(
      USERS,
      kept.map((tokens) => raced(tokens, 'FREE')),
    );
  });
});
