import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { BlacklistEntity, MultiSessionConfigurationError, SessionEntity, UserAuthenticator } from 'nestjs-multisession';
import type { DataSource } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { type MultiSessionOptions, readOptions } from '../../lib/engine/options.js';
import { SessionUserEntity } from '../../lib/session/session-user.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { isEmbedded, JWT_SECRET, openDataSource, REVOCATION } from './process.js';

const POLICIES = {
  LONG: { refreshTokenLifetime: '30d' },
  FEW: { refreshTokenLifetime: '30d', maxActiveSessions: 2 },
  STRICT: { refreshTokenLifetime: '30d', maxActiveSessions: 2, whenFull: 'refuse' },
} as const satisfies MultiSessionOptions['policies'];

/** Accepts every password, after as long as the test says. */
class SlowUsers extends UserAuthenticator {
  check: () => Promise<unknown> = () => Promise.resolve();

  async authenticate({ username }: { username: string }) {
    await this.check();
    return { id: username };
  }
}

interface Process extends Engine {
  readonly dataSource: DataSource;
  readonly users: SlowUsers;
}

onEachDatabase((name) => {
  let database: TestDatabase;
  let processes: Process[];
  let a: Process;
  let b: Process;

  const startOn = async (dataSource: DataSource, more: Partial<MultiSessionOptions> = {}): Promise<Process> => {
    const options = { jwt: { secret: JWT_SECRET }, secretKey: false as const, policies: POLICIES, ...more };
    const users = new SlowUsers();
    const config = { ...readOptions(options, Object.keys(options.policies)), revocation: REVOCATION };
    const engine = createEngine(config, dataSource, { users: () => users });
    await engine.poller.poll();
    return { ...engine, dataSource, users };
  };
  const start = async (more: Partial<MultiSessionOptions> = {}) => {
    const dataSource = isEmbedded(database) ? processes[0].dataSource : await openDataSource(database);
    const process = await startOn(dataSource, more);
    processes.push(process);
    return process;
  };
  const login = (process: Process, username: string, type = 'LONG') =>
    process.sessions.login({ username, password: '' }, { type });
  /** Logs in, and tries again while the process cannot be sure that the login began after the last ending. */
  const loginAgain = async (process: Process, username: string, type: string): Promise<void> => {
    for (;;) {
      const fault = await login(process, username, type).then(
        () => undefined,
        (error: { status?: number }) => error,
      );
      if (!fault) return;
      expect(fault).toMatchObject({ status: 503 });
      await process.poller.poll();
    }
  };
  const rowsOf = (userId: string) => a.dataSource.manager.findBy(SessionEntity, { userId });
  const entriesOf = (userId: string) => a.dataSource.manager.findBy(BlacklistEntity, { userId });

  beforeAll(async () => {
    // These tests provoke errors, which would fill the log.
    Logger.overrideLogger(false);
    database = await createDatabase(name);
    processes = [];
    processes.push(await startOn(await openDataSource(database, { synchronize: true })));
    [a, b] = [processes[0], await start()];
  });
  afterAll(async () => {
    for (const { poller } of processes) await poller.stop();
    for (const dataSource of new Set(processes.map((process) => process.dataSource))) await dataSource.destroy();
    await database.drop();
  });

  describe('an ending of all sessions', () => {
    test('refuses a login whose password was checked before it, on another process', async () => {
      let passed = () => {};
      const checking = new Promise<void>((resolve) => {
        a.users.check = () => (resolve(), new Promise<void>((go) => (passed = go)));
      });
      const started = login(a, 'overtaken');
      await checking;
      expect(await b.sessions.destroyAll('overtaken')).toBe(0);
      passed();
      await expect(started).rejects.toMatchObject({
        code: 'unavailable',
        status: 503,
        headers: { 'Retry-After': '1' },
      });
      expect(await rowsOf('overtaken')).toEqual([]);
      a.users.check = () => Promise.resolve();
      await expect(login(a, 'overtaken')).resolves.toHaveProperty('access');
    });

    test('of one type refuses only logins of this type', async () => {
      const startedAt = new Date(a.clock.earliest());
      await b.sessions.destroyAll('by-type', { type: 'few' });
      await expect(a.sessions.create('by-type', { type: 'FEW', startedAt })).rejects.toMatchObject({ status: 503 });
      await expect(a.sessions.create('by-type', { type: 'LONG', startedAt })).resolves.toHaveProperty('access');
      await b.sessions.destroyAll('by-type', { type: 'LONG' });
      await expect(a.sessions.create('by-type', { type: 'FEW', startedAt })).rejects.toMatchObject({ status: 503 });
    });

    test('lets the next login succeed at once', async () => {
      for (let round = 0; round < 20; round++) {
        await login(a, 'at-once');
        expect(await a.sessions.destroyAll('at-once')).toBe(1);
      }
      await expect(login(a, 'at-once')).resolves.toHaveProperty('access');
    });

    test('ends sessions of types that this process does not know, with entries', async () => {
      const other = await start({ policies: { ...POLICIES, KIOSK: { refreshTokenLifetime: '1d' } } });
      await login(other, 'unknown', 'KIOSK');
      const { session } = await login(a, 'unknown');
      await login(other, 'unknown', 'KIOSK');
      expect(await a.sessions.destroyOthers('unknown', session.id)).toBe(2);
      expect(await rowsOf('unknown')).toHaveLength(1);
      await loginAgain(other, 'unknown', 'KIOSK');
      expect(await b.sessions.destroyAll('unknown')).toBe(2);
      expect(await rowsOf('unknown')).toEqual([]);
      expect(await entriesOf('unknown')).toHaveLength(4);
    });

    test('that may not keep its session changes nothing', async () => {
      const startedAt = new Date(a.clock.earliest());
      await login(a, 'kept');
      const { session } = await login(a, 'other');
      await expect(a.sessions.destroyOthers('kept', session.id)).rejects.toMatchObject({ code: 'token_not_valid' });
      expect(await rowsOf('kept')).toHaveLength(1);
      await expect(a.sessions.create('kept', { type: 'LONG', startedAt })).resolves.toHaveProperty('access');
    });

    test('ends more sessions than one transaction may', async () => {
      const { session } = await login(a, 'many');
      const [row] = await rowsOf('many');
      const copies = Array.from({ length: 2500 }, (_, at) => ({
        ...row,
        id: `${at.toString(16).padStart(8, '0')}-0000-7000-8000-000000000000`,
      }));
      for (let at = 0; at < copies.length; at += 500) {
        const insert = a.dataSource.manager.createQueryBuilder().insert().into(SessionEntity).updateEntity(false);
        await insert.values(copies.slice(at, at + 500) as never).execute();
      }
      expect(await a.sessions.destroyAll('many', { except: session.id })).toBe(2500);
      expect(await rowsOf('many')).toHaveLength(1);
      expect(await entriesOf('many')).toHaveLength(2500);
    });
  });

  describe('races', () => {
    const ROUNDS = Number(process.env.TEST_ROUNDS ?? 40);

    test.each(['LONG', 'FEW'])('no %s login that started before an ending survives it', async (type) => {
      for (const { users } of [a, b]) users.check = () => sleep(Math.random() * 4);
      let refused = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const startedAt: number[] = [];
        const logins = Array.from({ length: 8 }, async (_, at) => {
          const process = [a, b][at % 2];
          await sleep(Math.random() * 4);
          startedAt.push(a.clock.now());
          const issued = await login(process, 'hot', type).catch((error: unknown) => error);
          if (issued instanceof Error) {
            expect(issued).toMatchObject({ status: 503 });
            refused++;
          }
          return issued;
        });
        const ending = sleep(Math.random() * 6).then(() => b.sessions.destroyAll('hot'));
        await Promise.all([...logins, ending]);
        const user = await a.dataSource.manager.findOneByOrFail(SessionUserEntity, { userKey: 'hot' });
        // Whatever is left began after the ending.
        for (const row of await rowsOf('hot'))
          expect(row.createdAt.getTime()).toBeGreaterThanOrEqual(user.notBefore.getTime());
        await b.sessions.destroyAll('hot');
        expect(await rowsOf('hot')).toEqual([]);
      }
      expect(refused).toBeGreaterThan(0);
    });

    test('limits hold for logins at once on two processes, evicting and refusing', async () => {
      for (const { users } of [a, b]) users.check = () => Promise.resolve();
      for (let round = 0; round < ROUNDS / 4; round++) {
        await Promise.all(Array.from({ length: 8 }, (_, at) => login([a, b][at % 2], 'full', 'FEW')));
        expect(await rowsOf('full')).toHaveLength(2);
        const strict = await Promise.allSettled(
          Array.from({ length: 8 }, (_, at) => login([a, b][at % 2], `strict ${round}`, 'STRICT')),
        );
        expect(strict.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
        expect(await rowsOf(`strict ${round}`)).toHaveLength(2);
      }
    });
  });

  describe('the most sessions of a user', () => {
    test('are bounded even if no policy sets a limit', async () => {
      const few = await start({ maxSessions: 3 });
      for (let count = 0; count < 5; count++) await login(few, 'bounded');
      expect(await rowsOf('bounded')).toHaveLength(3);
      expect((await entriesOf('bounded')).map(({ reason }) => reason)).toEqual(['evicted', 'evicted']);
    });

    test('are at most 1,000', () => {
      const options = { jwt: { secret: JWT_SECRET }, secretKey: false as const, policies: POLICIES };
      expect(() => readOptions({ ...options, maxSessions: 1001 }, Object.keys(POLICIES))).toThrow(
        'maxSessions: must be at most 1000; got 1001',
      );
    });
  });

  describe('inside of a transaction of the application', () => {
    test('create and destroyAll fail at once, with advice', async () => {
      const before = performance.now();
      await a.dataSource.transaction(async () => {
        await expect(a.sessions.create('inside', { type: 'LONG' })).rejects.toThrow(
          'use prepare(userId, options, manager), and call issue() after the commit',
        );
        await expect(a.sessions.destroyAll('inside')).rejects.toThrow(MultiSessionConfigurationError);
        await expect(a.sessions.destroyAll('inside')).rejects.toThrow('call it after the commit');
      });
      const runner = a.dataSource.createQueryRunner();
      await runner.startTransaction();
      await expect(a.sessions.create('inside', { type: 'LONG' })).rejects.toThrow('use prepare');
      await runner.rollbackTransaction();
      await runner.release();
      expect(performance.now() - before).toBeLessThan(5000);
      await expect(a.sessions.create('inside', { type: 'LONG' })).resolves.toHaveProperty('access');
    });

    test('code beside a transaction is not inside of it', async () => {
      let finish = () => {};
      const open = new Promise<void>((resolve) => (finish = resolve));
      const transaction = a.dataSource.transaction(() => open);
      const created = a.sessions.create('beside', { type: 'LONG' });
      finish();
      await Promise.all([transaction, created]);
      expect(await rowsOf('beside')).toHaveLength(1);
    });

    test('prepare inserts a session that is not live, and issue makes it live', async () => {
      const prepared = await a.dataSource.transaction((manager) =>
        a.sessions.prepare('prepared', { type: 'FEW', data: { tenant: 1 } }, manager),
      );
      expect(await a.sessions.list('prepared')).toEqual(
        Object.keys(POLICIES).map((type) => expect.objectContaining({ type, sessions: [] })),
      );
      expect(await a.sessions.get(prepared.id)).toBeNull();
      for (let count = 0; count < 2; count++) await login(b, 'prepared', 'FEW');
      expect((await entriesOf('prepared')).length).toBe(0);
      const { session, access, refresh } = await prepared.issue();
      expect(session).toMatchObject({ id: prepared.id, data: { tenant: 1 } });
      expect(await a.sessions.verify(access)).toMatchObject({ sessionId: prepared.id });
      expect(await b.sessions.refresh(refresh)).toHaveProperty('refresh');
      expect((await entriesOf('prepared')).map(({ reason }) => reason)).toEqual(['evicted']);
      await expect(prepared.issue()).rejects.toMatchObject({ code: 'session_not_found' });
    });

    test('a session is issued while a transaction of the library is open beside it', async () => {
      const prepared = await a.dataSource.transaction((manager) =>
        a.sessions.prepare('beside the library', { type: 'LONG' }, manager),
      );
      const begun = new Promise<void>((resolve) => {
        void a.database.transaction(undefined, () => Promise.resolve(resolve()));
      });
      await expect(begun.then(() => prepared.issue())).resolves.toHaveProperty('access');
    });

    test('a rollback leaves nothing, and the session cannot be issued', async () => {
      let prepared = undefined as Awaited<ReturnType<typeof a.sessions.prepare>> | undefined;
      await expect(
        a.dataSource.transaction(async (manager) => {
          prepared = await a.sessions.prepare('rolled back', { type: 'LONG' }, manager);
          await expect(prepared.issue()).rejects.toThrow('call it after the commit');
          throw new Error('the application changed its mind');
        }),
      ).rejects.toThrow('the application changed its mind');
      expect(await rowsOf('rolled back')).toEqual([]);
      await expect(prepared?.issue()).rejects.toMatchObject({ code: 'session_not_found' });
    });

    test('a prepared session ends with all sessions of its user', async () => {
      const prepared = await a.dataSource.transaction((manager) =>
        a.sessions.prepare('ended', { type: 'LONG' }, manager),
      );
      expect(await b.sessions.destroyAll('ended')).toBe(0);
      expect(await rowsOf('ended')).toEqual([]);
      await expect(prepared.issue()).rejects.toMatchObject({ code: 'session_not_found' });
    });

    test('a prepared session that its type refuses is deleted', async () => {
      const prepared = await a.dataSource.transaction((manager) =>
        a.sessions.prepare('refused', { type: 'STRICT' }, manager),
      );
      for (let count = 0; count < 2; count++) await login(a, 'refused', 'STRICT');
      await expect(prepared.issue()).rejects.toMatchObject({ code: 'session_limit_reached' });
      expect(await rowsOf('refused')).toHaveLength(2);
    });

    test('a session that was prepared before an ending by type, and hidden from it, is deleted', async () => {
      let commit = () => {};
      let inserted = () => {};
      const isInserted = new Promise<void>((resolve) => (inserted = resolve));
      const open = new Promise<void>((resolve) => (commit = resolve));
      const preparing = a.dataSource.transaction(async (manager) => {
        const prepared = await a.sessions.prepare('hidden', { type: 'LONG' }, manager);
        inserted();
        await open;
        return prepared;
      });
      await isInserted;
      // SQLite has one connection, so the ending has to wait for the transaction.
      const ending = b.sessions.destroyAll('hidden', { type: 'LONG' });
      if (!isEmbedded(database)) await ending;
      commit();
      const prepared = await preparing;
      await ending;
      await expect(prepared.issue()).rejects.toMatchObject({
        code: isEmbedded(database) ? 'session_not_found' : 'unavailable',
      });
      expect(await rowsOf('hidden')).toEqual([]);
    });
  });

  describe('sessions that a login replaces', () => {
    test('end in its transaction before it counts, whoever they belong to', async () => {
      const mine = await login(a, 'replacing', 'STRICT');
      await login(a, 'replacing', 'STRICT');
      const others = await login(a, 'replaced by another');
      await a.sessions.create('replacing', { type: 'STRICT', replaces: [mine.session.id, others.session.id, 'no id'] });
      expect(await rowsOf('replacing')).toHaveLength(2);
      expect(await rowsOf('replaced by another')).toEqual([]);
      const entries = [...(await entriesOf('replacing')), ...(await entriesOf('replaced by another'))];
      expect(entries.map(({ reason }) => reason)).toEqual(['replaced', 'replaced']);
      await expect((async () => a.sessions.verify(others.access))()).rejects.toMatchObject({ code: 'token_not_valid' });
    });
  });

  describe('the cleanup', () => {
    const DAY = 86_400_000;
    const later = (span: number) => {
      const now = a.clock.now.bind(a.clock);
      a.clock.now = () => now() + span;
      return () => (a.clock.now = now);
    };

    test('deletes the rows of users who have had no session for a day', async () => {
      const { session } = await login(a, 'gone');
      await login(a, 'still here');
      await a.sessions.destroy(session.id);
      const keys = async () => (await a.dataSource.manager.find(SessionUserEntity)).map(({ userKey }) => userKey);
      await a.cleanup.run();
      expect(await keys()).toEqual(expect.arrayContaining(['gone', 'still here']));
      const restore = later(DAY + 1000);
      await a.cleanup.run();
      restore();
      expect(await keys()).toEqual(expect.arrayContaining(['still here']));
      expect(await keys()).not.toContain('gone');
    });

    test('deletes prepared sessions after ten minutes, without an event', async () => {
      const ended: string[] = [];
      const off = a.events.on('session.ended', ({ session }) => ended.push(session.id));
      const prepared = await a.dataSource.transaction((manager) =>
        a.sessions.prepare('lapsed', { type: 'LONG' }, manager),
      );
      await a.cleanup.run();
      expect(await rowsOf('lapsed')).toHaveLength(1);
      const restore = later(601_000);
      await a.cleanup.run();
      restore();
      off();
      expect(await rowsOf('lapsed')).toEqual([]);
      expect(ended).not.toContain(prepared.id);
      await expect(prepared.issue()).rejects.toMatchObject({ code: 'session_not_found' });
    });
  });

  test('the time of the authentication becomes auth_time', async () => {
    const authenticatedAt = new Date('2024-01-01T00:00:00Z');
    const { access, refresh } = await a.sessions.create('sso', { type: 'LONG', authenticatedAt, amr: ['mfa'] });
    const expected = { authenticatedAt: authenticatedAt.getTime() / 1000, amr: ['mfa'] };
    expect(await a.sessions.verify(access)).toMatchObject(expected);
    expect(await a.sessions.verify((await a.sessions.refresh(refresh)).access)).toMatchObject(expected);
  });

  test('the times of a session are those of the database, even if the clock of the process is behind', async () => {
    const behind = await start();
    const now = behind.clock.now.bind(behind.clock);
    behind.clock.now = () => now() - 300_000;
    const { session, refresh } = await login(behind, 'resumed');
    expect(Math.abs(session.createdAt.getTime() - a.clock.now())).toBeLessThan(5000);
    expect(session.expiresAt.getTime() - session.createdAt.getTime()).toBeGreaterThan(30 * 86_400_000 - 1001);
    await expect(b.sessions.refresh(refresh)).resolves.toHaveProperty('access');
  });
});
