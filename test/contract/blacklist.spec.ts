import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { EntityManager } from 'typeorm';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { Blacklist } from '../../lib/revocation/blacklist.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { isEmbedded, newRow, REVOCATION, startProcess, startProcesses, type TestProcess } from './process.js';
import { openProxy, type Proxy } from './proxy.js';

const FULL_LOAD_EVERY = 60;
const QUICK = { ...REVOCATION, pollInterval: 20, maxStaleness: 250 };

/** Until it holds, or for so long that the expectation after it fails. */
async function until(holds: () => boolean | Promise<boolean>, milliseconds = 5000): Promise<boolean> {
  const giveUp = performance.now() + milliseconds;
  while (performance.now() < giveUp) {
    if (await holds()) return true;
    await sleep(10);
  }
  return holds();
}

onEachDatabase((name) => {
  let testDatabase: TestDatabase;
  let writer: TestProcess;
  let reader: TestProcess;
  const opened: { close(): Promise<unknown> }[] = [];

  /** Closed after the test. */
  const use = <T extends { close(): Promise<unknown> }>(resource: T): T => {
    opened.push(resource);
    return resource;
  };
  /** Another blacklist on a process, as if it had just started. */
  const blacklistOn = (process: TestProcess, config = REVOCATION) => {
    const blacklist = new Blacklist(process.database, config, process.clock);
    use({ close: () => blacklist.stop() });
    return blacklist;
  };
  /** An entry of a session that has just ended, or as told. @returns its id */
  const write = async (manager: EntityManager, more: Partial<BlacklistEntity> = {}) => {
    const id = newSessionId(Date.now());
    const expiresAt = new Date(Date.now() + 60_000);
    const entry = { id, sessionId: id, userId: 'alice', reason: 'logout', expiresAt, ...more };
    await writer.blacklist.record(manager, more.kind ?? 'session', [entry]);
    if (more.createdAt) await manager.update(BlacklistEntity, { id: entry.id }, { createdAt: more.createdAt });
    return entry.id;
  };
  const writeNow = (more?: Partial<BlacklistEntity>) => writer.database.run((manager) => write(manager, more));

  beforeAll(async () => {
    // Faults are provoked here, and would fill the screen.
    Logger.overrideLogger(false);
    testDatabase = await createDatabase(name);
    [writer, reader] = await startProcesses(testDatabase, 2);
    await reader.blacklist.poll();
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const resource of opened.splice(0).reverse()) await resource.close();
  });
  afterAll(async () => {
    await reader?.close();
    await writer?.close();
    await testDatabase?.drop();
  });

  describe('entries', () => {
    test('of another process are known after one poll', async () => {
      const row = newRow('alice');
      await writer.store.create(row);
      await writer.store.end(row, 'logout');
      expect(reader.blacklist.has(row.id)).toBe(false);
      await reader.blacklist.poll();
      expect(reader.blacklist.has(row.id)).toBe(true);
      expect(reader.blacklist.has(newSessionId(Date.now()))).toBe(false);
    });

    test('of this process are known at once', () => {
      const sessionId = newSessionId(Date.now());
      writer.blacklist.add({ sessionId, userId: 'alice', reason: 'logout', expiresAt: Date.now() + 60_000 });
      expect(writer.blacklist.has(sessionId)).toBe(true);
    });

    test('are all loaded at the start, however old', async () => {
      const id = await writeNow({ createdAt: new Date(Date.now() - 86_400_000) });
      const blacklist = blacklistOn(reader);
      await blacklist.start();
      expect(blacklist.has(id)).toBe(true);
    });

    test('that polls missed are found by a full load', async () => {
      const id = await writeNow({ createdAt: new Date(Date.now() - 86_400_000) });
      const blacklist = blacklistOn(reader);
      await blacklist.poll();
      const missed = await writeNow({ createdAt: new Date(Date.now() - 86_400_000) });
      for (let poll = 1; poll < FULL_LOAD_EVERY; poll++) await blacklist.poll();
      expect([blacklist.has(id), blacklist.has(missed)]).toEqual([true, false]);
      await blacklist.poll();
      expect(blacklist.has(missed)).toBe(true);
    });

    test('get their time from the database, whatever the clocks of the process say', async () => {
      const before = reader.clock.now();
      // The clock of sql.js is this very one.
      const wrong = name === 'sqljs' ? before : before - 7_200_000;
      const date = jest.spyOn(Date, 'now').mockReturnValue(wrong);
      const id = await writeNow({ expiresAt: new Date(before + 60_000) });
      date.mockRestore();
      const { createdAt } = await writer.dataSource.manager.findOneByOrFail(BlacklistEntity, { id });
      expect(Math.abs(createdAt.getTime() - before)).toBeLessThan(2000);
      await reader.blacklist.poll();
      expect(reader.blacklist.has(id)).toBe(true);
    });

    test('of tokens are stored and never loaded', async () => {
      const jti = 'a'.repeat(32);
      const sessionId = newSessionId(Date.now());
      await writeNow({ id: jti, sessionId, kind: 'token', reason: 'rotated' });
      const blacklist = blacklistOn(reader);
      await blacklist.poll();
      await reader.blacklist.poll();
      for (const known of [blacklist, reader.blacklist]) {
        expect([known.has(jti), known.has(sessionId)]).toEqual([false, false]);
      }
      expect(await writer.dataSource.manager.countBy(BlacklistEntity, { id: jti, kind: 'token' })).toBe(1);
    });

    test('that refuse nothing any more are forgotten, and deleted in batches', async () => {
      const config = { ...REVOCATION, overlap: 20 };
      const blacklist = blacklistOn(reader, config);
      const expiresAt = new Date(Date.now() + 400);
      const ids = await Promise.all(Array.from({ length: 25 }, () => writeNow({ userId: 'brief', expiresAt })));
      const lasting = await writeNow();
      await blacklist.poll();
      expect(ids.every((id) => blacklist.has(id))).toBe(true);
      await until(() => reader.clock.now() > expiresAt.getTime() + 100);
      const size = blacklist.size;
      for (let poll = 0; poll < FULL_LOAD_EVERY; poll++) await blacklist.poll();
      expect(ids.some((id) => blacklist.has(id))).toBe(false);
      expect([blacklist.size, blacklist.has(lasting)]).toEqual([size - 25, true]);

      const deleted: number[] = [];
      while (deleted.at(-1) !== 0) {
        deleted.push(await reader.database.run((manager) => blacklist.deleteExpired(manager, 10)));
      }
      expect(deleted).toEqual([10, 10, 5, 0]);
      const { manager } = writer.dataSource;
      expect(await manager.countBy(BlacklistEntity, { userId: 'brief' })).toBe(0);
      expect(await manager.countBy(BlacklistEntity, { id: lasting })).toBe(1);
    });

    test('written twice, or in hundreds, are each there once', async () => {
      const ids = Array.from({ length: 350 }, () => newSessionId(Date.now()));
      const entries = ids.map((id) => ({
        id,
        sessionId: id,
        userId: 'many',
        reason: 'admin',
        expiresAt: new Date(Date.now() + 60_000),
      }));
      for (let time = 0; time < 2; time++) {
        await writer.database.run((manager) => writer.blacklist.record(manager, 'session', entries));
      }
      await reader.blacklist.poll();
      expect(ids.every((id) => reader.blacklist.has(id))).toBe(true);
      expect(await writer.dataSource.manager.countBy(BlacklistEntity, { userId: 'many' })).toBe(350);
    });
  });

  test('onRevoked tells of each session once, wherever it was ended; not of what the first load finds', async () => {
    const before = await writeNow();
    const blacklist = blacklistOn(reader);
    const told: string[] = [];
    blacklist.onRevoked(({ sessionId, userId, reason }) => told.push(`${sessionId} ${userId} ${reason}`));
    await blacklist.poll();
    const own = await writeNow();
    blacklist.add({ sessionId: own, userId: 'alice', reason: 'logout', expiresAt: Date.now() + 60_000 });
    const other = await writeNow({ userId: 'bob', reason: 'evicted' });
    for (let poll = 0; poll < FULL_LOAD_EVERY + 1; poll++) await blacklist.poll();
    expect(told).toEqual([`${own} alice logout`, `${other} bob evicted`]);
    expect(blacklist.has(before)).toBe(true);
  });

  test('the clock learns the database’s time from a poll', async () => {
    const [{ now }] = await reader.dataSource.query<[{ now: string | number }]>(`SELECT ${reader.database.now} AS now`);
    expect(Math.abs(Number(now) - Date.now())).toBeLessThan(1000);
    expect(Math.abs(Number(now) - reader.clock.now())).toBeLessThan(1000);
  });

  describe('isFresh', () => {
    test('is false before the first load, and once no poll has succeeded for maxStaleness', async () => {
      const blacklist = blacklistOn(reader, QUICK);
      expect(blacklist.isFresh()).toBe(false);
      await blacklist.poll();
      expect(blacklist.isFresh()).toBe(true);
      await sleep(QUICK.maxStaleness + 20);
      expect(blacklist.isFresh()).toBe(false);
      await blacklist.poll();
      expect(blacklist.isFresh()).toBe(true);
    });

    test('asks the monotonic clock and the wall clock', async () => {
      const blacklist = blacklistOn(reader);
      await blacklist.poll();
      const [wall, monotonic] = [Date.now(), performance.now()];
      const date = jest.spyOn(Date, 'now').mockReturnValue(wall + REVOCATION.maxStaleness + 1);
      expect(blacklist.isFresh()).toBe(false);
      date.mockReturnValue(wall - 3_600_000);
      expect(blacklist.isFresh()).toBe(true);
      jest.spyOn(performance, 'now').mockReturnValue(monotonic + REVOCATION.maxStaleness + 1);
      expect(blacklist.isFresh()).toBe(false);
    });

    test('stays true while it polls by itself, and goes when it stops', async () => {
      const blacklist = blacklistOn(reader, { ...QUICK, maxStaleness: 600 });
      await blacklist.start();
      await sleep(700);
      expect(blacklist.isFresh()).toBe(true);
      const id = await writeNow();
      expect(await until(() => blacklist.has(id))).toBe(true);
      await blacklist.stop();
      await sleep(650);
      expect(blacklist.isFresh()).toBe(false);
    });
  });

  test('starts without its table, and recovers when the table is there', async () => {
    const bare = await createDatabase(name);
    use({ close: () => bare.drop() });
    const process = use(await startProcess(bare, { revocation: QUICK }));
    await process.blacklist.start();
    await sleep(50);
    expect(process.blacklist.isFresh()).toBe(false);
    await process.dataSource.synchronize();
    expect(await until(() => process.blacklist.isFresh())).toBe(true);
  });

  if (isEmbedded({ name })) {
    test('a transaction that is open on the one connection is waited for, and seen when it is committed', async () => {
      const runner = writer.dataSource.createQueryRunner();
      await runner.startTransaction();
      const id = await write(runner.manager);
      const poll = reader.blacklist.poll();
      await sleep(30);
      expect(reader.blacklist.has(id)).toBe(false);
      await runner.commitTransaction();
      await poll;
      expect(reader.blacklist.has(id)).toBe(true);
    });
    return;
  }

  const connections = async ({ dataSource }: TestProcess) => {
    const sql =
      name === 'postgres'
        ? 'SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database()'
        : 'SELECT count(*) AS count FROM information_schema.processlist WHERE db = database()';
    const [{ count }] = await dataSource.query<[{ count: string | number }]>(sql);
    return Number(count);
  };
  const proxied = async (): Promise<Proxy> => use(await openProxy(testDatabase));

  describe('with a server', () => {
    test('an entry whose commit comes late is seen all the same', async () => {
      const runner = writer.dataSource.createQueryRunner();
      await runner.startTransaction();
      const late = await write(runner.manager);
      for (let poll = 0; poll < 3; poll++) {
        const other = await writeNow();
        await reader.blacklist.poll();
        expect([reader.blacklist.has(other), reader.blacklist.has(late)]).toEqual([true, false]);
        await sleep(100);
      }
      await runner.commitTransaction();
      await runner.release();
      await reader.blacklist.poll();
      expect(reader.blacklist.has(late)).toBe(true);
    });

    test('the polls go on while the application’s pool is exhausted', async () => {
      const process = use(await startProcess(testDatabase, { revocation: QUICK, poolSize: 2 }));
      await process.blacklist.start();
      const runners = [process.dataSource.createQueryRunner(), process.dataSource.createQueryRunner()];
      for (const runner of runners) await runner.connect();
      const id = await writeNow();
      await sleep(QUICK.maxStaleness + 50);
      expect([process.blacklist.isFresh(), process.blacklist.has(id)]).toEqual([true, true]);
      for (const runner of runners) await runner.release();
    });

    test('a statement that hangs is given up, without leaving connections behind, and polling goes on', async () => {
      const blacklist = blacklistOn(reader, QUICK);
      await blacklist.start();
      const before = await connections(writer);
      const locker = writer.dataSource.createQueryRunner();
      await locker.connect();
      if (name === 'postgres') {
        await locker.startTransaction();
        await locker.query('LOCK TABLE session_blacklist IN ACCESS EXCLUSIVE MODE');
      } else {
        await locker.query('LOCK TABLES session_blacklist WRITE');
      }
      await sleep(QUICK.maxStaleness * 10);
      expect(blacklist.isFresh()).toBe(false);
      // The one that hangs now, and those that the server has not missed yet (MariaDB takes a second); not one for each poll.
      expect(await connections(writer)).toBeLessThanOrEqual(before + 6);
      if (name === 'postgres') await locker.commitTransaction();
      else await locker.query('UNLOCK TABLES');
      await locker.release();
      expect(await until(() => blacklist.isFresh())).toBe(true);
    });

    test('connections that the server ends are made again', async () => {
      const blacklist = blacklistOn(reader, QUICK);
      await blacklist.start();
      for (let time = 0; time < 2; time++) {
        if (name === 'postgres') {
          await writer.dataSource.query(
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
          );
        } else {
          const threads = await writer.dataSource.query<{ id: number }[]>(
            'SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()',
          );
          for (const { id } of threads) await writer.dataSource.query(`KILL ${id}`).catch(() => undefined);
        }
        // The pool of the application may have lost its connections too.
        const isBack = () =>
          writer.dataSource.query('SELECT 1').then(
            () => true,
            () => false,
          );
        await until(isBack);
        const id = await writeNow();
        expect(await until(() => blacklist.has(id) && blacklist.isFresh())).toBe(true);
      }
    });

    test('a database that is away makes it stale, and it recovers when the database is back', async () => {
      const proxy = await proxied();
      const process = use(await startProcess(proxy.database, { revocation: QUICK }));
      await process.blacklist.start();
      expect(process.blacklist.isFresh()).toBe(true);
      proxy.cut();
      expect(await until(() => !process.blacklist.isFresh())).toBe(true);
      await sleep(100);
      expect(process.blacklist.isFresh()).toBe(false);
      proxy.mend();
      const id = await writeNow();
      expect(await until(() => process.blacklist.isFresh())).toBe(true);
      expect(process.blacklist.has(id)).toBe(true);
    });

    test('a network that loses every packet does too', async () => {
      const proxy = await proxied();
      const process = use(await startProcess(proxy.database, { revocation: QUICK }));
      await process.blacklist.start();
      proxy.freeze();
      expect(await until(() => !process.blacklist.isFresh())).toBe(true);
      await sleep(QUICK.maxStaleness * 3);
      proxy.mend();
      expect(await until(() => process.blacklist.isFresh())).toBe(true);
    });

    test('a start while the database is away does not fail', async () => {
      const proxy = await proxied();
      const process = use(await startProcess(proxy.database, { revocation: QUICK }));
      proxy.cut();
      await process.blacklist.start();
      expect(process.blacklist.isFresh()).toBe(false);
      proxy.mend();
      expect(await until(() => process.blacklist.isFresh())).toBe(true);
    });

    test('stop leaves no connection behind, neither after a poll nor after one that was cut short', async () => {
      const own = await createDatabase(name);
      use({ close: () => own.drop() });
      const proxy = use(await openProxy(own));
      // One connection of the application, by which the connections are counted.
      const process = use(await startProcess(own, { revocation: QUICK, poolSize: 1, synchronize: true }));
      const onProxy = use(await startProcess(proxy.database, { revocation: QUICK, poolSize: 1 }));
      const blacklists = [process, onProxy].map((one) => blacklistOn(one, QUICK));
      for (const blacklist of blacklists) await blacklist.start();
      const cutShort = blacklistOn(onProxy, QUICK);
      proxy.freeze();
      await cutShort.start();
      proxy.mend();
      expect(await connections(process)).toBeGreaterThanOrEqual(4);
      const poll = blacklists[0].poll();
      for (const blacklist of [...blacklists, cutShort]) await blacklist.stop();
      await poll;
      expect(await until(async () => (await connections(process)) === 2)).toBe(true);
      await sleep(QUICK.maxStaleness);
      expect(await connections(process)).toBe(2);
    });
  });
});
