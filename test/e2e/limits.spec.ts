import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import { BlacklistEntity, SessionEntity, type SessionPolicyOptions } from 'nestjs-multisession';
import { MoreThan, type Repository } from 'typeorm';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const LIMIT = 3;
const POLICIES = {
  EVICTING: { refreshTokenLifetime: '1h', maxActiveSessions: LIMIT },
  REFUSING: { refreshTokenLifetime: '1h', maxActiveSessions: LIMIT, whenFull: 'refuse' },
  OPEN: { refreshTokenLifetime: '1h' },
} as const satisfies Record<string, SessionPolicyOptions>;

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let database: TestDatabase;
  let apps: TestApp[];
  let rows: Repository<SessionEntity>;
  let entries: Repository<BlacklistEntity>;
  let events: RecordedEvent[];

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    // Two applications on one database server act as two processes. SQLite is embedded in one process.
    const count = databaseName.startsWith('sql') ? 1 : 2;
    apps = [];
    while (apps.length < count) apps.push(await startApp({ database, adapter, options: { policies: POLICIES } }));
    rows = apps[0].get(getRepositoryToken(SessionEntity) as string);
    entries = apps[0].get(getRepositoryToken(BlacklistEntity) as string);
    events = [];
    for (const app of apps) recordEvents(app, events);
  });
  beforeEach(async () => {
    await rows.clear();
    events.splice(0);
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database.drop();
  });

  const login = (session: string, at = 0) =>
    apps[at % apps.length].post('login/', {
      username: 'alice',
      password: 'alice-password',
      secret_key: SECRET_KEY,
      session,
    });
  const active = (type: string) => rows.countBy({ type, userId: 'alice', expiresAt: MoreThan(new Date()) });

  /** Counts the active sessions again and again until `work` is done. */
  async function mostSeenDuring(type: string, work: Promise<unknown>): Promise<number> {
    let [most, done] = [0, false];
    void work.finally(() => (done = true));
    while (!done) {
      most = Math.max(most, await active(type));
      // SQLite answers synchronously, and the logins need a turn of the event loop.
      await turn();
    }
    return most;
  }

  describe('maxActiveSessionsPerUser', () => {
    const TOTAL = 4;
    let limited: TestApp[];
    const loginThere = (session: string, at = 0) =>
      limited[at % limited.length].post('login/', {
        username: 'alice',
        password: 'alice-password',
        secret_key: SECRET_KEY,
        session,
      });
    const all = () => rows.countBy({ userId: 'alice', expiresAt: MoreThan(new Date()) });
    const options = { policies: POLICIES, maxActiveSessionsPerUser: TOTAL };

    beforeAll(async () => {
      limited = [await startApp({ database, databaseName, adapter, options })];
      if (apps.length > 1) limited.push(await startApp({ database, adapter, options }));
      if (apps.length === 1) rows = limited[0].get(getRepositoryToken(SessionEntity) as string);
    });
    afterAll(async () => {
      for (const app of limited) await app.close();
      rows = apps[0].get(getRepositoryToken(SessionEntity) as string);
    });

    test('a login above the limit ends the least recently updated session of any type', async () => {
      const open = (await loginThere('OPEN')).body;
      for (const type of ['EVICTING', 'EVICTING', 'REFUSING']) expect((await loginThere(type)).status).toBe(200);
      const last = (await loginThere('OPEN')).body;
      expect(await rows.findOneBy({ id: open.session_id })).toBeNull();
      expect(await all()).toBe(TOTAL);
      const { body } = await limited[0].post('list/', { session: 'ALL' }, bearer(last.access));
      expect(Object.entries(body).map(([type, { 'Available Sessions': available }]: any) => [type, available])).toEqual(
        [
          ['Evicting', '0'],
          ['Refusing', '0'],
          ['Open', '0'],
        ],
      );
    });

    test("evicts sessions of the login's own type first", async () => {
      const open = (await loginThere('OPEN')).body;
      const first = (await loginThere('EVICTING')).body;
      for (const type of ['EVICTING', 'EVICTING']) await loginThere(type);
      expect((await loginThere('EVICTING')).status).toBe(200);
      expect(await rows.findOneBy({ id: first.session_id })).toBeNull();
      expect(await rows.findOneBy({ id: open.session_id })).not.toBeNull();
    });

    test('refuses the login and ends nothing if the type refuses', async () => {
      for (const type of ['OPEN', 'OPEN', 'OPEN', 'EVICTING']) await loginThere(type);
      const refused = await loginThere('REFUSING');
      expect([refused.status, refused.body.code]).toEqual([409, 'session_limit_reached']);
      expect(await all()).toBe(TOTAL);
      const { body } = await limited[0].post(
        'list/',
        { session: 'OPEN' },
        bearer((await loginThere('OPEN')).body.access),
      );
      expect(body.Open['Available Sessions']).toBe('0');
    });

    test('concurrent logins of all types never exceed the limit, and each gets an answer', async () => {
      const types = ['OPEN', 'EVICTING', 'OPEN'];
      const logins = Promise.all(Array.from({ length: 12 }, (_, at) => loginThere(types[at % 3], at)));
      let [most, done] = [0, false];
      void logins.finally(() => (done = true));
      while (!done) {
        most = Math.max(most, await all());
        await turn();
      }
      expect((await logins).map(({ status }) => status)).toEqual(Array(12).fill(200));
      expect(most).toBeLessThanOrEqual(TOTAL);
      expect(await all()).toBe(TOTAL);
    });
  });

  describe('destroy-oldest', () => {
    test('ends the least recently updated session and its access token, writes an entry, and emits the events', async () => {
      const first = (await login('EVICTING')).body;
      const second = (await login('EVICTING')).body;
      await login('EVICTING');
      await rows.update(first.session_id, { lastUpdate: new Date(Date.now() + 10_000) });
      const fourth = (await login('EVICTING')).body;

      expect(await rows.countBy({ id: second.session_id })).toBe(0);
      expect((await apps[0].post('list/', { session: 'ALL' }, bearer(second.access))).status).toBe(401);
      expect(await entries.findOneByOrFail({ id: second.session_id })).toMatchObject({ reason: 'evicted' });
      const list = await apps[0].post('list/', { session: 'EVICTING' }, bearer(fourth.access));
      expect(list.body.Evicting).toMatchObject({ 'Available Sessions': '0', Sessions: { length: LIMIT } });
      const ended = events.filter(({ name }) => name === 'session.ended');
      expect(ended).toMatchObject([{ event: { reason: 'evicted', session: { id: second.session_id } } }]);
    });

    test('evicts as many as needed if the limit was lowered', async () => {
      const open = await Promise.all(Array.from({ length: 6 }, () => login('OPEN')));
      await rows.update({ type: 'OPEN' }, { type: 'EVICTING' });
      expect(open).toHaveLength(6);
      expect((await login('EVICTING')).status).toBe(200);
      expect(await active('EVICTING')).toBe(LIMIT);
    });

    test('concurrent logins on all processes succeed and never exceed the limit', async () => {
      const logins = Promise.all(Array.from({ length: 30 }, (_, at) => login('EVICTING', at)));
      const most = await mostSeenDuring('EVICTING', logins);
      expect((await logins).map(({ status }) => status)).toEqual(Array(30).fill(200));
      expect(most).toBeLessThanOrEqual(LIMIT);
      expect(await active('EVICTING')).toBe(LIMIT);
      const ended = events.filter(({ name }) => name === 'session.ended').length;
      const created = events.filter(({ name }) => name === 'session.created').length;
      expect([created, ended]).toEqual([30, 30 - LIMIT]);
    });
  });

  describe('refuse', () => {
    test('answers 409 and changes nothing if the type is full, without counting expired sessions', async () => {
      for (let at = 0; at < LIMIT; at++) expect((await login('REFUSING')).status).toBe(200);
      const before = await rows.find({ order: { id: 'ASC' } });
      expect(await login('REFUSING')).toMatchObject({
        status: 409,
        body: { code: 'session_limit_reached', statusCode: 409, error: 'Conflict' },
      });
      expect(await rows.find({ order: { id: 'ASC' } })).toEqual(before);
      // The other process may learn only now about evictions of the previous test.
      const told = events.filter(({ name }) => name !== 'session.revoked');
      expect(told.at(-1)).toMatchObject({
        name: 'login.failed',
        event: { reason: 'session_limit_reached', userId: 'alice', type: 'REFUSING' },
      });

      await rows.update(before[0].id, { expiresAt: new Date(Date.now() - 1000) });
      expect((await login('REFUSING')).status).toBe(200);
    });

    test('counts types and users separately', async () => {
      for (let at = 0; at < LIMIT; at++) await login('REFUSING');
      expect((await login('EVICTING')).status).toBe(200);
      const bob = { username: 'bob', password: 'bob-password', secret_key: SECRET_KEY, session: 'REFUSING' };
      expect((await apps[0].post('login/', bob)).status).toBe(200);
    });

    test('exactly as many concurrent logins on all processes succeed as the limit allows', async () => {
      const logins = Promise.all(Array.from({ length: 30 }, (_, at) => login('REFUSING', at)));
      const most = await mostSeenDuring('REFUSING', logins);
      const statuses = (await logins).map(({ status }) => status).sort();
      expect(statuses).toEqual([...Array(LIMIT).fill(200), ...Array(30 - LIMIT).fill(409)]);
      expect(most).toBeLessThanOrEqual(LIMIT);
    });
  });

  test('accepts any number of sessions of a type without a limit', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, at) => login('OPEN', at)));
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
    const list = await apps[0].post('list/', { session: 'OPEN' }, bearer(answers[0].body.access));
    expect(list.body.Open).toMatchObject({ 'Available Sessions': 'Unlimited', Sessions: { length: 10 } });
  });
});
