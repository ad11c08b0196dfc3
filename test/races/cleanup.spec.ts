import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { SessionEntity } from 'nestjs-multisession';
import type { ClusterProcess } from '../helpers/cluster.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { Tally } from '../helpers/tally.js';
import { decoded } from '../helpers/tokens.js';
import { Lanes } from './lanes.js';
import { inBatches, jitter, LANES, outcome, type RacedSession, refreshed, waitUntil } from './race.js';

const POLICIES = {
  FREE: { refreshTokenLifetime: '1d' },
  // A fourth login evicts the oldest session, unless one of the three has expired or ended.
  BRIEF: { refreshTokenLifetime: '4s', extendSession: 'every-refresh', reuseGrace: '500ms', maxActiveSessions: 3 },
} as const;
/** More users than lanes: before a user's next turn, all sessions of the last one expire, so that none is evicted. */
const USERS = 4 * LANES;
/** How long before or after a session's expiry a request may start, in milliseconds. */
const AROUND_EXPIRY = 400;
/** After each answer, the next request of its kind starts this much earlier or later, in milliseconds, so that half are granted. */
const STEP = 200;
/** The earliest start before the expiry, in milliseconds. */
const EARLIEST = 3500;
const GONE = '401 session_not_found';

/** The sessions of a round, and the answers to the requests that raced with their expiry. */
interface Round {
  readonly sessions: Record<'refresh' | 'logout' | 'destroy' | 'login', RacedSession>;
  readonly outcomes: Record<'refresh' | 'logout' | 'destroy' | 'login', string>;
  /** The answers to the new access token of a refresh, if its session had not expired again. */
  readonly used: string[];
}

onEachDatabase((databaseName) => {
  const lanes = Lanes.of(databaseName, { policies: POLICIES, cleanup: { interval: '20ms' } }, USERS);

  const expiryOf = (token: string) => Number(decoded(token, 1).exp) * 1000;
  const brief = (user: number) => lanes.newSession(user, 'BRIEF');

  /** How long before the expiry requests of each kind start, in milliseconds. It depends on how busy the machine is. */
  const earlier = { refresh: 50, logout: 50, destroy: 50, login: 50 };

  /** Does the work on any process, at a random moment around the session's expiry. */
  async function aroundExpiry<T>(
    kind: keyof typeof earlier,
    session: RacedSession,
    work: (process: ClusterProcess) => Promise<T>,
  ): Promise<T> {
    const at = expiryOf(session.refresh[0]) - earlier[kind] + jitter(AROUND_EXPIRY);
    await sleep(Math.max(0, at - Date.now()));
    return work(lanes.cluster.any());
  }

  function adjust(kind: keyof typeof earlier, outcome: string): void {
    const next = earlier[kind] + (outcome.startsWith('200') ? -STEP : STEP);
    earlier[kind] = Math.min(Math.max(next, 0), EARLIEST);
  }

  /** Refreshes, and shows the new access token to every process. */
  async function refreshAndUse(process: ClusterProcess, session: RacedSession) {
    const answer = await refreshed(process, session);
    if (answer.status !== 200) return { outcome: outcome(answer), used: [] };
    const used = (await Promise.all(lanes.cluster.processes.map((each) => each.me(session.access[1])))).map(outcome);
    const stillLives = Date.now() < expiryOf(session.refresh[1]);
    return { outcome: '200', used: stillLives ? used : [] };
  }

  /** While a user's three sessions expire, one is refreshed, one logged out, one destroyed, and the user logs in again. */
  async function round(user: number): Promise<Round> {
    const [one, two, three] = await Promise.all([brief(user), brief(user), brief(user)]);
    const [refresh, logout, destroy, login] = await Promise.all([
      aroundExpiry('refresh', one, (process) => refreshAndUse(process, one)),
      aroundExpiry('logout', two, (process) => process.logout(two.refresh[0])),
      aroundExpiry('destroy', three, (process) => process.destroy(lanes.kept[user].access, three.id)),
      aroundExpiry('login', one, () => brief(user)),
    ]);
    adjust('refresh', refresh.outcome);
    adjust('logout', outcome(logout));
    adjust('destroy', outcome(destroy));
    return {
      sessions: { refresh: one, logout: two, destroy: three, login },
      outcomes: { refresh: refresh.outcome, logout: outcome(logout), destroy: outcome(destroy), login: '200' },
      used: refresh.used,
    };
  }

  test('cleanup races with refresh, logout, destroy and login for sessions that are expiring', async () => {
    const tallies = { refresh: new Tally(), logout: new Tally(), destroy: new Tally(), login: new Tally() };
    const rounds: Round[] = [];
    const { cluster, inspection } = lanes;
    let turns = 0;
    await inBatches(
      () => round(turns++ % USERS),
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
      // A busy process may be unavailable, but none may refuse the token.
      const refused = used.filter((seen) => seen !== '200' && seen !== '503 unavailable');
      if (reasonOf(sessions.refresh) === 'no entry') expect(refused).toEqual([]);
    }
    for (const [name, tally] of Object.entries(tallies)) lanes.report(`${name} | cleanup`, tally);
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
    await inspection.expectOnly(lanes.users, lanes.keptSessions);
  });
});
