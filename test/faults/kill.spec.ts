import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  BlacklistEntity,
  SessionCleanup,
  SessionEntity,
  SessionService,
  type IssuedSession,
} from 'nestjs-multisession';
import { DataSource, type DataSourceOptions, Not } from 'typeorm';
import { SessionAdminActionEntity } from '../../lib/session/session-admin-action.entity.js';
import { SessionJobEntity } from '../../lib/database/job.entity.js';
import { bearer, SECRET_KEY, SIGNING_SECRET, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type DatabaseName, sharedDatabases, type TestDatabase } from '../helpers/databases.js';
import { SMALL } from '../helpers/size.js';
import { until } from './outage.js';
import { Victims, type Work } from './victims.js';

/** Kills before every statement. A small run skips some. */
const STEP = SMALL ? 3 : 1;
/** How long the locks of a dead process may hold up its user, in milliseconds, beyond what the requests take anyway. */
const HELD_UP_AT_MOST = 3000;
/** How long a condition may take on a slow machine: less than the ten seconds for which the library waits for a lock. */
const PATIENCE = 8000;

const LONG = {
  refreshTokenLifetime: '1h',
  maxActiveSessions: 3,
  blacklistAfterRotation: true,
  // Without a grace, a lost answer is recovered at once.
  reuseGrace: 0,
  extendSession: 'every-refresh',
} as const;
const OPTIONS = {
  jwt: { secret: SIGNING_SECRET },
  secretKey: SECRET_KEY,
  policies: { LONG },
  cleanup: { interval: '1h', batchSize: 2 },
} as const;
/** Without polls, every statement that is counted belongs to the work. */
const WITHOUT_POLLS = { ...OPTIONS, revocation: { pollInterval: '1h', maxStaleness: '1h' } };

/** What the database holds of one user. */
interface Stored {
  /** The id and generation of each session. */
  readonly rows: readonly (readonly [string, number])[];
  readonly ended: readonly string[];
  readonly superseded: number;
  /** What administrators did. */
  readonly actions?: readonly string[];
}

/** An operation during which a process is killed. */
interface Scenario {
  readonly title: string;
  /** Whether a small run includes it. */
  readonly inSmall?: boolean;
  readonly prepare: (at: Bench, userId: string) => Promise<{ work: Work; before: IssuedSession[] }>;
  /**
   * What the database holds if the operation took effect. Otherwise it must hold what it did before.
   * @param made ids of the sessions that the operation began
   */
  readonly all: (before: IssuedSession[], made: readonly string[]) => Stored;
}

/** The application that survives, on the same database as the processes that are killed. */
class Bench {
  constructor(readonly app: TestApp) {}

  get sessions(): SessionService {
    return this.app.get(SessionService);
  }

  async begin(userId: string, count: number): Promise<IssuedSession[]> {
    this.app.users.users.set(userId, { id: userId, password: 'a password', active: true });
    const begun: IssuedSession[] = [];
    for (let at = 0; at < count; at++) begun.push(await this.sessions.create(userId, { type: 'LONG' }));
    return begun;
  }

  async stored(userId: string): Promise<Stored> {
    const { manager } = this.app.get(DataSource);
    const rows = await manager.find(SessionEntity, { where: { userId }, order: { id: 'ASC' } });
    const entries = await manager.find(BlacklistEntity, { where: { userId }, order: { sessionId: 'ASC' } });
    const actions = await manager.findBy(SessionAdminActionEntity, { userId });
    return {
      ...(actions.length > 0 && { actions: actions.map(({ action, byUserId }) => `${action} by ${byUserId}`) }),
      rows: rows.map(({ id, generation }) => [id, generation] as const),
      ended: entries.filter(({ kind }) => kind === 'session').map(({ sessionId }) => sessionId),
      superseded: entries.filter(({ kind }) => kind === 'token').length,
    };
  }

  async letIn(access: string): Promise<boolean> {
    return (await this.app.post('list/', { session: 'LONG' }, bearer(access))).status === 200;
  }
}

const live = (sessions: readonly IssuedSession[], generation = 0) =>
  sessions.map(({ session }) => [session.id, generation] as const);

