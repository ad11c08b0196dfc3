import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import {
  BlacklistEntity,
  type MultiSessionModuleOptions,
  SessionAdministration,
  SessionCleanup,
  SessionEntity,
  SessionService,
} from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { ENTRY_MARGIN } from '../../lib/engine/timing.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { configOf } from '../helpers/options.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

type Options = Partial<MultiSessionModuleOptions>;

/*
 * Two processes with different options on the same tables: another application, another version, or the same application
 * before and after a deployment. On embedded SQLite, both share one connection.
 */
onEachDatabase((databaseName) => {
  let database: TestDatabase;
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let entries: Repository<BlacklistEntity>;
  const engines: Engine[] = [];

  const POLICIES = {
    LONG: { refreshTokenLifetime: '30d', accessTokenLifetime: '1h' },
    KEEPING: { refreshTokenLifetime: '30d', rotateRefreshTokens: false },
    SILENT: { refreshTokenLifetime: '30d', rotateRefreshTokens: false, updateLastLogin: false },
    DEVICE: { refreshTokenLifetime: '30d', permanent: true },
    KIOSK: { refreshTokenLifetime: '30d' },
  } as const;

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    app = await startApp({ database, options: { policies: POLICIES, maxActiveSessionsPerUser: 8 } });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    entries = app.get(getRepositoryToken(BlacklistEntity) as string);
  });
  afterEach(async () => {
    for (const engine of engines.splice(0)) await engine.poller.stop();
    await rows.clear();
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });

  /** Another process with other options. */
  const another = async (options: Options): Promise<Engine> => {
    const engine = createEngine(configOf(options), app.get(DataSource));
    engines.push(engine);
    await engine.poller.poll();
    return engine;
  };
  const login = (type: keyof typeof POLICIES) => app.get(SessionService).create('alice', { type });
  const rowOf = (id: string) => rows.findOneByOrFail({ id });
  /** Lets time pass for a session: moves all of its times back. */
  const pass = async (id: string, time: number) => {
    const row = await rowOf(id);
    const back = (date: Date) => new Date(date.getTime() - time);
    await rows.update(id, {
      createdAt: back(row.createdAt),
      lastUpdate: back(row.lastUpdate),
      rotatedAt: row.rotatedAt.getTime() === 0 ? row.rotatedAt : back(row.rotatedAt),
      expiresAt: back(row.expiresAt),
    });
  };
  const SHORTER = {
    LONG: { refreshTokenLifetime: '5d', accessTokenLifetime: '1s' },
    KEEPING: { refreshTokenLifetime: '5d', rotateRefreshTokens: false },
    SILENT: { refreshTokenLifetime: '5d', rotateRefreshTokens: false, updateLastLogin: false },
    DEVICE: { refreshTokenLifetime: '5d', permanent: true },
  } as const;

  describe('a revocation entry', () => {
    const lifeOf = async (id: string) => {
      const entry = await entries.findOneByOrFail({ id });
      return entry.expiresAt.getTime() - entry.createdAt.getTime();
    };

    test('outlives each access token of its session, whichever process ends it and however', async () => {
      const other = await another({ policies: { LONG: SHORTER.LONG, OTHER: { refreshTokenLifetime: '1h' } } });
      const ways: ((id: string) => Promise<unknown>)[] = [
        (id) => other.sessions.destroy(id),
        () => other.sessions.destroyAll('alice', { type: 'LONG' }),
        async (id) => other.sessions.destroyMany('alice', [id]),
      ];
      for (const end of ways) {
        const [{ session, access }] = [await login('LONG'), await login('LONG')];
        expect((await rowOf(session.id)).accessLifetime).toBe(3600);
        await end(session.id);
        expect(await lifeOf(session.id)).toBeGreaterThanOrEqual(HOUR + ENTRY_MARGIN - 50);
        // The first call may join a poll that began before the ending.
        for (let time = 0; time < 2; time++) await app.get<Engine>(ENGINE).poller.poll();
        expect(() => app.get(SessionService).verify(access)).toThrow();
        await rows.clear();
      }
    });

    test('outlives a token that a process with a longer lifetime has issued at any kind of refresh', async () => {
      const longer = Object.fromEntries(
        Object.entries(POLICIES).map(([type, policy]) => [type, { ...policy, accessTokenLifetime: '20d' as const }]),
      );
      const other = await another({ policies: longer });
      for (const type of ['LONG', 'KEEPING', 'SILENT', 'DEVICE'] as const) {
        const { session, refresh } = await login(type);
        const { access } = await other.sessions.refresh(refresh);
        const { exp, iat } = decoded(access, 1) as { exp: number; iat: number };
        expect(exp - iat).toBe(20 * 86_400);
        expect((await rowOf(session.id)).accessLifetime).toBe(20 * 86_400);
        await app.get(SessionService).destroy(session.id);
        expect(await lifeOf(session.id)).toBeGreaterThan(20 * DAY);
      }
      // A token that is handed out again has the longer lifetime too.
      const { session, refresh } = await login('LONG');
      await app.get(SessionService).refresh(refresh);
      expect((await rowOf(session.id)).accessLifetime).toBe(3600);
      await other.sessions.refresh(refresh);
      expect((await rowOf(session.id)).accessLifetime).toBe(20 * 86_400);
    });

    test('is kept for jwt.assumedAccessLifetime if the row records no lifetime', async () => {
      for (const [assumedAccessLifetime, expected] of [[undefined, HOUR] as const, ['3h', 3 * HOUR] as const]) {
        const jwt = { secret: 'a signing secret of more than thirty-two bytes', assumedAccessLifetime };
        const other = await another({ jwt, policies: { LONG: SHORTER.LONG } });
        const { session } = await login('LONG');
        await rows.update(session.id, { accessLifetime: null });
        await other.sessions.destroy(session.id);
        expect(Math.abs((await lifeOf(session.id)) - expected - ENTRY_MARGIN)).toBeLessThan(100);
      }
    });

    test('is written by the database, even if the process believes that it is ten minutes earlier', async () => {
      const other = await another({ policies: POLICIES });
      const now = other.clock.now.bind(other.clock);
      other.clock.now = () => now() - 600_000;
      const { session, refresh } = await login('LONG');
      const refreshed = await other.sessions.refresh(refresh);
      const { rotatedAt, lastUpdate } = await rowOf(session.id);
      expect(Math.abs(rotatedAt.getTime() - now())).toBeLessThan(5000);
      expect(Math.abs(lastUpdate.getTime() - now())).toBeLessThan(5000);
      expect((await app.get(SessionService).verify(refreshed.access)).sessionId).toBe(session.id);
      // The grace counts from the real time of the rotation.
      await expect(other.sessions.refresh(refresh)).resolves.toMatchObject({ refresh: refreshed.refresh });
      await other.sessions.destroy(session.id);
      const entry = await entries.findOneByOrFail({ id: session.id });
      expect(Math.abs(entry.createdAt.getTime() - now())).toBeLessThan(5000);
      expect(entry.expiresAt.getTime()).toBeGreaterThan(now() + HOUR + ENTRY_MARGIN - 5000);
    });
  });

  describe('a shorter lifetime', () => {
    test.each(['LONG', 'KEEPING', 'DEVICE'] as const)(
      'refuses a %s session that was not used for so long, and keeps it in case it was a mistake',
      async (type) => {
        const mistaken = await another({ policies: SHORTER });
        const { session, refresh } = await login(type);
        await pass(session.id, 4 * DAY);
        const { refresh: next = refresh } = await mistaken.sessions.refresh(refresh);
        await pass(session.id, 6 * DAY);
        await expect(mistaken.sessions.refresh(next)).rejects.toMatchObject({ code: 'token_not_valid' });
        expect(await mistaken.sessions.get(session.id)).toBeNull();
        expect(await mistaken.sessions.introspect(next)).toBeNull();
        expect((await mistaken.sessions.list('alice')).flatMap(({ sessions }) => sessions)).toEqual([]);
        expect((await mistaken.administration.list()).sessions).toEqual([]);
        await expect(mistaken.sessions.mergeData(session.id, { a: 1 })).rejects.toMatchObject({
          code: 'session_not_found',
        });
        await mistaken.cleanup.run();
        expect((await app.get(SessionService).list('alice', { type }))[0].sessions).toHaveLength(1);
        expect(await app.get(SessionService).refresh(next)).toMatchObject({ session: { id: session.id } });
      },
    );

    test('does not end a session in use whose type does not record uses, but records them from then on', async () => {
      const shorter = await another({ policies: SHORTER });
      const { session, refresh } = await login('SILENT');
      // In use all the time, but the row does not show it.
      await pass(session.id, 10 * DAY);
      await shorter.sessions.refresh(refresh);
      await pass(session.id, 4 * DAY);
      await shorter.sessions.refresh(refresh);
      await pass(session.id, 6 * DAY);
      await expect(shorter.sessions.refresh(refresh)).rejects.toMatchObject({ code: 'token_not_valid' });
      expect(await app.get(SessionService).refresh(refresh)).toMatchObject({ session: { id: session.id } });
    });

    test('accepts no access token of a session past its end, under accessCheck session', async () => {
      const policies = {
        LONG: { refreshTokenLifetime: '5d', accessTokenLifetime: '1h', accessCheck: 'session' },
      } as const;
      const shorter = await another({ policies });
      const { session, access } = await login('LONG');
      expect(await shorter.sessions.verify(access)).toMatchObject({ sessionId: session.id });
      await pass(session.id, 6 * DAY);
      await expect(shorter.sessions.verify(access)).rejects.toMatchObject({ code: 'token_not_valid' });
    });

    test('an absoluteLifetime reaches sessions that began before it was set', async () => {
      const bounded = await another({
        policies: { LONG: { refreshTokenLifetime: '30d', extendSession: 'every-refresh', absoluteLifetime: '90d' } },
      });
      const { session, refresh } = await login('LONG');
      await rows.update(session.id, { createdAt: new Date(Date.now() - 89 * DAY) });
      const refreshed = await bounded.sessions.refresh(refresh);
      const { exp } = decoded(refreshed.refresh as string, 1) as { exp: number };
      expect(exp * 1000).toBeLessThanOrEqual(Date.now() + DAY + 1000);
      expect((decoded(refreshed.access, 1) as { exp: number }).exp * 1000).toBeLessThanOrEqual(Date.now() + DAY + 1000);
      await rows.update(session.id, {
        createdAt: new Date(Date.now() - 200 * DAY),
        rotatedAt: new Date(Date.now() - HOUR),
      });
      await expect(bounded.sessions.refresh(refreshed.refresh as string)).rejects.toMatchObject({
        code: 'token_not_valid',
      });
      expect(await rows.countBy({ id: session.id })).toBe(1);
    });
  });

  describe('the name of a type', () => {
    test('may change its spelling: every token and row goes on working', async () => {
      const renamed = await another({
        policies: { long: POLICIES.LONG, keeping: POLICIES.KEEPING, device: POLICIES.DEVICE },
      });
      for (const type of ['LONG', 'KEEPING', 'DEVICE'] as const) {
        const { session, access, refresh } = await login(type);
        expect(await renamed.sessions.verify(access)).toMatchObject({ sessionType: type.toLowerCase() });
        expect(await renamed.sessions.introspect(access)).not.toBeNull();
        expect(await renamed.sessions.get(session.id)).not.toBeNull();
        expect((await renamed.sessions.list('alice', { type }))[0].sessions).toHaveLength(1);
        expect((await renamed.administration.list({ type })).sessions).toHaveLength(1);
        const refreshed = await renamed.sessions.refresh(refresh, { type });
        expect((await rowOf(session.id)).type).toBe(type === 'LONG' ? 'long' : type);
        // And back again.
        expect(await app.get(SessionService).refresh(refreshed.refresh ?? refresh)).toBeDefined();
        expect((await app.get(SessionService).list('alice', { type }))[0].sessions).toHaveLength(1);
      }
      const { session, refresh } = await login('LONG');
      await rows.update(session.id, { type: 'Long' });
      expect(await app.get(SessionService).refresh(refresh)).toMatchObject({ session: { type: 'LONG' } });
    });

    test('may be unknown: its sessions are listed and count, are refused, and end when they expire', async () => {
      const other = await another({ policies: { LONG: POLICIES.LONG }, maxActiveSessionsPerUser: 8 });
      const [kiosk] = [await login('KIOSK'), await login('LONG')];
      await rows.update(kiosk.session.id, { lastUpdate: new Date(Date.now() - 2 * DAY) });
      const lists = await other.sessions.list('alice');
      expect(lists.map(({ type, available, sessions }) => [type, available, sessions.length])).toEqual([
        ['LONG', 6, 1],
        ['KIOSK', 0, 1],
      ]);
      expect((await other.administration.list({ userId: 'alice' })).sessions).toHaveLength(2);
      expect(await other.sessions.get(kiosk.session.id)).toBeNull();
      expect(await other.sessions.introspect(kiosk.access)).toBeNull();
      await expect(other.sessions.refresh(kiosk.refresh)).rejects.toMatchObject({ code: 'token_not_valid' });
      await other.cleanup.run();
      expect(await app.get(SessionService).get(kiosk.session.id)).not.toBeNull();
      await other.sessions.destroy(kiosk.session.id, { userId: 'alice' });
      expect(await app.get(SessionService).get(kiosk.session.id)).toBeNull();
      await app.get<Engine>(ENGINE).poller.poll();
      expect(() => app.get(SessionService).verify(kiosk.access)).toThrow();
    });
  });

  test('regenerate never issues a token that outlives the one that asked', async () => {
    const sessions = app.get(SessionService);
    const { access } = await login('LONG');
    const current = await sessions.verify(access);
    const stolen = { ...current, expiresAt: Math.floor(Date.now() / 1000) + 2 };
    const again = await sessions.regenerate(stolen, { team: 7 });
    expect(decoded(again.access, 1)).toMatchObject({ exp: stolen.expiresAt, team: 7 });
    const { expiresAt, ...withoutExpiry } = current;
    expect(expiresAt).toBeGreaterThan(0);
    await expect(sessions.regenerate(withoutExpiry as never, {})).rejects.toThrow('expiresAt');
  });

  test('lists of 1,000 sessions with long texts are short and quick, and leave out data', async () => {
    const { session, access } = await login('LONG');
    const template = await rowOf(session.id);
    const many = Array.from({ length: 1200 }, (_, at) => ({
      ...template,
      id: `${template.id.slice(0, 30)}${String(100_000 + at)}`,
      info: `${at} ${'x'.repeat(9000)}`,
      data: { text: 'y'.repeat(500) },
    }));
    for (let at = 0; at < many.length; at += 100) await rows.insert(many.slice(at, at + 100) as never[]);
    const listed = await app.request('GET', '/api/session/sessions', { headers: bearer(access) });
    expect(listed.status).toBe(200);
    expect(listed.body).toHaveLength(1000);
    const text = JSON.stringify(listed.body);
    expect(text.length).toBeLessThan(2_000_000);
    expect(text).not.toContain('yyy');
    const seeds = await app.post('list/', { session: 'ALL' }, bearer(access));
    expect(seeds.body.Long.Sessions.length).toBe(1000);
    expect((await app.get(SessionAdministration).list({ limit: 200 })).sessions[0].info.length).toBeLessThanOrEqual(
      1000,
    );
    expect(await app.get(SessionCleanup).run()).toMatchObject({ sessions: 0 });
  });

  test('a type with login: false is created by your own code only', async () => {
    const policies = { ...POLICIES, DEVICE: { ...POLICIES.DEVICE, login: false } };
    const guarded = await startApp({ options: { policies } });
    try {
      const body = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY };
      const refused = await guarded.post('login/', { ...body, session: 'device' });
      expect(refused).toMatchObject({ status: 400, body: { code: 'invalid_session_type' } });
      expect(refused.body.message).not.toContain('DEVICE');
      expect((await guarded.post('login/', { ...body, session: 'LONG' })).status).toBe(200);
      const { refresh } = await guarded.get(SessionService).create('alice', { type: 'DEVICE' });
      const refreshed = await guarded.post('refresh/', { refresh, session: 'DEVICE', secret_key: SECRET_KEY });
      expect(refreshed.status).toBe(200);
    } finally {
      await guarded.close();
    }
  });
});
