import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { EntityManager } from 'typeorm';
import { Database } from '../../lib/database/database.js';
import { LOCK_WAIT, MAX_LOGIN } from '../../lib/engine/timing.js';
import { SessionLimitReachedError, UnavailableError } from '../../lib/errors.js';
import { multiSessionMigrations } from '../../lib/migrations/index.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { SessionUserEntity } from '../../lib/session/session-user.entity.js';
import { UserRows } from '../../lib/session/user-row.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import {
  createFreely,
  createUnder,
  endOfUser,
  insertRow,
  isEmbedded,
  newJti,
  newLogin,
  newRow,
  shown,
  startProcess,
  startProcesses,
  type TestProcess,
} from './process.js';

const EXACT = { chooseEvicted: () => [], limit: { sessions: 100, isExact: true } };
const FREE = { chooseEvicted: () => [], limit: { sessions: 100, isExact: false } };

/** Returns a promise and the function that resolves it. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

onEachDatabase((name) => {
  let testDatabase: TestDatabase;
  let first: TestProcess;
  let second: TestProcess;
  const opened: { close(): Promise<unknown> }[] = [];

  /** Closes the resource after the test. */
  const use = <T extends { close(): Promise<unknown> }>(resource: T): T => {
    opened.push(resource);
    return resource;
  };
  /** Runs `work` in a transaction that locks the user. Nothing but the row makes such transactions wait for each other. */
  const asUser = <T>(
    { database }: Pick<TestProcess, 'database'>,
    userId: string,
    work: (manager: EntityManager, user: SessionUserEntity) => Promise<T>,
  ) =>
    database.transaction(newJti(), async (manager) =>
      work(manager, await new UserRows(database).lock(manager, userId)),
    );
  /** Locks the user until `end` is called. */
  const hold = async (process: TestProcess, userId: string) => {
    const [begun, end] = [gate(), gate()];
    const holding = asUser(process, userId, async () => {
      begun.open();
      await end.opened;
    });
    await begun.opened;
    return {
      end: async () => {
        end.open();
        await holding;
      },
    };
  };
  const userRow = (userId: string) => first.dataSource.manager.findOneByOrFail(SessionUserEntity, { userKey: userId });
  const countOf = (userId: string) => first.dataSource.manager.countBy(SessionEntity, { userId });

  beforeAll(async () => {
    // These tests provoke errors, which would fill the log.
    Logger.overrideLogger(false);
    testDatabase = await createDatabase(name);
    // Unlike `synchronize`, the migrations make the keys of MariaDB compare byte for byte.
    const tables = { migrations: multiSessionMigrations, migrationsRun: true };
    [first, second] = await startProcesses(testDatabase, 2, tables);
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const resource of opened.splice(0).reverse()) await resource.close();
  });
  afterAll(async () => {
    await second?.close();
    await first?.close();
    await testDatabase?.drop();
  });

  describe('the lock of a user', () => {
    test('lets one transaction run at a time across all processes, and is released if it throws', async () => {
      let [running, most, refused] = [0, 0, 0];
      const work = async () => {
        most = Math.max(most, ++running);
        await sleep(2);
        running--;
        if (Math.random() < 0.3) throw new SessionLimitReachedError();
      };
      await Promise.all(
        Array.from({ length: 30 }, (_, at) =>
          asUser(at % 2 ? first : second, 'alone', work).catch((error: unknown) => {
            expect(error).toBeInstanceOf(SessionLimitReachedError);
            refused++;
          }),
        ),
      );
      expect([most, running]).toEqual([1, 0]);
      expect(refused).toBeGreaterThan(0);
    });

    test('changes the row each time, and its version wraps around', async () => {
      const versions: number[] = [];
      const read = (_: EntityManager, user: SessionUserEntity) => Promise.resolve(versions.push(user.version));
      for (let time = 0; time < 3; time++) await asUser(first, 'counted', read);
      expect(versions).toEqual([1, 2, 3]);
      await first.dataSource.manager.update(SessionUserEntity, { userKey: 'counted' }, { version: 999_999_999 });
      for (let time = 0; time < 2; time++) await asUser(second, 'counted', read);
      expect(versions.slice(3)).toEqual([0, 1]);
    });

    test("has the database's time of its last use, and keeps the time of the last ending", async () => {
      await endOfUser(first, 'timed');
      const { notBefore } = await userRow('timed');
      expect(Math.abs(notBefore.getTime() - Date.now())).toBeLessThan(5000);
      await sleep(5);
      await asUser(second, 'timed', () => Promise.resolve());
      const after = await userRow('timed');
      expect(after.notBefore).toEqual(notBefore);
      expect(after.usedAt.getTime()).toBeGreaterThan(notBefore.getTime());
    });

    test('is written by every login, whether it has a limit or not', async () => {
      await createFreely(first, newRow('written'));
      await createUnder(second, newRow('written'), () => []);
      expect(await userRow('written')).toMatchObject({ version: 2 });
    });
  });

  describe('a login that an ending has overtaken', () => {
    test.each(Object.entries({ 'with a limit': EXACT, 'without a limit': FREE }))(
      'inserts nothing and evicts nothing, %s',
      async (which, rules) => {
        const userId = `overtaken ${which}`;
        const startedAt = Date.now();
        await endOfUser(second, userId);
        const kept = newRow(userId);
        await insertRow(first, kept);
        const late = first.loginStore.create(newLogin(newRow(userId), { startedAt }), {
          ...rules,
          chooseEvicted: (active) => active,
        });
        await expect(late).rejects.toBeInstanceOf(UnavailableError);
        expect(await first.store.listActive(userId)).toEqual([shown(kept)]);
        const { notBefore } = await userRow(userId);
        const next = newLogin(newRow(userId), { startedAt: notBefore.getTime() + 1 });
        await first.loginStore.create(next, rules);
        expect(await countOf(userId)).toBe(2);
      },
    );

    test('does not replace another session', async () => {
      const row = newRow('replacing');
      const startedAt = Date.now();
      await endOfUser(second, 'replacing');
      await insertRow(first, row);
      const late = first.loginStore.replace(row, 'reauthenticated', () => newLogin(newRow('replacing'), { startedAt }));
      await expect(late).rejects.toBeInstanceOf(UnavailableError);
      expect(await first.store.listActive('replacing')).toEqual([shown(row)]);
    });

    test('is refused only if it has the type that was ended, in any letter case', async () => {
      const startedAt = Date.now();
      await endOfUser(second, 'typed', { types: ['long'] });
      for (const rules of [EXACT, FREE]) {
        const long = first.loginStore.create(newLogin(newRow('typed'), { startedAt }), rules);
        await expect(long).rejects.toBeInstanceOf(UnavailableError);
        await first.loginStore.create(newLogin(newRow('typed', { type: 'SHORT' }), { startedAt }), rules);
      }
      expect(await countOf('typed')).toBe(2);
    });
  });

  test.each(Object.entries({ 'with a limit': EXACT, 'without a limit': FREE }))(
    'a login that took too long inserts nothing, %s',
    async (which, rules) => {
      const userId = `slow ${which}`;
      // The row of a user is kept for much longer than a login may take.
      const late = newLogin(newRow(userId), { startedAt: Date.now() - MAX_LOGIN - 1 });
      await expect(first.loginStore.create(late, rules)).rejects.toBeInstanceOf(UnavailableError);
      expect(await countOf(userId)).toBe(0);
      await first.loginStore.create(newLogin(newRow(userId), { startedAt: Date.now() - MAX_LOGIN + 10_000 }), rules);
      expect(await countOf(userId)).toBe(1);
    },
  );

  test('a new session has the times of the database, in the row and in what the store returns', async () => {
    for (const rules of [EXACT, FREE]) {
      const wrong = new Date('2001-01-01T00:00:00.000Z');
      const row = newRow('timely', { createdAt: wrong, lastUpdate: wrong });
      const before = Date.now();
      await first.loginStore.create(newLogin(row, { lifetime: 60_000, absoluteLifetime: 90_000 }), rules);
      expect(await first.store.find(row.id)).toEqual(row);
      const createdAt = row.createdAt.getTime();
      expect(createdAt).toBeGreaterThan(before - 1000);
      expect(createdAt).toBeLessThan(Date.now() + 1000);
      const inSeconds = (time: number) => new Date(Math.floor(time / 1000) * 1000);
      expect(row).toMatchObject({
        lastUpdate: row.createdAt,
        expiresAt: inSeconds(createdAt + 60_000),
        absoluteExpiresAt: inSeconds(createdAt + 90_000),
      });
    }
  });

  if (name === 'postgres') {
    test('a login without a limit sends one statement', async () => {
      const { statements } = await first.log.during(() => createFreely(first, newRow('one statement')));
      expect(statements).toHaveLength(1);
    });
  }
  if (isEmbedded({ name })) return;

  describe('on a database server', () => {
    test('transactions of different users run at the same time', async () => {
      const [here, there] = [gate(), gate()];
      const meet = (own: typeof here, other: typeof here) => async () => {
        own.open();
        await other.opened;
        return 'met';
      };
      expect(
        await Promise.all([
          asUser(first, 'alice', meet(here, there)),
          asUser(first, 'Alice', meet(there, here)),
          asUser(first, 'alice ', () => here.opened.then(() => 'met')),
        ]),
      ).toEqual(['met', 'met', 'met']);
    });

    test('waiting too long for a user fails with 503, and does nothing', async () => {
      const impatient = { database: new Database(second.dataSource, 1) };
      const held = await hold(first, 'busy');
      let isDone = false;
      const work = () => Promise.resolve((isDone = true));
      await expect(asUser(impatient, 'busy', work)).rejects.toBeInstanceOf(UnavailableError);
      expect(isDone).toBe(false);
      await held.end();
      expect(await asUser(impatient, 'busy', work)).toBe(true);
    });

    test(
      'the server ends such a wait, so that the connection can be used again',
      async () => {
        const codes = { postgres: '55P03', mariadb: 'ER_LOCK_WAIT_TIMEOUT' } as Record<string, string>;
        const process = use(await startProcess(testDatabase, { poolSize: 1 }));
        const connection = async () => {
          const [{ id }] = await process.dataSource.query<[{ id: unknown }]>(
            name === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT connection_id() AS id',
          );
          return id;
        };
        const timeout = () =>
          process.dataSource.query(name === 'postgres' ? 'SHOW lock_timeout' : 'SELECT @@innodb_lock_wait_timeout');
        const [before, normal] = [await connection(), await timeout()];
        const held = await hold(first, 'stuck');
        // The wait on MariaDB is the same for all.
        const database = new Database(process.dataSource, name === 'postgres' ? 1 : LOCK_WAIT / 1000);
        const waited = asUser({ database }, 'stuck', () => Promise.resolve());
        await expect(waited).rejects.toMatchObject({ cause: { code: codes[name] } });
        await held.end();
        expect([await connection(), await timeout()]).toEqual([before, normal]);
      },
      3 * LOCK_WAIT,
    );

    test('logins that wait for one user take one connection of the pool, so other users are served', async () => {
      const process = use(await startProcess(testDatabase, { poolSize: 2 }));
      const held = await hold(first, 'crowded');
      const waiting = Array.from({ length: 20 }, () => createUnder(process, newRow('crowded'), () => []));
      await sleep(50);
      await createUnder(process, newRow('other'), () => []);
      expect(await countOf('other')).toBe(1);
      expect(await countOf('crowded')).toBe(0);
      await held.end();
      await Promise.all(waiting);
      expect(await countOf('crowded')).toBe(20);
    });

    test('endings of a user wait for a login that has counted already, and end its session', async () => {
      const [counted, go] = [gate(), gate()];
      const row = newRow('counting');
      const slow = second.database.transaction.bind(second.database);
      jest.spyOn(second.database, 'transaction').mockImplementation((lock, work) =>
        slow(lock, async (manager) => {
          const result = await work(manager);
          counted.open();
          await go.opened;
          return result;
        }),
      );
      const login = createUnder(second, row, () => []);
      await counted.opened;
      const ending = endOfUser(first, 'counting');
      await sleep(50);
      go.open();
      await login;
      expect((await ending).map((one) => one.row.id)).toEqual([row.id]);
      expect(await countOf('counting')).toBe(0);
    });
  });
});