const SCENARIOS: Scenario[] = [
  {
    title: 'login, with an eviction',
    inSmall: true,
    prepare: async (at, userId) => ({ work: { operation: 'login', userId }, before: await at.begin(userId, 3) }),
    all: ([first, ...others], made) => ({
      rows: [...live(others), [made[0], 0]],
      ended: [first.session.id],
      superseded: 0,
    }),
  },
  {
    title: 'refresh: rotate',
    prepare: async (at, userId) => {
      const before = await at.begin(userId, 1);
      return { work: { operation: 'refresh', token: before[0].refresh }, before };
    },
    all: (before) => ({ rows: live(before, 1), ended: [], superseded: 1 }),
  },
  {
    title: 'refresh: recover',
    inSmall: true,
    prepare: async (at, userId) => {
      const before = await at.begin(userId, 1);
      await at.sessions.refresh(before[0].refresh);
      return { work: { operation: 'refresh', token: before[0].refresh }, before };
    },
    all: (before) => ({ rows: live(before, 2), ended: [], superseded: 2 }),
  },
  {
    title: 'logout',
    prepare: async (at, userId) => {
      const before = await at.begin(userId, 2);
      return { work: { operation: 'logout', token: before[0].refresh }, before };
    },
    all: ([first, second]) => ({ rows: live([second]), ended: [first.session.id], superseded: 0 }),
  },
  {
    title: 'destroyAllOther',
    prepare: async (at, userId) => {
      const before = await at.begin(userId, 3);
      return { work: { operation: 'destroyAllOther', userId, kept: before[2].session.id }, before };
    },
    all: ([first, second, kept]) => ({
      rows: live([kept]),
      ended: [first.session.id, second.session.id].sort(),
      superseded: 0,
    }),
  },
  {
    title: 'destroy by an administrator',
    prepare: async (at, userId) => {
      const before = await at.begin(userId, 2);
      return { work: { operation: 'adminDestroy', sessionId: before[0].session.id }, before };
    },
    all: ([first, second]) => ({
      actions: ['end-session by admin'],
      rows: live([second]),
      ended: [first.session.id],
      superseded: 0,
    }),
  },
  {
    title: 'destroyAll by an administrator',
    inSmall: true,
    prepare: async (at, userId) => ({
      work: { operation: 'adminDestroyAll', userId },
      before: await at.begin(userId, 2),
    }),
    all: ([first, second]) => ({
      actions: ['end-user by admin'],
      rows: [],
      ended: [first.session.id, second.session.id].sort(),
      superseded: 0,
    }),
  },
];

describe.each(sharedDatabases())('%s', (name) => {
  const folder = mkdtempSync(join(tmpdir(), 'kill-'));
  let database: TestDatabase;
  let at: Bench;
  let victims: Victims;

  beforeAll(async () => {
    database = await sharedDatabase(name, folder);
    at = new Bench(await startApp({ database, options: { ...OPTIONS, revocation: { pollInterval: '200ms' } } }));
    victims = new Victims(database.options, WITHOUT_POLLS, 3);
  });
  afterAll(async () => {
    await victims?.stop();
    await at?.app.close();
    await database?.drop();
    rmSync(folder, { recursive: true });
  });

  test.each(SMALL ? SCENARIOS.filter(({ inSmall }) => inSmall) : SCENARIOS)(
    'killed before any statement of a $title',
    async ({ title, prepare, all }) => {
      let [longest, done] = [0, 0];
      const killPoints = await killAtEach(async (killBefore) => {
        const userId = `${title} ${killBefore}`;
        const { work, before } = await prepare(at, userId);
        const nothing = await at.stored(userId);
        const statements = await victims.kill(work, killBefore);

        const made = (await at.stored(userId)).rows.map(([id]) => id).filter((id) => !isOneOf(before, id));
        const found = await at.stored(userId);
        const wasDone = JSON.stringify(found) !== JSON.stringify(nothing);
        expect(found).toEqual(wasDone ? all(before, made) : nothing);
        if (statements) expect(wasDone).toBe(true);
        if (wasDone) done++;
        // Another user does the same at the same time, which shows how long it takes on this machine.
        const other = `${userId} undisturbed`;
        const { before: othersBefore } = await prepare(at, other);
        const othersFound = await at.stored(other);
        const [took, undisturbed] = await Promise.all([
          timeOf(() => goesOn(at, userId, before, found)),
          timeOf(() => goesOn(at, other, othersBefore, othersFound)),
        ]);
        longest = Math.max(longest, took - 2 * undisturbed);
        return statements;
      });
      expect(done).toBeGreaterThan(0);
      expect(longest).toBeLessThan(HELD_UP_AT_MOST);
      process.stdout.write(`${name}: ${title}: ${killPoints} kill points, held up by ${Math.round(longest)} ms\n`);
    },
  );

  test('killed before any statement of a cleanup', async () => {
    const killPoints = await killAtEach(
      async (killBefore) => {
        const userId = `cleanup ${killBefore}`;
        const begun = await at.begin(userId, 3);
        const expired = begun.slice(0, 2).map(({ session }) => session.id);
        const other = await at.begin(`${userId} other`, 2);
        await at.sessions.destroy(other[0].session.id);
        await expire(at, [...expired, other[1].session.id], other[0].session.id);

        const statements = await victims.kill({ operation: 'cleanup' }, killBefore);
        const left = async () =>
          (await at.stored(userId)).rows.length + (await at.stored(`${userId} other`)).rows.length;
        // Cleanup deletes batches of two, each as a whole, and never the one session that has not expired.
        expect([4, 2, 1]).toContain(await left());
        // The server may take a moment to notice that the process that held the lock is dead.
        await until('another process cannot clean up', PATIENCE, async () => {
          // The dead process keeps its turn for a minute. The test does not wait for that.
          await at.app.get(DataSource).manager.update(SessionJobEntity, { name: Not('') }, { until: new Date(0) });
          await at.app.get(SessionCleanup).run();
          return (await left()) === 1;
        });
        expect(await at.stored(userId)).toEqual({ rows: live([begun[2]]), ended: [], superseded: 0 });
        expect(await at.stored(`${userId} other`)).toEqual({ rows: [], ended: [], superseded: 0 });
        return statements;
      },
      2 * STEP - 1,
    );
    process.stdout.write(`${name}: cleanup: ${killPoints} kill points\n`);
  });
});

