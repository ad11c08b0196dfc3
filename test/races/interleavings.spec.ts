import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { DataSource } from 'typeorm';
import type { IssuedSession } from '../../lib/session/new-session.js';
import { SessionJobEntity } from '../../lib/database/job.entity.js';
import { SessionUserEntity } from '../../lib/session/session-user.entity.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { MultiSessionError } from '../../lib/errors.js';
import { selectedDatabases } from '../helpers/databases.js';
import { variants } from '../helpers/size.js';
import { Tally } from '../helpers/tally.js';
import { decoded } from '../helpers/tokens.js';
import { Interleavings, type Operation, type Run } from './interleavings.js';
import { type Lab, type LabProcess, openLab } from './lab.js';
import { ROUNDS } from './race.js';

const LIMIT = 2;
/** In milliseconds. */
const MAX_CLOCK_LAG = 5;
/** How long one case may take, in milliseconds. With three operations, some have thousands of orders. */
const MAX_DURATION = 4 * 3_600_000;
const POLICIES = {
  FREE: { refreshTokenLifetime: '1d', renewal: true },
  OTHER: { refreshTokenLifetime: '1d' },
  EVICT: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT },
  REFUSE: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT, whenFull: 'refuse' },
} as const;
/** The renderer that renews has a key. */
const OPTIONS = { policies: POLICIES, maxActiveSessionsPerUser: 4, backendKeys: 'the backend key of the tests' };
type Type = keyof typeof POLICIES;
/** A session that the user has at first. */
type First = Type | 'expired';

/** Transactions on SQLite run one after the other, on one connection, so their statements have only one order. */
const SELECTED = selectedDatabases().filter((name) => name === 'postgres' || name === 'mariadb');
const SERVERS = SELECTED.length > 0 ? SELECTED : (['postgres'] as const);

/** What one run begins with. */
interface Scene {
  readonly user: string;
  readonly observer: DataSource;
  /** The id of a session that has expired. */
  readonly expired?: string;
  readonly sessions: readonly IssuedSession[];
}

/** An operation on a user's sessions. */
interface Act {
  /** The first word of the operation's name. */
  readonly kind: string;
  run(process: LabProcess, scene: Scene): Promise<unknown>;
  /** Of which type it ends every session that it finds. */
  readonly ends?: Type | 'ALL';
  /** Of which type it makes a session. */
  readonly makes?: Type;
}

const login = (type: Type): Act => ({
  kind: `login ${type}`,
  makes: type,
  run: ({ engine }, { user }) => engine.sessions.login({ username: user, password: '' }, { type }),
});
const destroyAll = (type?: Type): Act => ({
  kind: 'destroyAll',
  ends: type ?? 'ALL',
  run: ({ engine }, { user }) => engine.sessions.destroyAll(user, { type }),
});
const destroyOthers: Act = {
  kind: 'destroyOthers',
  ends: 'ALL',
  run: ({ engine }, { user, sessions }) => engine.sessions.destroyOthers(user, sessions[0].session.id),
};
const logout: Act = {
  kind: 'logout',
  run: ({ engine }, { sessions }) => engine.sessions.logout(sessions[0].refresh),
};
const refresh: Act = {
  kind: 'refresh',
  run: ({ engine }, { sessions }) => engine.sessions.refresh(sessions[0].refresh),
};
const renew: Act = {
  kind: 'renew',
  run: ({ engine }, { sessions }) => engine.sessions.renew(sessions[0].refresh),
};
/** Prepares a session in a transaction of the application, and issues it after the commit. */
const prepare = (type: Type): Act => ({
  kind: `prepare ${type}`,
  makes: type,
  run: async ({ engine, dataSource }, { user }) => {
    const prepared = await dataSource.transaction((manager) => engine.sessions.prepare(user, { type }, manager));
    return prepared.issue();
  },
});
/** The time of the database minus what the process is sure of, in milliseconds. */
async function clockLag({ engine: { clock, database } }: LabProcess, observer: DataSource): Promise<number> {
  const [{ now }] = await observer.query<[{ now: string | number }]>(`SELECT ${database.now} AS now`);
  return Number(now) - clock.earliest();
}

/** Waits until the process is sure that the present time of the database has passed. */
async function clockHasPassed(process: LabProcess, observer: DataSource): Promise<void> {
  const { clock } = process.engine;
  const passed = clock.earliest() + (await clockLag(process, observer));
  while (clock.earliest() <= passed) await sleep(1);
}

