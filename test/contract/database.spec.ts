import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { DataSource, DataSourceOptions, EntityManager } from 'typeorm';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';
import { Database } from '../../lib/database/database.js';
import {
  MultiSessionConfigurationError,
  SessionLimitReachedError,
  ServerFaultError,
  UnavailableError,
} from '../../lib/errors.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import type { RefreshedRow } from '../../lib/session/refresh-store.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, type DatabaseName, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import {
  createFreely,
  createUnder,
  endOfUser,
  isEmbedded,
  newJti,
  newRow,
  NO_GRACE,
  startProcess,
  startProcesses,
  type TestProcess,
  tokenOf,
  granted,
  shown,
} from './process.js';

/** Returns a promise and the function that resolves it. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

const values = (row: SessionEntity) => row as QueryDeepPartialEntity<SessionEntity>;

/** Statements that raise the errors after which a server expects a retry. */
const RETRIED: Partial<Record<DatabaseName, string[]>> = {
  postgres: [
    "DO $$ BEGIN RAISE EXCEPTION 'serialisation' USING ERRCODE = '40001'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$",
  ],
  mariadb: [
    "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'deadlock'",
    "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1020, MESSAGE_TEXT = 'changed since it was read'",
    "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 3101, MESSAGE_TEXT = 'a conflict at the commit'",
  ],
};

/** Statements that raise the error of a wait for a lock that took too long. */
const FINAL: Partial<Record<DatabaseName, string[]>> = {
  postgres: ["DO $$ BEGIN RAISE EXCEPTION 'lock time-out' USING ERRCODE = '55P03'; END $$"],
  mariadb: ["SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205, MESSAGE_TEXT = 'lock time-out'"],
};

/** Driver options that change how values or row counts come back. The results must not depend on them. */
const DRIVER_OPTIONS: Partial<Record<DatabaseName, Partial<DataSourceOptions>[]>> = {
  postgres: [{ parseInt8: true }, { parseInt8: false }, { extra: { options: '-c TimeZone=America/St_Johns' } }],
  mariadb: [
    { supportBigNumbers: true, bigNumberStrings: true },
    { supportBigNumbers: true, bigNumberStrings: false },
    { supportBigNumbers: false, bigNumberStrings: false },
    { flags: ['-FOUND_ROWS'] },
    { timezone: '-03:30', dateStrings: true },
    { charset: 'latin1' },
  ] as Partial<DataSourceOptions>[],
};

test('an unsupported database is refused with an error that names the supported ones', () => {
  const dataSource = { options: { type: 'mssql' } } as DataSource;
  expect(() => new Database(dataSource)).toThrow(MultiSessionConfigurationError);
  expect(() => new Database(dataSource)).toThrow(/"mssql" is not supported.*postgres.*mariadb.*better-sqlite3/);
});