/**
 * Kills a process before its first statement, another before its second, and so on, until one finishes its work.
 * @returns how many were killed
 */
async function killAtEach(kill: (killBefore: number) => Promise<string[] | undefined>, step = STEP): Promise<number> {
  for (let kills = 0, killBefore = 1; ; kills++, killBefore += step) {
    const statements = await kill(killBefore);
    if (!statements) continue;
    // The work finished only because no statement was left to kill it before.
    expect(killBefore - statements.length).toBeLessThanOrEqual(step);
    return kills;
  }
}

const isOneOf = (sessions: readonly IssuedSession[], id: string) => sessions.some(({ session }) => session.id === id);

/** Checks that ended sessions are refused, that live ones go on with their client's token, and that the user can log in. */
async function goesOn(at: Bench, userId: string, before: readonly IssuedSession[], found: Stored): Promise<void> {
  for (const { session, access, refresh } of before) {
    if (found.ended.includes(session.id)) {
      await until('an ended session is let in', PATIENCE, async () => !(await at.letIn(access)));
      await expect(at.sessions.refresh(refresh)).rejects.toMatchObject({ status: 401 });
    } else {
      expect(await at.letIn(access)).toBe(true);
      const again = await at.sessions.refresh(refresh);
      expect(again.refresh).toEqual(expect.any(String));
      await at.sessions.refresh(String(again.refresh));
    }
  }
  const { refresh } = await at.sessions.create(userId, { type: 'LONG' });
  expect((await at.stored(userId)).rows.length).toBeLessThanOrEqual(LONG.maxActiveSessions);
  await at.sessions.logout(refresh);
  const { rows, ended } = await at.stored(userId);
  expect(rows.filter(([id]) => ended.includes(id))).toEqual([]);
}

/** Returns how long the work takes, in milliseconds. */
async function timeOf(work: () => Promise<void>): Promise<number> {
  const since = performance.now();
  await work();
  return performance.now() - since;
}

/** Lets sessions and a blacklist entry expire. */
async function expire(at: Bench, sessionIds: string[], entryOf: string): Promise<void> {
  const { manager } = at.app.get(DataSource);
  const past = new Date(Date.now() - 3_600_000);
  for (const id of sessionIds) await manager.update(SessionEntity, { id }, { expiresAt: past, cleanupAt: past });
  await manager.update(BlacklistEntity, { sessionId: entryOf }, { expiresAt: past });
}

/** Creates a database that other processes can open. For SQLite that is a file instead of memory. */
async function sharedDatabase(name: DatabaseName, folder: string): Promise<TestDatabase> {
  const database = await createDatabase(name);
  if ('url' in database.options) return database;
  const options = { type: 'better-sqlite3', database: join(folder, 'kill.db'), timeout: 10_000 } as DataSourceOptions;
  return { ...database, options };
}
