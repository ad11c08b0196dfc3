import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { EntityManager } from 'typeorm';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import {
  createFreely,
  engineOn,
  isEmbedded,
  newRow,
  REVOCATION,
  startProcess,
  startProcesses,
  type TestProcess,
} from './process.js';
import { openProxy, type Proxy } from './proxy.js';
import { isFresh } from '../helpers/fresh.js';

const POLLS_PER_FULL_LOAD = 60;
const QUICK = { ...REVOCATION, pollInterval: 20, maxStaleness: 500 };

/** Waits for a condition, but not for ever: the expectation after it then fails. */
async function until(holds: () => boolean | Promise<boolean>, milliseconds = 20_000): Promise<boolean> {
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

  /** Closes the resource after the test. */
  const use = <T extends { close(): Promise<unknown> }>(resource: T): T => {
    opened.push(resource);
    return resource;
  };
  /** Another memory and its poller on a process, as if it had just started. */
  const another = (process: TestProcess, config = REVOCATION) => {
    const { revoked, poller } = engineOn(process.dataSource, config);
    use({ close: () => poller.stop() });
    return { revoked, poller };
  };
  /**
   * Writes an entry, by default that of a session that has just ended.
   * @returns its id
   */
  const write = async (manager: EntityManager, more: Partial<BlacklistEntity> = {}) => {
    const id = newSessionId(Date.now(), 'alice');
    const expiresAt = new Date(Date.now() + 60_000);
    const entry = { id, sessionId: id, userId: 'alice', reason: 'logout', expiresAt, ...more };
    await writer.revocations.record(manager, more.kind ?? 'session', [entry]);
    if (more.createdAt) await manager.update(BlacklistEntity, { id: entry.id }, { createdAt: more.createdAt });
    return entry.id;
  };
  const writeNow = (more?: Partial<BlacklistEntity>) => writer.database.run((manager) => write(manager, more));

  beforeAll(async () => {
    // These tests provoke failures, whose log lines would hide the results.
    Logger.overrideLogger(false);
    testDatabase = await createDatabase(name);
    [writer, reader] = await startProcesses(testDatabase, 2);
    await reader.poller.poll();
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

  describe('an entry', () => {
    test('of another process is known after one poll', async () => {
      const row = newRow('alice');
      await createFreely(writer, row);
      await writer.endingStore.end(row, 'logout');
      expect(reader.revoked.has(row.id)).toBe(false);
      await reader.poller.poll();
      expect(reader.revoked.has(row.id)).toBe(true);
      expect(reader.revoked.has(newSessionId(Date.now(), 'alice'))).toBe(false);
    });

    test('of this process is known at once', () => {
      const sessionId = newSessionId(Date.now(), 'alice');
      writer.revoked.add({ sessionId, userId: 'alice', reason: 'logout', expiresAt: Date.now() + 60_000 });
      expect(writer.revoked.has(sessionId)).toBe(true);
    });

    test('is loaded at the start, however old it is', async () => {
      const id = await writeNow({ createdAt: new Date(Date.now() - 86_400_000) });
      const { revoked, poller } = another(reader);
      await poller.start();
      expect(revoked.has(id)).toBe(true);
    });

    test('that the polls missed is found by a full load', async () => {
      const id = await writeNow({ createdAt: new Date(Date.now() - 86_400_000) });
      const { revoked, poller } = another(reader);
      await poller.poll();
      const missed = await writeNow({ createdAt: new Date(Date.now() - 86_400_000) });
      for (let poll = 1; poll < POLLS_PER_FULL_LOAD; poll++) await poller.poll();
      expect([revoked.has(id), revoked.has(missed)]).toEqual([true, false]);
      await poller.poll();
      expect(revoked.has(missed)).toBe(true);
    });

    test('gets its time from the database, even if the clock of the process is wrong', async () => {
      const before = reader.clock.now();
      // sql.js runs in this process and uses its clock.
      const wrong = name === 'sqljs' ? before : before - 7_200_000;
      const date = jest.spyOn(Date, 'now').mockReturnValue(wrong);
      const id = await writeNow({ expiresAt: new Date(before + 60_000) });
      date.mockRestore();
      const { createdAt } = await writer.dataSource.manager.findOneByOrFail(BlacklistEntity, { id });
      expect(Math.abs(createdAt.getTime() - before)).toBeLessThan(2000);
      await reader.poller.poll();
      expect(reader.revoked.has(id)).toBe(true);
    });

    test('of a token is stored and never loaded', async () => {
      const jti = 'a'.repeat(32);
      const sessionId = newSessionId(Date.now(), 'alice');
      await writeNow({ id: jti, sessionId, kind: 'token', reason: 'rotated' });
      const { revoked, poller } = another(reader);
      await poller.poll();
      await reader.poller.poll();
      for (const memory of [revoked, reader.revoked]) {
        expect([memory.has(jti), memory.has(sessionId)]).toEqual([false, false]);
      }
      expect(await writer.dataSource.manager.countBy(BlacklistEntity, { id: jti, kind: 'token' })).toBe(1);
    });

    test('that has expired leaves memory, and is deleted in batches', async () => {
      const config = { ...REVOCATION, overlap: 20 };
      const { manager } = writer.dataSource;
      /** Writes entries that are about to expire and polls. Returns undefined if they expired before the poll ended. */
      const writeBrief = async (life: number) => {
        const { revoked, poller } = another(reader, config);
        const expiresAt = new Date(reader.clock.now() + life);
        const ids = await Promise.all(Array.from({ length: 25 }, () => writeNow({ userId: 'brief', expiresAt })));
        const lasting = await writeNow();
        await poller.poll();
        if (reader.clock.now() < expiresAt.getTime()) return { revoked, poller, expiresAt, ids, lasting };
        await manager.delete(BlacklistEntity, { userId: 'brief' });
        return undefined;
      };
      let written = await writeBrief(400);
      for (let life = 800; !written; life *= 2) written = await writeBrief(life);
      const { revoked, poller, expiresAt, ids, lasting } = written;
      expect(ids.every((id) => revoked.has(id))).toBe(true);
      await until(() => reader.clock.now() > expiresAt.getTime() + 100);
      const { size } = revoked;
      for (let poll = 0; poll < POLLS_PER_FULL_LOAD; poll++) await poller.poll();
      expect(ids.some((id) => revoked.has(id))).toBe(false);
      expect([revoked.size, revoked.has(lasting)]).toEqual([size - 25, true]);

      const deleted: number[] = [];
      while (deleted.at(-1) !== 0) {
        const expiredBefore = reader.clock.now() - config.overlap;
        deleted.push(
          await reader.database.run((manager) => reader.revocations.deleteExpired(manager, expiredBefore, 10)),
        );
      }
      expect(deleted).toEqual([10, 10, 5, 0]);
      expect(await manager.countBy(BlacklistEntity, { userId: 'brief' })).toBe(0);
      expect(await manager.countBy(BlacklistEntity, { id: lasting })).toBe(1);
    });

    test('that is written twice, among hundreds, is stored once', async () => {
      const ids = Array.from({ length: 350 }, () => newSessionId(Date.now(), 'alice'));
      const entries = ids.map((id) => ({
        id,
        sessionId: id,
        userId: 'many',
        reason: 'admin',
        expiresAt: new Date(Date.now() + 60_000),
      }));
      for (let time = 0; time < 2; time++) {
        await writer.database.run((manager) => writer.revocations.record(manager, 'session', entries));
      }
      await reader.poller.poll();
      expect(ids.every((id) => reader.revoked.has(id))).toBe(true);
      expect(await writer.dataSource.manager.countBy(BlacklistEntity, { userId: 'many' })).toBe(350);
    });
  });

  test('onRevoked is called once for each session, whichever process ended it, and not for what the first load finds', async () => {
    const before = await writeNow();
    const { revoked, poller } = another(reader);
    const heard: string[] = [];
    revoked.onRevoked(({ sessionId, userId, reason }) => heard.push(`${sessionId} ${userId} ${reason}`));
    await poller.poll();
    const own = await writeNow();
    revoked.add({ sessionId: own, userId: 'alice', reason: 'logout', expiresAt: Date.now() + 60_000 });
    const other = await writeNow({ userId: 'bob', reason: 'evicted' });
    for (let poll = 0; poll < POLLS_PER_FULL_LOAD + 1; poll++) await poller.poll();
    expect(heard).toEqual([`${own} alice logout`, `${other} bob evicted`]);
    expect(revoked.has(before)).toBe(true);
  });

  test("a poll teaches the clock the database's time", async () => {
    const [{ now }] = await reader.dataSource.query<[{ now: string | number }]>(`SELECT ${reader.database.now} AS now`);
    expect(Math.abs(Number(now) - Date.now())).toBeLessThan(1000);
    expect(Math.abs(Number(now) - reader.clock.now())).toBeLessThan(1000);
  });

  describe('isFresh', () => {
    test('is false before the first load, and again after maxStaleness without a successful poll', async () => {
      const { revoked, poller } = another(reader, QUICK);
      expect(isFresh(revoked)).toBe(false);
      await poller.poll();
      expect(isFresh(revoked)).toBe(true);
      await sleep(QUICK.maxStaleness + 20);
      expect(isFresh(revoked)).toBe(false);
      await poller.poll();
      expect(isFresh(revoked)).toBe(true);
    });

    test('reads the monotonic clock and the wall clock', async () => {
      const { revoked, poller } = another(reader);
      await poller.poll();
      const [wall, monotonic] = [Date.now(), performance.now()];
      const date = jest.spyOn(Date, 'now').mockReturnValue(wall + REVOCATION.maxStaleness + 1);
      expect(isFresh(revoked)).toBe(false);
      date.mockReturnValue(wall - 3_600_000);
      expect(isFresh(revoked)).toBe(true);
      jest.spyOn(performance, 'now').mockReturnValue(monotonic + REVOCATION.maxStaleness + 1);
      expect(isFresh(revoked)).toBe(false);
    });

    test('stays true while the poller runs, and becomes false after it has stopped', async () => {
      const { revoked, poller } = another(reader, { ...QUICK, maxStaleness: 600 });
      await poller.start();
      await sleep(700);
      expect(isFresh(revoked)).toBe(true);
      const id = await writeNow();
      expect(await until(() => revoked.has(id))).toBe(true);
      await poller.stop();
      await sleep(650);
      expect(isFresh(revoked)).toBe(false);
    });
  });

  test('the poller starts without its table, and recovers when the table has been created', async () => {
    const bare = await createDatabase(name);
    use({ close: () => bare.drop() });
    const process = use(await startProcess(bare, { revocation: QUICK }));
    await process.poller.start();
    await sleep(50);
    expect(isFresh(process.revoked)).toBe(false);
    await process.dataSource.synchronize();
    expect(await until(() => isFresh(process.revoked))).toBe(true);
  });

  if (isEmbedded({ name })) {
    test('a poll waits for the open transaction on the only connection, and sees its entries after the commit', async () => {
      const runner = writer.dataSource.createQueryRunner();
      await runner.startTransaction();
      const id = await write(runner.manager);
      const poll = reader.poller.poll();
      await sleep(30);
      expect(reader.revoked.has(id)).toBe(false);
      await runner.commitTransaction();
      await poll;
      expect(reader.revoked.has(id)).toBe(true);
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
    test('an entry that is committed late is seen', async () => {
      const runner = writer.dataSource.createQueryRunner();
      await runner.startTransaction();
      const late = await write(runner.manager);
      for (let poll = 0; poll < 3; poll++) {
        const other = await writeNow();
        await reader.poller.poll();
        expect([reader.revoked.has(other), reader.revoked.has(late)]).toEqual([true, false]);
        await sleep(100);
      }
      await runner.commitTransaction();
      await runner.release();
      await reader.poller.poll();
      expect(reader.revoked.has(late)).toBe(true);
    });

    test("polling continues while the application's pool is exhausted", async () => {
      const process = use(await startProcess(testDatabase, { revocation: QUICK, poolSize: 2 }));
      await process.poller.start();
      const runners = [process.dataSource.createQueryRunner(), process.dataSource.createQueryRunner()];
      for (const runner of runners) await runner.connect();
      const id = await writeNow();
      await sleep(QUICK.maxStaleness + 50);
      expect([isFresh(process.revoked), process.revoked.has(id)]).toEqual([true, true]);
      for (const runner of runners) await runner.release();
    });

    test('a statement that hangs is abandoned, leaks no connections, and polling continues', async () => {
      const { revoked, poller } = another(reader, QUICK);
      await poller.start();
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
      expect(isFresh(revoked)).toBe(false);
      // The connection that hangs now, and those whose loss the server has not noticed yet (MariaDB takes a second).
      // Without the limit there would be one for each poll.
      expect(await connections(writer)).toBeLessThanOrEqual(before + 6);
      if (name === 'postgres') await locker.commitTransaction();
      else await locker.query('UNLOCK TABLES');
      await locker.release();
      expect(await until(() => isFresh(revoked))).toBe(true);
    });

    test('a connection that the server closes is opened again', async () => {
      const { revoked, poller } = another(reader, QUICK);
      await poller.start();
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
        // The application's pool may have lost its connections too.
        const isBack = () =>
          writer.dataSource.query('SELECT 1').then(
            () => true,
            () => false,
          );
        await until(isBack);
        const id = await writeNow();
        expect(await until(() => revoked.has(id) && isFresh(revoked))).toBe(true);
      }
    });

    test('an unavailable database makes memory stale, and it recovers when the database is back', async () => {
      const proxy = await proxied();
      const process = use(await startProcess(proxy.database, { revocation: QUICK }));
      await process.poller.start();
      expect(isFresh(process.revoked)).toBe(true);
      proxy.cut();
      expect(await until(() => !isFresh(process.revoked))).toBe(true);
      await sleep(100);
      expect(isFresh(process.revoked)).toBe(false);
      const id = await writeNow();
      proxy.mend();
      expect(await until(() => isFresh(process.revoked))).toBe(true);
      expect(process.revoked.has(id)).toBe(true);
    });

    test('a network that loses every packet makes memory stale, and it recovers', async () => {
      const proxy = await proxied();
      const process = use(await startProcess(proxy.database, { revocation: QUICK }));
      await process.poller.start();
      proxy.freeze();
      expect(await until(() => !isFresh(process.revoked))).toBe(true);
      await sleep(QUICK.maxStaleness * 3);
      proxy.mend();
      expect(await until(() => isFresh(process.revoked))).toBe(true);
    });

    test('the start does not fail while the database is unavailable', async () => {
      const proxy = await proxied();
      const process = use(await startProcess(proxy.database, { revocation: QUICK }));
      proxy.cut();
      await process.poller.start();
      expect(isFresh(process.revoked)).toBe(false);
      proxy.mend();
      expect(await until(() => isFresh(process.revoked))).toBe(true);
    });

    test('stop closes all connections, after a poll and after one that was cut short', async () => {
      const own = await createDatabase(name);
      use({ close: () => own.drop() });
      const proxy = use(await openProxy(own));
      // The application's only connection counts the connections.
      const process = use(await startProcess(own, { revocation: QUICK, poolSize: 1, synchronize: true }));
      const onProxy = use(await startProcess(proxy.database, { revocation: QUICK, poolSize: 1 }));
      const pollers = [process, onProxy].map((one) => another(one, QUICK).poller);
      for (const poller of pollers) await poller.start();
      const cutShort = another(onProxy, QUICK).poller;
      proxy.freeze();
      await cutShort.start();
      proxy.mend();
      // A poll that was cut short closed its connection, and the next one opens another.
      expect(await until(async () => (await connections(process)) >= 4)).toBe(true);
      const poll = pollers[0].poll();
      for (const poller of [...pollers, cutShort]) await poller.stop();
      await poll;
      expect(await until(async () => (await connections(process)) === 2)).toBe(true);
      await sleep(QUICK.maxStaleness);
      expect(await connections(process)).toBe(2);
    });
  });
});
