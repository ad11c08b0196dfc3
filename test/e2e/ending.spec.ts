import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import { BlacklistEntity, SessionCleanup, SessionEntity, SessionEvents, SessionService } from 'nestjs-multisession';
import type { Repository } from 'typeorm';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { onEachDatabase } from '../helpers/matrix.js';

const POLL = 200;

onEachDatabase((databaseName) => {
  let database: TestDatabase;
  let app: TestApp;
  let sessions: SessionService;
  let rows: Repository<SessionEntity>;
  let entries: Repository<BlacklistEntity>;
  let events: RecordedEvent[];
  const options = {
    policies: { SHORT: { refreshTokenLifetime: '1h' }, LONG: { refreshTokenLifetime: '1h' } },
    revocation: { pollInterval: `${POLL}ms` },
    cleanup: { interval: '1d', batchSize: 7 },
  } as const;

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    app = await startApp({ database, options });
    sessions = app.get(SessionService);
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    entries = app.get(getRepositoryToken(BlacklistEntity) as string);
    events = recordEvents(app);
  });
  beforeEach(async () => {
    await rows.clear();
    await entries.clear();
    events.splice(0);
  });
  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  const isLive = async (access: string, of = app) =>
    (await of.post('list/', { session: 'ALL' }, bearer(access))).status === 200;
  const names = () => events.map(({ name }) => name);

  describe('by the service', () => {
    test('create, get, list, verify, refresh, destroy', async () => {
      const client = { ipAddress: '203.0.113.7', userAgent: 'UA', deviceName: 'Pixel 9' };
      const { session, access, refresh } = await sessions.create('carol', {
        type: 'long',
        client,
        data: { cart: [1, 2] },
        claims: { role: 'admin' },
      });
      expect(session).toMatchObject({
        userId: 'carol',
        type: 'LONG',
        info: 'Pixel 9',
        ...client,
        data: { cart: [1, 2] },
        claims: { role: 'admin' },
      });
      expect(await sessions.get(session.id)).toEqual(session);
      expect(await sessions.list('carol', { type: 'LONG' })).toEqual([
        { type: 'LONG', available: Infinity, sessions: [session] },
      ]);
      expect(await sessions.verify(access)).toMatchObject({
        userId: 'carol',
        sessionId: session.id,
        claims: { role: 'admin' },
      });
      // carol is not a user of the application, so `findActive` ends her session.
      await expect(sessions.refresh(refresh)).rejects.toMatchObject({ code: 'session_not_found' });
      expect(await sessions.get(session.id)).toBeNull();
    });

    test('refuses reserved claim names and user ids of the wrong type', async () => {
      await expect(sessions.create('alice', { type: 'LONG', claims: { sid: 'x' } })).rejects.toThrow('sid');
      await expect(sessions.create(7, { type: 'LONG' })).rejects.toThrow('userIdType');
      await expect(sessions.create('', { type: 'LONG' })).rejects.toThrow('1 to 255');
      expect(await rows.count()).toBe(0);
    });

    test('destroy accepts a reason and an owner, and a second call finds nothing', async () => {
      const { session } = await sessions.create('alice', { type: 'LONG' });
      await expect(sessions.destroy(session.id, { userId: 'bob' })).rejects.toMatchObject({
        code: 'session_not_found',
        status: 404,
      });
      await sessions.destroy(session.id, { userId: 'alice', reason: 'admin' });
      await expect(sessions.destroy(session.id)).rejects.toMatchObject({ code: 'session_not_found' });
      expect(names()).toEqual(['session.created', 'session.revoked', 'session.ended']);
      expect(events.at(-1)).toMatchObject({ event: { reason: 'admin', session: { id: session.id } } });
    });

    test('destroyAll and destroyOthers end sessions by type, with an exception', async () => {
      const make = async (type: string, user = 'alice') => (await sessions.create(user, { type })).session.id;
      const [kept, short, long, bobs] = [
        await make('LONG'),
        await make('SHORT'),
        await make('LONG'),
        await make('LONG', 'bob'),
      ];
      expect(await sessions.destroyOthers('alice', kept, { type: 'SHORT' })).toBe(1);
      expect(await sessions.get(short)).toBeNull();
      expect(await sessions.destroyAll('alice', { except: kept, reason: 'admin' })).toBe(1);
      expect(await sessions.get(long)).toBeNull();
      await expect(sessions.destroyOthers('alice', bobs)).rejects.toMatchObject({ code: 'token_not_valid' });
      expect(await sessions.destroyAll('alice')).toBe(1);
      expect(await sessions.get(bobs)).not.toBeNull();
    });

    test('of twenty concurrent calls one ends the session, with one event', async () => {
      const { session, refresh } = await sessions.create('alice', { type: 'LONG' });
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, (_, at) => (at % 2 ? sessions.destroy(session.id) : sessions.logout(refresh))),
      );
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      expect(names().filter((name) => name === 'session.ended')).toHaveLength(1);
      expect(names().filter((name) => name === 'session.revoked')).toHaveLength(1);
      expect(await entries.count()).toBe(1);
    });

    test('a listener that throws does not break the request', async () => {
      const stop = [
        app.get(SessionEvents).on('session.created', () => {
          throw new Error('a listener');
        }),
        app.get(SessionEvents).on('session.created', () => Promise.reject(new Error('an asynchronous listener'))),
      ];
      await expect(sessions.create('alice', { type: 'LONG' })).resolves.toBeDefined();
      stop.forEach((off) => off());
    });
  });

  // SQLite is embedded in one process, so there is no other process that could learn of an ending.
  const onServers = databaseName.startsWith('sql') ? () => undefined : test;
  onServers('an application that starts later, or runs beside, refuses what has ended within one poll', async () => {
    const other = await startApp({ database, options });
    const otherEvents = recordEvents(other);
    try {
      const one = await app.login();
      const two = await app.login();
      expect([await isLive(one.access, other), await isLive(two.access, other)]).toEqual([true, true]);
      await sessions.destroy(one.session_id);
      await sleep(POLL * 2);
      expect([await isLive(one.access, other), await isLive(two.access, other)]).toEqual([false, true]);
      expect(otherEvents).toMatchObject([
        { name: 'session.revoked', event: { sessionId: one.session_id, userId: 'alice', reason: 'destroyed' } },
      ]);

      const later = await startApp({ database, options });
      expect([await isLive(one.access, later), await isLive(two.access, later)]).toEqual([false, true]);
      await later.close();
    } finally {
      await other.close();
    }
  });

  describe('cleanup', () => {
    const expire = (ids: string[]) => {
      const past = new Date(Date.now() - 1000);
      return Promise.all(ids.map((id) => rows.update(id, { expiresAt: past, cleanupAt: past })));
    };

    test('ends only expired sessions, in batches', async () => {
      const ids: string[] = [];
      for (let at = 0; at < 20; at++) ids.push((await sessions.create('alice', { type: 'LONG' })).session.id);
      await expire(ids.slice(0, 17));
      events.splice(0);
      expect(await app.get(SessionCleanup).run()).toEqual({
        sessions: 17,
        blacklistEntries: 0,
        knownDevices: 0,
        userRows: 0,
        events: 0,
        signals: 0,
        adminActions: 0,
      });
      expect((await rows.find()).map(({ id }) => id).sort()).toEqual(ids.slice(17).sort());
      expect(names()).toEqual(Array(17).fill('session.ended'));
      expect(await entries.count()).toBe(0);
    });

    test('two concurrent runs do the work once', async () => {
      const ids: string[] = [];
      for (let at = 0; at < 20; at++) ids.push((await sessions.create('alice', { type: 'LONG' })).session.id);
      await expire(ids);
      const other = databaseName.startsWith('sql') ? app : await startApp({ database, options });
      const runs = await Promise.all([app.get(SessionCleanup).run(), other.get(SessionCleanup).run()]);
      if (other !== app) await other.close();
      const done = other === app ? runs[0].sessions : runs[0].sessions + runs[1].sessions;
      expect(done).toBe(20);
      expect(await rows.count()).toBe(0);
    });

    test('deletes entries once no token needs them', async () => {
      const { session } = await sessions.create('alice', { type: 'LONG' });
      await sessions.destroy(session.id);
      expect((await app.get(SessionCleanup).run()).blacklistEntries).toBe(0);
      await entries.update(session.id, { expiresAt: new Date(Date.now() - 60_000) });
      expect((await app.get(SessionCleanup).run()).blacklistEntries).toBe(1);
    });

    test('refuses the sessions of a removed type, but ends them only when they expire', async () => {
      const login = await app.login({ session: 'LONG' });
      await rows.update(login.session_id, { type: 'GONE' });
      expect(await sessions.get(login.session_id)).toBeNull();
      expect((await app.get(SessionCleanup).run()).sessions).toBe(0);
      expect(await rows.countBy({ id: login.session_id })).toBe(1);
      await expire([login.session_id]);
      expect((await app.get(SessionCleanup).run()).sessions).toBe(1);
    });
  });
});