test.each(['postgres', 'mysql'])('the Data API of Aurora is refused with an error that names %s', (type) => {
  const dataSource = { options: { type: `aurora-${type}` } } as DataSource;
  expect(() => new Database(dataSource)).toThrow(MultiSessionConfigurationError);
  expect(() => new Database(dataSource)).toThrow(new RegExp(`not supported; connect to the writer .* "${type}"`));
});

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
  const create = async (userId: string, process = first) => {
    const row = newRow(userId);
    await createFreely(process, row);
    return row;
  };
  const renamed = (manager: EntityManager, row: SessionEntity, info: string) =>
    manager.update(SessionEntity, { id: row.id }, { info });
  const logged = () => {
    Logger.overrideLogger(['error']);
    return jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
  };

  beforeAll(async () => {
    testDatabase = await createDatabase(name);
    [first, second] = await startProcesses(testDatabase, 2);
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

  describe('a transaction', () => {
    test('is all or nothing', async () => {
      const row = await create('alice');
      logged();
      const half = first.database.transaction(undefined, async (manager) => {
        await renamed(manager, row, 'half');
        await manager.query('SELECT * FROM there_is_no_such_table');
      });
      await expect(half).rejects.toBeInstanceOf(ServerFaultError);
      expect((await first.store.find(row.id))?.info).toBe('a test');
      await first.database.transaction(undefined, (manager) => renamed(manager, row, 'whole'));
      expect((await first.store.find(row.id))?.info).toBe('whole');
    });

    test('passes on library errors and programming errors, and turns a driver error into a 500 with its cause', async () => {
      const error = logged();
      const failWith = (fault: Error) => first.database.transaction(undefined, () => Promise.reject(fault));
      const refusal = new SessionLimitReachedError();
      await expect(failWith(refusal)).rejects.toBe(refusal);
      const mistake = new TypeError('x is not a function');
      await expect(failWith(mistake)).rejects.toBe(mistake);
      expect(error).not.toHaveBeenCalled();
      const fault = await first.database.run((manager) => manager.query('SELEC 1')).catch((caught: unknown) => caught);
      expect(fault).toBeInstanceOf(ServerFaultError);
      expect((fault as ServerFaultError).cause).toMatchObject({ name: 'QueryFailedError' });
      expect(error).toHaveBeenCalledTimes(1);
    });

    test('is not retried after an ordinary error', async () => {
      logged();
      let attempts = 0;
      const work = (manager: EntityManager) => {
        attempts++;
        return manager.query('SELECT * FROM there_is_no_such_table');
      };
      await expect(first.database.transaction(undefined, work)).rejects.toBeInstanceOf(ServerFaultError);
      await expect(first.database.run(work)).rejects.toBeInstanceOf(ServerFaultError);
      expect(attempts).toBe(2);
    });
  });

  test('the log names the error, but no value of the statement', async () => {
    const error = logged();
    const quoted = `o'hara "secret"\nvalue\` end`;
    const row = newRow(quoted, { info: 'the-info' });
    const away = { ...newRow('x'.repeat(300)), type: 'the-type' };
    await createFreely(first, row);
    await expect(createFreely(first, row)).rejects.toBeInstanceOf(ServerFaultError);
    const incomplete = Object.assign(newRow(quoted), { refreshKid: null });
    await expect(createFreely(first, incomplete)).rejects.toBeInstanceOf(ServerFaultError);
    const fault: unknown = await createFreely(first, row).catch((caught: unknown) => caught);
    expect(inspect(fault, { depth: 9, showHidden: true })).not.toMatch(/hara|the-info|INSERT INTO/i);
    expect(inspect(fault, { depth: 9, showHidden: true })).not.toContain(row.refreshJti);
    if (!isEmbedded({ name })) await expect(createFreely(first, away)).rejects.toBeInstanceOf(ServerFaultError);
    const lines = error.mock.calls.map(([line]) => String(line));
    expect(lines).toHaveLength(isEmbedded({ name }) ? 3 : 4);
    for (const line of lines) {
      expect(line).toMatch(/^the database (failed|refuses a statement, and waiting does not help): \S+/);
      expect(line).not.toMatch(/secret|value` end|o'hara|xxx|the-info|the-type|\n/);
      for (const value of [row.id, row.refreshJti, away.id]) expect(line).not.toContain(value);
    }
  });

  describe('an update that returns the row', () => {
    test.each([{}, ...(DRIVER_OPTIONS[name] ?? [])])('returns the same row as a query, with %j', async (options) => {
      const process = isEmbedded({ name }) ? first : use(await startProcess(testDatabase, options));
      const { store, refreshStore, endingStore, clock, poller, revoked } = process;
      const row = await create('BÖB', process);
      expect(await store.listActive('BÖB')).toEqual([shown(row)]);
      for (let time = 0; time < 2; time++)
        expect(await refreshStore.touch(tokenOf(row), {}, { ...NO_GRACE, setsLastUpdate: 0 })).toEqual(granted(row));
      const now = clock.now();
      const next = { jti: newJti(), kid: 'key' };
      const rotated = (await refreshStore.rotate(tokenOf(row), next, NO_GRACE)) as RefreshedRow;
      expect(rotated).toEqual({
        ...granted(row),
        generation: 1,
        refreshJti: next.jti,
        parentJti: row.refreshJti,
        refreshKid: 'key',
        rotatedAt: rotated.rotatedAt,
        lastUpdate: rotated.rotatedAt,
      });
      expect(await store.find(row.id)).toMatchObject(rotated);
      expect(await endingStore.end(row, 'logout')).toBeDefined();
      await poller.poll();
      expect(revoked.has(row.id)).toBe(true);
      expect(Math.abs(clock.now() - Date.now())).toBeLessThan(1000);
      const entry = await process.dataSource.manager.findOneByOrFail(BlacklistEntity, { id: row.id });
      expect(Math.abs(entry.createdAt.getTime() - now)).toBeLessThan(1000);
      expect(await store.listActive('BÖB')).toEqual([]);
    });
  });

  if (isEmbedded({ name })) {
    test('a full database, which rolls back by itself, fails the insert and works again once there is room', async () => {
      logged();
      const { database, dataSource, store } = first;
      const [{ page_count: pages }] = await dataSource.query<[{ page_count: number }]>('PRAGMA page_count');
      await dataSource.query(`PRAGMA max_page_count = ${pages}`);
      const large = newRow('alice', { info: 'x'.repeat(100_000) });
      for (let time = 0; time < 2; time++) {
        const insert = (manager: EntityManager) => manager.insert(SessionEntity, values(large));
        await expect(database.transaction(undefined, insert)).rejects.toMatchObject({
          cause: { message: expect.stringContaining('database or disk is full') },
        });
      }
      await dataSource.query('PRAGMA max_page_count = 1000000');
      expect(dataSource.createQueryRunner().isTransactionActive).toBe(false);
      expect(await store.find(large.id)).toBeNull();
      await database.transaction(undefined, (manager) => manager.insert(SessionEntity, values(large)));
      expect((await store.find(large.id))?.info).toHaveLength(100_000);
    });

    test('waits for a transaction of the application and does not join it', async () => {
      const runner = first.dataSource.createQueryRunner();
      const [theirs, ours] = [newRow('theirs'), newRow('ours')];
      await runner.startTransaction();
      await runner.manager.insert(SessionEntity, values(theirs));
      let done = 0;
      const working = [
        createFreely(first, ours).then(() => done++),
        createUnder(first, newRow('ours'), () => []).then(() => done++),
        first.store.find(ours.id).then(() => done++),
      ];
      await sleep(30);
      expect(done).toBe(0);
      await runner.rollbackTransaction();
      await Promise.all(working);
      expect(await first.store.listActive('theirs')).toEqual([]);
      expect(await first.store.listActive('ours')).toHaveLength(2);
    });
  }
  if (name === 'sqlite') {
    test('retries while another process has locked the file', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'multi-session-'));
      use({ close: () => rm(folder, { recursive: true }) });
      // The timeout is short, because the driver blocks the whole process while it waits for the lock.
      const database = {
        ...testDatabase,
        options: { type: 'better-sqlite3', database: join(folder, 'db'), timeout: 1 },
      };
      const [process, other] = [
        use(await startProcess(database as TestDatabase, { synchronize: true })),
        use(await startProcess(database as TestDatabase)),
      ];
      for (const way of ['run', 'transaction'] as const) {
        const row = newRow('alice');
        await other.dataSource.query('BEGIN EXCLUSIVE');
        let attempts = 0;
        const work = async (manager: EntityManager) => {
          if (++attempts === 2) await other.dataSource.query('COMMIT');
          // TypeORM adds the default of `cleanupAt` to what it inserts.
          await manager.insert(SessionEntity, values({ ...row }));
        };
        await (way === 'run' ? process.database.run(work) : process.database.transaction(undefined, work));
        expect(attempts).toBe(2);
        expect(await other.store.find(row.id)).toEqual(row);
      }
    });

    test('keeps a session limit if two processes share a file', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'multi-session-'));
      use({ close: () => rm(folder, { recursive: true }) });
      const database = { ...testDatabase, options: { type: 'better-sqlite3', database: join(folder, 'db') } };
      const both = [
        use(await startProcess(database as TestDatabase, { synchronize: true })),
        use(await startProcess(database as TestDatabase)),
      ];
      await Promise.all(
        Array.from({ length: 20 }, (_, at) => createUnder(both[at % 2], newRow('alice'), (active) => active.slice(1))),
      );
      expect(await both[0].store.listActive('alice')).toHaveLength(2);
    });
    return;
  }
  if (isEmbedded({ name })) return;

  describe('on a database server', () => {
    describe.each(['run', 'transaction'] as const)('%s', (way) => {
      /** Fails the given number of times, and then works. */
      const attempt = async (failure: string, failures: number, database = first.database) => {
        let attempts = 0;
        const work = async (manager: EntityManager) => {
          if (++attempts <= failures) await manager.query(failure);
        };
        const begunAt = performance.now();
        const outcome = way === 'run' ? database.run(work) : database.transaction(undefined, work);
        const failed = await outcome.then(
          () => false,
          (error: unknown) => error instanceof UnavailableError,
        );
        return { attempts, failed, took: performance.now() - begunAt };
      };

      test.each(RETRIED[name] ?? [])('is tried again until the lock wait has passed, on %s', async (failure) => {
        logged();
        expect(await attempt(failure, 2)).toMatchObject({ attempts: 3, failed: false });
        expect(await attempt(failure, 7)).toMatchObject({ attempts: 8, failed: false });
        const { attempts, failed, took } = await attempt(failure, Infinity, new Database(first.dataSource, 1));
        expect({ failed, isPatient: took >= 1000, isOften: attempts > 3 }).toEqual({
          failed: true,
          isPatient: true,
          isOften: true,
        });
      });

      test.each(FINAL[name] ?? [])('is not tried again on %s', async (failure) => {
        logged();
        expect(await attempt(failure, 1)).toMatchObject({ attempts: 1, failed: true });
      });
    });

    test('a deadlock is retried until both sides have done their work', async () => {
      const [a, b] = [await create('alice'), await create('bob')];
      const meeting = [gate(), gate()];
      let attempts = 0;
      const cross = (process: TestProcess, [one, other]: SessionEntity[], side: number) =>
        process.database.transaction(undefined, async (manager) => {
          attempts++;
          await renamed(manager, one, `one ${side}`);
          meeting[side].open();
          await meeting[1 - side].opened;
          await renamed(manager, other, `other ${side}`);
        });
      await Promise.all([cross(first, [a, b], 0), cross(second, [b, a], 1)]);
      expect(attempts).toBeGreaterThan(2);
      const infos = [(await first.store.find(a.id))?.info, (await first.store.find(b.id))?.info];
      expect(infos[0]?.at(-1)).toBe(infos[1]?.at(-1));
    });

    test('losing the connection rolls a transaction back, and the next one gets a new connection', async () => {
      logged();
      const row = await create('alice');
      const process = use(await startProcess(testDatabase, { poolSize: 1 }));
      const lost = process.database.transaction(undefined, async (manager) => {
        await renamed(manager, row, 'lost');
        const [{ id }] = await manager.query<[{ id: number }]>(
          name === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT connection_id() AS id',
        );
        await first.dataSource.query(name === 'postgres' ? `SELECT pg_terminate_backend(${id})` : `KILL ${id}`);
        await sleep(50);
        await renamed(manager, row, 'lost too');
      });
      await expect(lost).rejects.toBeInstanceOf(UnavailableError);
      expect((await first.store.find(row.id))?.info).toBe('a test');
      await process.database.transaction(undefined, (manager) => renamed(manager, row, 'found'));
      expect((await first.store.find(row.id))?.info).toBe('found');
    });

    test('the time does not depend on the time zone of the connection', async () => {
      const runner = first.dataSource.createQueryRunner();
      try {
        for (const zone of ['+00:00', '-09:30', '+13:00']) {
          await runner.query(
            name === 'postgres' ? `SET TIME ZONE INTERVAL '${zone}' HOUR TO MINUTE` : `SET time_zone = '${zone}'`,
          );
          const [{ now }] = (await runner.query(`SELECT ${first.database.now} AS now`)) as [{ now: string | number }];
          expect(Math.abs(Number(now) - Date.now())).toBeLessThan(1000);
        }
      } finally {
        await runner.query(name === 'postgres' ? 'RESET TIME ZONE' : 'SET time_zone = @@global.time_zone');
        await runner.release();
      }
    });

    test('every read goes to the primary, never to a replica', async () => {
      // A replica that lags so far behind that it has no tables yet.
      const replica = await createDatabase(name);
      use({ close: () => replica.drop() });
      const [master, slave] = [testDatabase, replica].map(({ options }) => ({ url: (options as { url: string }).url }));
      const process = use(
        await startProcess(testDatabase, {
          url: undefined,
          replication: { master, slaves: [slave] },
        }),
      );
      await expect(process.dataSource.manager.find(SessionEntity)).rejects.toThrow();
      const { store, refreshStore, endingStore, cleanupStore, poller, revoked } = process;
      const row = newRow('replicated');
      await createFreely(process, row);
      const second = newRow('replicated');
      await createUnder(process, second, () => []);
      expect(await store.find(row.id)).toEqual(row);
      const isSecond = ({ id }: { id: string }) => id === second.id;
      expect(await endingStore.endSome('replicated', 'destroyed', (active) => active.filter(isSecond))).toHaveLength(1);
      expect(await store.listActive('replicated')).toEqual([shown(row)]);
      expect(await refreshStore.touch(tokenOf(row), {}, NO_GRACE)).not.toBeNull();
      const next = { jti: newJti(), kid: 'key' };
      expect(await refreshStore.rotate(tokenOf(row), next, NO_GRACE)).not.toBeNull();
      await cleanupStore.endExpired(10);
      expect(await endOfUser(process, 'replicated')).toHaveLength(1);
      await poller.poll();
      expect(revoked.has(row.id)).toBe(true);
      await cleanupStore.deleteExpiredEntries(10);
    });
  });
});
