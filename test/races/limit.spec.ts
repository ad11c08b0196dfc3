import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SessionEntity } from 'nestjs-multisession';
import { In, MoreThan } from 'typeorm';
import { User } from '../../sample-app/src/users/user.entity.js';
import { type Cluster, type ProcessAnswer, startCluster } from '../helpers/cluster.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { Tally } from '../helpers/tally.js';
import { Inspection, outcome, raced, refreshed } from './race.js';

const LIMIT = 5;
const LOGINS = 200;
const REFRESHES = 50;
const POLICIES = {
  FREE: { refreshTokenLifetime: '1d' },
  EVICT: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT, whenFull: 'destroy-oldest' },
  REFUSE: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT, whenFull: 'refuse' },
} as const;

onEachDatabase((databaseName) => {
  let cluster: Cluster;
  let inspection: Inspection;
  const server = databaseName === 'postgres' || databaseName === 'mariadb' ? databaseName : undefined;
  let deadlocksBefore: number;
  const lines: string[] = [];

  beforeAll(async () => {
    cluster = await startCluster(databaseName, { policies: POLICIES, revocation: { pollInterval: '100ms' } });
    inspection = new Inspection(cluster);
    await cluster.addUsers(['canary', 'ann', 'ben']);
    if (server) deadlocksBefore = await deadlocks(server);
  });
  afterAll(async () => {
    console.log(lines.join('\n'));
    await cluster?.stop();
  });

  /** Sends all requests at the same time, to each process in turn. */
  const atOnce = (count: number, ask: (process: Cluster['processes'][number]) => Promise<ProcessAnswer>) =>
    Promise.all(Array.from({ length: count }, (_, at) => ask(cluster.processes[at % cluster.processes.length])));

  function tallyOf(answers: readonly ProcessAnswer[]): Tally {
    const tally = new Tally();
    for (const answer of answers) tally.add(outcome(answer));
    return tally;
  }

  /** Sends many logins of a user at once, and counts the active sessions until all are answered. */
  async function watchedLogins(username: string, type: string) {
    const { manager } = cluster.dataSource;
    const { id } = await manager.findOneByOrFail(User, { username });
    let underWay = true;
    const logins = atOnce(LOGINS, (process) => process.login(username, type)).finally(() => (underWay = false));
    let [counted, most] = [0, 0];
    while (underWay) {
      most = Math.max(
        most,
        await manager.countBy(SessionEntity, { userId: String(id), type, expiresAt: MoreThan(new Date()) }),
      );
      counted++;
      await turn();
    }
    const answers = await logins;
    lines.push(
      `${databaseName}: ${LOGINS} logins, ${type}: ${String(tallyOf(answers))}; counted ${counted} times, at most ${most} active`,
    );
    return { answers, counted, most };
  }

  /**
   * Counts the deadlocks of this database, or on MariaDB of the whole server. Answers do not show those after which the library
   * retried.
   */
  async function deadlocks(name: 'postgres' | 'mariadb'): Promise<number> {
    const SQL = {
      postgres: 'SELECT deadlocks AS count FROM pg_stat_database WHERE datname = current_database()',
      mariadb: `SELECT variable_value AS count FROM information_schema.global_status WHERE variable_name = 'INNODB_DEADLOCKS'`,
    };
    const [{ count }] = await cluster.dataSource.query<[{ count: string }]>(SQL[name]);
    return Number(count);
  }

  async function expectLivingOnly(answers: readonly ProcessAnswer[], type: string): Promise<void> {
    const sessions = answers.filter(({ status }) => status === 200).map(({ body }) => raced(body, type));
    const ids = (await inspection.stored(sessions)).rows.map((row) => row.id);
    const living = sessions.filter((session) => ids.includes(session.id));
    expect(living).toHaveLength(LIMIT);
    await inspection.expectEnded(
      sessions.filter((session) => !living.includes(session)),
      'evicted',
    );
    await inspection.expectLiving(living);
    const again = await Promise.all(living.map((session) => refreshed(cluster.any(), session)));
    expect(again.map(outcome)).toEqual(living.map(() => '200'));
    await inspection.expectLiving(living);
  }

  test('200 logins at once with destroy-oldest: all succeed, and at most 5 sessions are active at any time', async () => {
    const { answers, counted, most } = await watchedLogins('ann', 'EVICT');
    tallyOf(answers).expect({ '200': true });
    expect(counted).toBeGreaterThan(5);
    expect(most).toBe(LIMIT);
    await expectLivingOnly(answers, 'EVICT');
  });

  test('200 logins at once with refuse: 5 succeed, and the others get 409', async () => {
    const { answers, counted, most } = await watchedLogins('ann', 'REFUSE');
    tallyOf(answers).expect({ '200': true, '409 session_limit_reached': true });
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(LIMIT);
    expect(counted).toBeGreaterThan(5);
    expect(most).toBe(LIMIT);
    await expectLivingOnly(answers, 'REFUSE');
  });

  test('50 refreshes at once with one token: all succeed and get the same successor', async () => {
    for (let round = 0; round < 5; round++) {
      const session = raced(await cluster.any().loggedIn('ben', 'FREE'), 'FREE');
      const answers = await atOnce(REFRESHES, (process) => process.refresh(session.refresh[0], 'FREE'));
      tallyOf(answers).expect({ '200': true });
      expect(new Set(answers.map(({ body }) => body.refresh as string)).size).toBe(1);
      expect(answers[0].body.refresh).not.toBe(session.refresh[0]);
      const { rows } = await inspection.stored([session]);
      expect(rows.map((row) => row.generation)).toEqual([1]);
      await inspection.expectLiving(answers.map(({ body }) => ({ ...session, access: [body.access] })).slice(0, 1));
    }
    lines.push(`${databaseName}: 5 times ${REFRESHES} refreshes at once, one successor each`);
  });

  if (databaseName !== 'sqlite') {
    test('waiting logins of one user leave connections for other users', async () => {
      const full = await atOnce(LIMIT, (process) => process.login('ben', 'EVICT'));
      const other = raced(await cluster.any().loggedIn('ann', 'FREE'), 'FREE');
      let logins: Promise<ProcessAnswer[]> | undefined;
      await cluster.dataSource.transaction(async (manager) => {
        // The first login waits for these rows, and the others wait for the first.
        const ids = full.map(({ body }) => body.session_id as string);
        await manager.find(SessionEntity, { where: { id: In(ids) }, lock: { mode: 'pessimistic_write' } });
        logins = atOnce(LOGINS, (process) => process.login('ben', 'EVICT'));
        const refreshes = Promise.all(cluster.processes.map((process) => process.refresh(other.refresh[0], 'FREE')));
        const first = await Promise.race([refreshes, sleep(5000, [], { ref: false })]);
        tallyOf(first).expect({ '200': true });
        expect(first).toHaveLength(cluster.processes.length);
      });
      tallyOf((await logins) ?? []).expect({ '200': true });
    });
  }

  if (!server) return;

  test('no deadlock occurred', async () => {
    // PostgreSQL updates its statistics up to a second late.
    await sleep(1500);
    expect((await deadlocks(server)) - deadlocksBefore).toBe(0);
  });
});