/** The same, but so late that the cleanup may delete the prepared session. */
const prepareLate = (type: Type): Act => ({
  kind: `prepare ${type} late`,
  makes: type,
  run: async ({ engine, dataSource }, { user, observer }) => {
    const prepared = await dataSource.transaction((manager) => engine.sessions.prepare(user, { type }, manager));
    await observer.query(`UPDATE user_session SET prepared_at = 1 WHERE id = '${prepared.id}'`);
    return prepared.issue();
  },
});
/** The parts of the cleanup. Each is a transaction of its own. */
const endExpired: Act = {
  kind: 'end of expired sessions',
  run: async ({ engine }) => engine.endings.publish((await engine.cleanupStore.endExpired(10))?.ended ?? []),
};
const deleteUnused: Act = {
  kind: 'deletion of unused users',
  run: ({ engine }) => engine.cleanupStore.deleteUnusedUsers('', 10),
};
const reauthenticate: Act = {
  kind: 'reauthenticate',
  run: async ({ engine }, { user, sessions }) =>
    engine.sessions.reauthenticate(await engine.sessions.verify(sessions[0].access), { username: user, password: '' }),
};

describe.each(SERVERS)('%s', (name) => {
  let lab: Lab;
  let interleavings: Interleavings;
  let users = 0;
  /** Takes a part of the library out. */
  let rewrite = (text: string) => text;
  const lines: string[] = [];

  beforeAll(async () => {
    lab = await openLab(name, OPTIONS, 3, (observer) => {
      interleavings = new Interleavings(observer);
      return {
        statement: (process) => ({
          pass: (statement) => interleavings.step(process, statement),
          rewrite: (text) => rewrite(text),
        }),
        authenticate: () => Promise.resolve(),
      };
    });
  });
  beforeAll(async () => {
    // The first cleanup ever inserts rows for its jobs.
    for (const { engine } of lab.processes) {
      await freeJobs();
      await engine.cleanup.run();
    }
  });
  afterEach(() => {
    rewrite = (text) => text;
  });
  afterAll(async () => {
    console.log(lines.join('\n'));
    await lab?.close();
  });

  /** Lets every process take each job. */
  const freeJobs = () =>
    lab.observer
      .createQueryBuilder()
      .update(SessionJobEntity)
      .set({ until: new Date(0) })
      .execute();

  /** Runs the acts in every order, each on its own process, and checks what must hold in each. */
  async function explore(first: readonly First[], acts: readonly Act[]): Promise<void> {
    const title = acts.map(({ kind }) => kind).join(', ');
    const outcomes = new Tally();
    let scene: Scene;
    const prepare = async (): Promise<Operation[]> => {
      const user = `user-${users++}`;
      const { sessions: service } = lab.processes[0].engine;
      const sessions: IssuedSession[] = [];
      const { observer } = lab;
      for (const table of [SessionEntity, BlacklistEntity, SessionUserEntity])
        await observer.createQueryBuilder().delete().from(table).execute();
      await freeJobs();
      // What a process does not know of the time grows since its last answer.
      for (const process of lab.processes)
        if ((await clockLag(process, observer)) > MAX_CLOCK_LAG) await process.engine.poller.poll();
      for (const type of first) {
        const { session, ...tokens } = await service.create(user, { type: type === 'expired' ? 'FREE' : type });
        if (type === 'expired')
          await observer.query(
            `UPDATE user_session SET expires_at = 1000, cleanup_at = 1000 WHERE id = '${session.id}'`,
          );
        sessions.push({ session, ...tokens });
      }
      // Without sessions, the row of the user is old enough for the cleanup.
      const old = { userKey: user, version: 1, notBefore: new Date(0), usedAt: new Date(1000) };
      if (first.length === 0) await observer.manager.insert(SessionUserEntity, old);
      scene = { user, sessions, observer, expired: first[0] === 'expired' ? sessions[0].session.id : undefined };
      lab.takeEnded();
      return acts.map((act, at) => ({
        name: lab.processes[at].name,
        readsClock: act.makes !== undefined,
        clockHasPassed: () => clockHasPassed(lab.processes[at], lab.observer),
        run: () => act.run(lab.processes[at], scene),
      }));
    };
    const rowsOf = async (user: string) => {
      const rows = await lab.observer.manager.findBy(SessionEntity, { userId: user });
      return rows.filter(({ expiresAt }) => expiresAt.getTime() > 0);
    };
    const watch = async (steps: readonly string[]) => {
      const rows = await rowsOf(scene.user);
      for (const type of ['EVICT', 'REFUSE']) {
        const { length } = rows.filter((row) => row.type === type);
        if (length > LIMIT) throw new Error(`${length} sessions of ${type} after:\n${steps.join('\n')}`);
      }
    };
    const check = async (run: Run) => {
      try {
        const rows = await rowsOf(scene.user);
        await expectConsistent(
          scene,
          run,
          rows.map(({ id }) => id),
        );
        acts.forEach((_act, at) => expectRightAct(run, acts, at, rows));
        outcomes.add(acts.map((_act, at) => outcomeOf(run, lab.processes[at].name)).join(' | '));
      } catch (error) {
        throw new Error(`${(error as Error).message}\nafter:\n${run.steps.join('\n')}`, { cause: error });
      }
    };
    const report = (orders: number, share: number) =>
      void process.stdout.write(`${name}: ${title}: ${orders} orders, about ${(100 * share).toFixed(1)} % of all\n`);
    const orders = await interleavings.explore(prepare, check, watch, report);
    lines.push(`${name}: ${title}: ${orders} orders; ${String(outcomes)}`);
    expect(orders).toBeGreaterThan(1);
  }

  /** Each session is alive, or has ended once and has an entry, which outlives the access tokens. */
  async function expectConsistent(
    { user, sessions, expired }: Scene,
    run: Run,
    alive: readonly string[],
  ): Promise<void> {
    const made = [...run.ended.values()].flatMap((end) => ('value' in end ? issuedIn(end.value) : []));
    const known = [...new Set([...sessions.map(({ session }) => session.id), ...made])];
    expect(alive.filter((id) => !known.includes(id))).toEqual([]);
    const entries = await lab.observer.manager.findBy(BlacklistEntity, { userId: user, kind: 'session' });
    const ended = known.filter((id) => !alive.includes(id)).sort();
    // An expired session needs no entry: its access tokens have expired too.
    expect(entries.map(({ sessionId }) => sessionId).sort()).toEqual(ended.filter((id) => id !== expired));
    for (const { access } of [...sessions, ...valuesOf(run)]) {
      const { sid, exp } = decoded(access, 1);
      const entry = entries.find(({ sessionId }) => sessionId === sid);
      if (entry) expect(entry.expiresAt.getTime()).toBeGreaterThanOrEqual(Number(exp) * 1000);
    }
    expect(
      lab
        .takeEnded()
        .filter((id) => known.includes(id))
        .sort(),
    ).toEqual(ended);
  }

  function expectRightAct(run: Run, acts: readonly Act[], at: number, rows: readonly SessionEntity[]): void {
    const { name: process } = lab.processes[at];
    const end = run.ended.get(process);
    if (end && 'error' in end && !(end.error instanceof MultiSessionError)) throw end.error as Error;
    const [begun, over] = [`${process}: begin`, `${process}: end`].map((step) => run.steps.indexOf(step));
    const { makes } = acts[at];
    if (!makes) return;
    acts.forEach(({ ends }, other) => {
      if (ends !== 'ALL' && ends !== makes) return;
      const { name: ending } = lab.processes[other];
      if (!('value' in (run.ended.get(ending) ?? {}))) return;
      const first = run.steps.filter((step) => step.startsWith(`${ending}: `))[1];
      const isBefore = begun < run.steps.indexOf(first);
      const isAfter = begun > run.steps.indexOf(`${ending}: end`);
      const made = end && 'value' in end ? issuedIn(end.value) : [];
      const isAlive = rows.some(({ id }) => made.includes(id));
      if (isBefore && isAlive) throw new Error('a login survived an ending that came after its start');
      if (isAfter && acts.length === 2) expect(rows.filter(({ id }) => made.includes(id))).toHaveLength(1);
    });
    expect(over).toBeGreaterThan(begun);
  }

  /** What operations have returned that issue an access token. */
  const valuesOf = (run: Run): { access: string }[] =>
    [...run.ended.values()].flatMap((end) => {
      const { access } = ('value' in end ? (end.value ?? {}) : {}) as { access?: string };
      return access === undefined ? [] : [{ access }];
    });

  const issuedIn = (value: unknown): string[] => {
    const { session, refresh: isNew } = (value ?? {}) as Partial<IssuedSession>;
    return session && isNew ? [session.id] : [];
  };

  const outcomeOf = (run: Run, process: string): string => {
    const end = run.ended.get(process);
    if (!end || 'value' in end) return 'ok';
    return end.error instanceof MultiSessionError ? end.error.code : String(end.error);
  };

  const CASES: [First[], Act[]][] = [
    [['EVICT'], [login('EVICT'), login('EVICT')]],
    [['REFUSE'], [login('REFUSE'), login('REFUSE')]],
    [['FREE'], [login('FREE'), destroyAll()]],
    [
      ['EVICT', 'EVICT'],
      [login('EVICT'), destroyAll()],
    ],
    [['FREE'], [login('FREE'), destroyAll('FREE')]],
    [['FREE'], [login('FREE'), destroyOthers]],
    [
      ['FREE', 'OTHER'],
      [destroyAll(), destroyOthers],
    ],
    [
      ['EVICT', 'EVICT'],
      [login('EVICT'), logout],
    ],
    [
      ['EVICT', 'EVICT'],
      [login('EVICT'), refresh],
    ],
    [['FREE'], [refresh, destroyAll()]],
    [['FREE'], [renew, destroyAll()]],
    [['FREE'], [reauthenticate, destroyAll()]],
    [
      ['FREE', 'FREE'],
      [reauthenticate, destroyOthers],
    ],
    [['expired'], [endExpired, destroyAll()]],
    [['expired'], [endExpired, refresh]],
    [['expired'], [endExpired, logout]],
    [['expired'], [endExpired, endExpired]],
    [['expired'], [endExpired, login('EVICT')]],
    [[], [deleteUnused, login('FREE')]],
    [[], [deleteUnused, login('EVICT')]],
    [[], [deleteUnused, destroyAll()]],
    [['FREE'], [prepare('FREE'), destroyAll()]],
    [['FREE'], [prepare('FREE'), destroyAll('FREE')]],
    [['FREE'], [prepare('FREE'), destroyOthers]],
    [['EVICT'], [prepare('EVICT'), login('EVICT')]],
    [['REFUSE'], [prepare('REFUSE'), prepare('REFUSE')]],
    [[], [endExpired, prepareLate('FREE')]],
  ];
  /** Thousands of orders, so not in the small size. */
  const OF_THREE: [First[], Act[]][] = [
    [['EVICT'], [login('EVICT'), login('EVICT'), destroyAll()]],
    [['REFUSE'], [login('REFUSE'), logout, destroyAll()]],
    [['EVICT'], [prepare('EVICT'), login('EVICT'), destroyAll()]],
  ];
  // In a small run, each case has one of the servers.
  const ofServer = CASES.filter((_, turn) => variants<string>(SERVERS, turn).includes(name));
  test.each(
    [...ofServer, ...(ROUNDS < 1000 ? [] : OF_THREE)].map(
      ([first, acts]) =>
        [acts.map(({ kind }) => kind).join(', ') + (first.length === 0 ? ', no session' : ''), first, acts] as const,
    ),
  )('every order of %s', (_, first, acts) => explore(first, acts), MAX_DURATION);

  // The exploration is worth something only if it finds what it looks for.
  if (name !== 'postgres') return;
  const LOCK = /^INSERT INTO "session_user" AS existing .* VALUES \(\$1, 1, 0, (.*)\) ON CONFLICT .* RETURNING .*$/;

  test('without the write of the row of the user, it finds a login that goes past a limit', async () => {
    const read = `SELECT k, 1, COALESCE(not_before, 0), not_before_by_type, $1
      FROM (SELECT CAST($1 AS varchar) AS k) AS given LEFT JOIN "session_user" ON user_key = k`;
    rewrite = (text) => text.replace(LOCK, (_, now: string) => read.replace(', $1', `, ${now}`));
    await expect(explore(['EVICT'], [login('EVICT'), login('EVICT')])).rejects.toThrow('3 sessions of EVICT after');
  });

  test('without the time of the last ending, it finds a login that survives the ending', async () => {
    rewrite = (text) => (LOCK.test(text) ? text.replace(/RETURNING (.*?), "not_before"/, 'RETURNING $1, 0') : text);
    await expect(explore(['EVICT'], [login('EVICT'), destroyAll()])).rejects.toThrow('a login survived');
  });
});
