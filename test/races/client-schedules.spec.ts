import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Cluster, type ClusterProcess, startCluster } from '../helpers/cluster.js';
import { selectedDatabases } from '../helpers/databases.js';
import { Random } from '../helpers/random.js';
import { SMALL } from '../helpers/size.js';
import { Tally } from '../helpers/tally.js';
import { ClientSchedule, PAUSE, TYPE } from './client-schedule.js';
import { type LossyProxy, openLossyProxy } from './lossy-proxy.js';

/** The number of random schedules. */
const SCHEDULES = Number(process.env.TEST_SCHEDULES ?? (SMALL ? 60 : 1000));
const SEED = Number(process.env.TEST_SEED ?? Date.now() % 1e9);
/** Schedules that run at once. */
const LANES = 16;
/** After how many failures the test gives up. */
const MAX_FAILURES = 10;
/** How long both processes run between two restarts, in milliseconds. */
const UPTIME = 20_000;

/** What the client does depends little on the database, so one is enough: PostgreSQL if it is selected. */
const [databaseName] = selectedDatabases().sort(
  (one, other) => Number(other === 'postgres') - Number(one === 'postgres'),
);

describe(databaseName, () => {
  let cluster: Cluster;
  let proxy: LossyProxy;
  let processes: ClusterProcess[];
  const random = new Random(SEED);
  let restarts = 0;
  let isOver = false;
  let restarting: Promise<void>;

  beforeAll(async () => {
    cluster = await startCluster(
      databaseName,
      { policies: { [TYPE]: { refreshTokenLifetime: '30d' } }, cookies: { secure: 'auto' } },
      databaseName === 'sqlite' ? undefined : () => [{}, {}],
    );
    await cluster.addUsers(Array.from({ length: LANES }, (_, lane) => `user-${lane}`));
    processes = [...cluster.processes];
    // A login whose answer is lost may have replaced the session, so that the user is logged out until the next login.
    proxy = await openLossyProxy(
      random,
      () => random.pick(processes).app.url,
      (path) => /\/(login|logout)\/?$/.test(path),
    );
    restarting = restart();
  });
  afterAll(async () => {
    isOver = true;
    await restarting;
    await proxy?.close();
    await Promise.all(processes.map((process) => process.stop()));
    await cluster?.stop();
  });

  /** Kills or stops a process again and again, and starts another one in its place. */
  async function restart(): Promise<void> {
    for (;;) {
      for (let waited = 0; waited < UPTIME; waited += 50) {
        if (isOver) return;
        await sleep(50);
      }
      const at = random.below(processes.length);
      const old = processes[at];
      processes[at] = await cluster.start();
      if (random.once(2)) old.app.child.kill('SIGKILL');
      await old.stop();
      restarts++;
    }
  }

  test(
    `${SCHEDULES} random schedules: no honest client is ever logged out`,
    async () => {
      const seeds = Array.from({ length: SCHEDULES }, () => random.below(2 ** 31));
      const tally = new Tally();
      const failures: string[] = [];
      const started = performance.now();
      const runLane = async (_: unknown, lane: number) => {
        const username = `user-${lane}`;
        const [{ id }] = await cluster.dataSource.query(`SELECT id FROM app_user WHERE username = '${username}'`);
        const pass = async () => {
          const change = `UPDATE user_session SET rotated_at = rotated_at - ${PAUSE} WHERE user_id = '${id}' AND rotated_at > 0`;
          await cluster.dataSource.query(change);
        };
        for (let seed = seeds.pop(); seed !== undefined; seed = seeds.pop()) {
          const around = { proxy, username, password: cluster.password, pass };
          const schedule = new ClientSchedule(new Random(seed), String(lane), around);
          await schedule.run().catch((error: Error) => failures.push(`schedule ${seed}: ${error.message}`));
          if (failures.length >= MAX_FAILURES) return;
          tally.add(schedule.transport);
          for (const step of schedule.steps.filter((step) => !step.startsWith(' ')))
            tally.add(step.replace(/^tab \d+/, 'a tab'));
        }
      };
      await Promise.all(Array.from({ length: LANES }, runLane));
      const seconds = Math.round((performance.now() - started) / 1000);
      const { requests, answers, byRestart } = proxy.lost;
      console.log(
        `${databaseName}, seed ${SEED}: ${SCHEDULES - seeds.length} schedules in ${seconds} s, ${failures.length} failed; lost ${requests} requests and ${answers} answers, and ${byRestart} by ${restarts} restarts; ${String(tally)}`,
      );
      expect(failures).toEqual([]);
      expect(proxy.lost.answers).toBeGreaterThan(SCHEDULES / 10);
    },
    60_000 + SCHEDULES * 2000,
  );
});
