import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SessionEntity } from 'nestjs-multisession';
import { In, MoreThan } from 'typeorm';
import { User } from '../../sample-app/src/users/user.entity.js';
import { type Cluster, type ProcessAnswer, startCluster } from '../helpers/cluster.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { Inspection, outcome, raced, refreshed, Tally } from './race.js';

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
  const figures: string[] = [];

  beforeAll(async () => {
    cluster = await startCluster(databaseName, { policies: POLICIES, revocation: { pollInterval: '100ms' } });
    inspection = new Inspection(cluster);
    await cluster.addUsers(['canary', 'ann', 'ben']);
    if (server) deadlocksBefore = await deadlocks(server);
  });
  afterAll(async () => {
    console.log(figures.join('\n'));
    await cluster?.stop();
  });

  /** Asks all processes in turn, all at once. */
  const atOnce = (count: number, ask: (process: Cluster['processes'][number]) => Promise<ProcessAnswer>) =>
    Promise.all(Array.from({ length: count }, (_, at) => ask(cluster.processes[at % cluster.processes.length])));

  function tallyOf(answers: readonly ProcessAnswer[]): Tally {
    const tally = new Tally();
    for (const answer of answers) tally.add(outcome(answer));
    return tally;
  }

  /** Logs a user in again and again at once, and counts the active sessions all the while. */
  async function watchedLogins(username: string, type: string) {
    const { manager } = cluster.dataSource;
    const { id } = await manager.findOneByOrFail(User, { username });
    let underWay = true;
    const logins = atOnce(LOGINS, (process) => process.login(username, type)).finally(() => (underWay = false));
    let [looks, most] = [0, 0];
    while (underWay) {
      most = Math.max(
        most,
        await manager.countBy(SessionEntity, { userId: String(id), type, expiresAt: MoreThan(new Date()) }),
      );
      looks++;
      await turn();
    }
    const answers = await logins;
    figures.push(
      `${databaseName}: ${LOGINS} logins, ${type}: ${String(tallyOf(answers))}; ${looks} looks, at most ${most} active`,
    );
    return { answers, looks, most };
  }

  /** How many deadlocks the server has broken, in this database or, on MariaDB, in all: one that is tried again is in no answer. */
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

  test('200 logins at once with destroy-oldest: each succeeds, and never are more than 5 active', async () => {
    const { answers, looks, most } = await watchedLogins('ann', 'EVICT');
    tallyOf(answers).expect({ '200': true });
    expect(looks).toBeGreaterThan(5);
    expect(most).toBe(LIMIT);
    await expectLivingOnly(answers, 'EVICT');
  });

  test('200 logins at once with refuse: five succeed, and the others are told that the limit is reached', async () => {
    const { answers, looks, most } = await watchedLogins('ann', 'REFUSE');
    tallyOf(answers).expect({ '200': true, '409 session_limit_reached': true });
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(LIMIT);
    expect(looks).toBeGreaterThan(5);
    expect(most).toBe(LIMIT);
    await expectLivingOnly(answers, 'REFUSE');
  });

  test('50 refreshes at once with one token: all succeed, with one successor', async () => {
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
    figures.push(`${databaseName}: 5 times ${REFRESHES} refreshes at once, one successor each`);
  });

  if (databaseName !== 'sqlite') {
    test('logins of one user that have to wait leave connections to everybody else', async () => {
      const full = await atOnce(LIMIT, (process) => process.login('ben', 'EVICT'));
      const other = raced(await cluster.any().loggedIn('ann', 'FREE'), 'FREE');
      let logins: Promise<ProcessAnswer[]> | undefined;
      await cluster.dataSource.transaction(async (manager) => {
        // The first login waits for these rows, and all that follow for the first.
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

  test('none of it came to a deadlock', async () => {
    // PostgreSQL counts behind the work, and at the latest a second later.
    await sleep(1500);
    expect((await deadlocks(server)) - deadlocksBefore).toBe(0);
  });
});
