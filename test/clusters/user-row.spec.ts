import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { type CallAnswer, type Issued, LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { SMALL } from '../helpers/size.js';
import { Tally } from '../helpers/tally.js';
import { type GaleraCluster, startGalera } from './galera.js';

/** How often each race is run. */
const ROUNDS = Number(process.env.TEST_ROUNDS ?? (SMALL ? 40 : 200));
/** Rounds that run at once. Each has its own user. */
const LANES = 10;
const LIMIT = 5;
const LOGINS = 200;
/** How often a node lags behind the others. */
const LAGS = 5;
const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: '200ms' },
  policies: {
    FREE: { refreshTokenLifetime: '1d' },
    CHECKED: { refreshTokenLifetime: '1d', accessCheck: 'session' },
    EVICT: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT },
    REFUSE: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT, whenFull: 'refuse' },
  },
};
const UNAVAILABLE = '503 unavailable';

/** On a multi-writer cluster, each node has its own locks. Only the row of the user stops two nodes from going past a limit. */
describe.each([0, 1] as const)('three nodes with wsrep_sync_wait=%i, and a process on each', (syncWait) => {
  let galera: GaleraCluster;
  let processes: LibraryProcess[];
  let users = 0;
  const lines: string[] = [];

  beforeAll(async () => {
    galera = await startGalera();
    await galera.setSyncWait(syncWait);
    processes = [];
    for (const { options } of galera.nodes) {
      const database = { ...options, poolSize: 12 } as DataSourceOptions;
      processes.push(await LibraryProcess.start({ database, options: OPTIONS, migrate: processes.length === 0 }));
    }
  });
  afterAll(async () => {
    console.log(lines.map((line) => `wsrep_sync_wait=${syncWait}: ${line}`).join('\n'));
    await Promise.all(processes?.map((process) => process.stop()) ?? []);
    await galera?.remove();
  });

  const anyOf = <T>(all: readonly T[]): T => all[Math.floor(Math.random() * all.length)];
  const newUser = () => `user-${users++}`;

  /** Runs the rounds, several at once. */
  async function rounds(round: () => Promise<void>): Promise<void> {
    let left = ROUNDS;
    const lane = async () => {
      while (left-- > 0) await round();
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }

  /** Reads from a node that has applied every write before. */
  const fresh = <T>(sql: string): Promise<T[]> =>
    anyOf(galera.nodes).query<T[]>(`SET STATEMENT wsrep_sync_wait = 15 FOR ${sql}`);

  const idsOf = async (user: string): Promise<string[]> =>
    (await fresh<{ id: string }>(`SELECT id FROM user_session WHERE user_id = '${user}'`)).map(({ id }) => id).sort();

  const entriesOf = async (user: string): Promise<string[]> => {
    const sql = `SELECT session_id AS id FROM session_blacklist WHERE kind = 'session' AND user_id = '${user}'`;
    return (await fresh<{ id: string }>(sql)).map(({ id }) => id).sort();
  };

  const succeeded = (answers: readonly CallAnswer<Issued>[]): Issued[] =>
    answers.flatMap(({ status, body }) => (status === 200 ? [body as Issued] : []));

  /** Checks that of these sessions exactly those that are left have a row, and exactly the others an entry. */
  async function expectConsistent(user: string, opened: readonly Issued[], left: readonly string[]): Promise<void> {
    const ids = opened.map(({ sessionId }) => sessionId);
    expect(left.filter((id) => !ids.includes(id))).toEqual([]);
    expect(await entriesOf(user)).toEqual(ids.filter((id) => !left.includes(id)).sort());
  }

  /** Looks for users above the limit until `work` is done. */
  async function watched(type: string, work: () => Promise<void>): Promise<void> {
    let isOver = false;
    const above: unknown[] = [];
    const watching = (async () => {
      while (!isOver) {
        const sql = `SELECT user_id, COUNT(*) AS n FROM user_session WHERE type = '${type}' GROUP BY user_id HAVING n > ${LIMIT}`;
        above.push(...(await fresh(sql)));
        await sleep(20);
      }
    })();
    await work().finally(() => (isOver = true));
    await watching;
    expect(above).toEqual([]);
  }

  /** Gives a user one session less than the limit. */
  async function almostFull(user: string, type: string): Promise<Issued[]> {
    const opened: Issued[] = [];
    while (opened.length < LIMIT - 1) opened.push(await anyOf(processes).do('login', { user, type }));
    return opened;
  }

  describe.each(['EVICT', 'REFUSE'])('%s', (type) => {
    test(`a login on each node at once, of users with ${LIMIT - 1} of ${LIMIT} sessions: never more than ${LIMIT}`, async () => {
      const tally = new Tally();
      await watched(type, () =>
        rounds(async () => {
          const user = newUser();
          const opened = await almostFull(user, type);
          const answers = await Promise.all(
            processes.map(async (process) => {
              await sleep(Math.random() * 4);
              return process.ask('login', { user, type });
            }),
          );
          tally.add(answers.map(outcomeOf).sort().join(' | '));
          const left = await idsOf(user);
          expect(left).toHaveLength(LIMIT);
          await expectConsistent(user, [...opened, ...succeeded(answers)], left);
        }),
      );
      lines.push(`${type}, ${ROUNDS} rounds of three logins: ${String(tally)}`);
      const full = '409 session_limit_reached';
      tally.expect({ [type === 'EVICT' ? '200 | 200 | 200' : `200 | ${full} | ${full}`]: true });
    });

    test(`${LOGINS} logins of one user at once: never more than ${LIMIT}`, async () => {
      const user = newUser();
      const tally = new Tally();
      await watched(type, async () => {
        const logins = Array.from({ length: LOGINS }, (_, at) =>
          processes[at % processes.length].ask('login', { user, type }),
        );
        const answers = await Promise.all(logins);
        for (const answer of answers) tally.add(outcomeOf(answer));
        const left = await idsOf(user);
        expect(left).toHaveLength(LIMIT);
        await expectConsistent(user, succeeded(answers), left);
        if (type === 'REFUSE') expect(succeeded(answers)).toHaveLength(LIMIT);
      });
      lines.push(`${type}, ${LOGINS} logins at once: ${String(tally)}`);
      tally.expect(type === 'EVICT' ? { '200': true } : { '200': true, '409 session_limit_reached': true });
    });
  });

  test('destroyAll races with logins on the other nodes that have begun: none survives', async () => {
    const tally = new Tally();
    await rounds(async () => {
      const user = newUser();
      const [ending, ...others] = [...processes].sort(() => Math.random() - 0.5);
      const before = await ending.do('login', { user, type: 'FREE' });
      const begun = others.map(async (process, at) => {
        const hold = `${user} ${at}`;
        const isHeld = process.held(hold);
        const answer = process.ask('login', { user, type: anyOf(['FREE', 'EVICT', 'REFUSE']), hold });
        await isHeld;
        return { process, hold, answer };
      });
      const logins = await Promise.all(begun);
      const end = () => ending.ask('destroyAll', { user });
      const release = ({ process, hold, answer }: (typeof logins)[number]) =>
        process.do('release', { hold }).then(() => answer);
      const order = anyOf(['logins first', 'ending first', 'at once', 'at once']);
      const answers = order === 'logins first' ? await Promise.all(logins.map(release)) : [];
      const ended = order === 'at once' ? sleep(Math.random() * 10).then(end) : await end();
      if (order !== 'logins first')
        answers.push(
          ...(await Promise.all(logins.map((login) => sleep(Math.random() * 20).then(() => release(login))))),
        );
      expect((await ended).status).toBe(200);
      tally.add(answers.map(outcomeOf).sort().join(' | '));
      expect(await idsOf(user)).toEqual([]);
      await expectConsistent(user, [before, ...succeeded(answers)], []);
      for (const { refresh } of succeeded(answers))
        expect(outcomeOf(await anyOf(processes).ask('refresh', { refresh: refresh as string }))).toBe(
          '401 session_not_found',
        );
      expect(outcomeOf(await ending.ask('login', { user, type: 'FREE' }))).toBe('200');
    });
    lines.push(`destroyAll with two logins, ${ROUNDS} rounds: ${String(tally)}`);
    tally.expect({
      [`${UNAVAILABLE} | ${UNAVAILABLE}`]: true,
      [`200 | ${UNAVAILABLE}`]: false,
      '200 | 200': true,
    });
  });

  test('a node that lags logs nobody out: verdicts wait until it has every write of the other nodes', async () => {
    const tally = new Tally();
    const [first, , last] = processes;
    const node = await new DataSource({ ...galera.nodes[2].options, poolSize: 1 } as DataSourceOptions).initialize();
    const lagging = node.createQueryRunner();
    for (let round = 0; round < LAGS; round++) {
      // The node answers reads, but applies no write. The others go on without it.
      await lagging.query('SET GLOBAL wsrep_desync = ON');
      await lagging.query('FLUSH TABLES WITH READ LOCK');
      const user = newUser();
      const login = await first.do('login', { user, type: 'CHECKED' });
      const { refresh } = await first.do('refresh', { refresh: login.refresh as string });
      const asked = [
        last.ask('verify', { access: login.access }),
        last.ask('refresh', { refresh: refresh as string }),
        last.ask('refresh', { refresh: login.refresh as string }),
      ];
      await sleep(500);
      await lagging.query('UNLOCK TABLES');
      await lagging.query('SET GLOBAL wsrep_desync = OFF');
      for (const answer of await Promise.all(asked)) tally.add(outcomeOf(answer));
      expect(await idsOf(user)).toHaveLength(1);
    }
    await lagging.release();
    await node.destroy();
    lines.push(`a lagging node, ${LAGS} rounds: ${String(tally)}`);
    tally.expect({ '200': true, [UNAVAILABLE]: false });
  });

  test('no process logged an error', () => {
    expect(processes.map(({ printed }) => printed)).toEqual(processes.map(() => ''));
  });
});
