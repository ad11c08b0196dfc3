import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, Get, Injectable, UseGuards } from '@nestjs/common';
import { getRepositoryToken } from '@nestjs/typeorm';
import fc from 'fast-check';
import {
  type AuthenticatedUser,
  type Credentials,
  CurrentSession,
  type SessionClaims,
  JwtAuthGuard,
  RequireRecentLogin,
  type Session,
  SessionEntity,
  SessionEvents,
  type SessionPolicyOptions,
  SessionService,
  UserAuthenticator,
} from 'nestjs-multisession';
import type { Repository } from 'typeorm';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase, onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { decoded, resigned } from '../helpers/tokens.js';

const POLICIES = {
  LONG: { refreshTokenLifetime: '30d' },
  STRICT: { refreshTokenLifetime: '30d', reuseGrace: '1m' },
} as const satisfies Record<string, SessionPolicyOptions>;

/** Users whose role can change. Their access tokens have it as a claim. */
@Injectable()
class RoleUsers extends UserAuthenticator<{ id: string; role: string; amr?: string[] }> {
  role = 'reader';
  failing = false;
  amr: string[] | undefined;
  seen: AuthenticatedUser[] = [];

  authenticate({ username }: Credentials) {
    return Promise.resolve({ id: username, role: this.role, ...(this.amr && { amr: this.amr }) });
  }

  override findActive(id: string | number) {
    return Promise.resolve({ id: String(id), role: this.role });
  }

  override buildClaims(session: Session, user: { id: string | number; role?: string }) {
    if (this.failing) throw new Error('the roles cannot be read');
    this.seen.push(user);
    return { role: user.role ?? 'unknown', of: session.type };
  }
}

@Controller('recent')
@UseGuards(JwtAuthGuard)
class RecentController {
  @Get()
  @RequireRecentLogin('10m')
  recent(@CurrentSession() { authenticatedAt, amr }: SessionClaims) {
    return { authenticatedAt, amr };
  }
}

onEachDatabase((databaseName) => {
  let app: TestApp;
  let other: TestApp;
  let database: TestDatabase;
  let sessions: SessionService;
  let rows: Repository<SessionEntity>;

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    app = await startApp({ database, options: { policies: POLICIES } });
    // Another process. Two applications cannot share an embedded SQLite.
    other = databaseName.startsWith('sql') ? app : await startApp({ database, options: { policies: POLICIES } });
    sessions = app.get(SessionService);
    rows = app.get(getRepositoryToken(SessionEntity) as string);
  });
  afterAll(async () => {
    await app?.close();
    if (other !== app) await other?.close();
  });

  const create = async (more: object = {}) => (await sessions.create('alice', { type: 'LONG', ...more })).session.id;

  const current = (sessionId: string, generation = 0) => ({
    sessionId,
    generation,
    expiresAt: Math.floor(Date.now() / 1000) + 300,
  });

  describe('data', () => {
    test('is merged by key, and null removes a key', async () => {
      const id = await create({ data: { theme: 'dark', cart: [1, 2] } });
      expect(await sessions.getData(id)).toEqual({ theme: 'dark', cart: [1, 2] });
      expect(await sessions.mergeData(id, { cart: [3], name: 'Zoë 🙂', theme: null, gone: undefined })).toEqual({
        cart: [3],
        name: 'Zoë 🙂',
      });
      expect(await other.get(SessionService).getData(id)).toEqual({ cart: [3], name: 'Zoë 🙂' });
      await sessions.mergeData(id, { name: undefined });
      expect(await sessions.getData(id)).toHaveProperty('name');
      expect(await sessions.getData(await create())).toEqual({});
    });

    test('survives a refresh, and ends with the session', async () => {
      const { session, refresh } = await sessions.create('alice', { type: 'LONG', data: { step: 1 } });
      await sessions.mergeData(session.id, { step: 2 });
      expect((await sessions.refresh(refresh)).session.data).toEqual({ step: 2 });
      await sessions.destroy(session.id);
      for (const id of [session.id, 'x', '00000000-0000-7000-8000-000000000000']) {
        await expect(sessions.getData(id)).rejects.toMatchObject({ code: 'session_not_found' });
        await expect(sessions.mergeData(id, {})).rejects.toMatchObject({ code: 'session_not_found' });
      }
      const expired = await create();
      await rows.update(expired, { expiresAt: new Date(Date.now() - 1000) });
      await expect(sessions.mergeData(expired, {})).rejects.toMatchObject({ code: 'session_not_found' });
    });

    test('keeps all of fifty concurrent merges on two processes', async () => {
      const id = await create();
      const at = [...Array(50).keys()];
      await Promise.all(at.map((n) => (n % 2 ? app : other).get(SessionService).mergeData(id, { [`k${n}`]: n })));
      expect(await sessions.getData(id)).toEqual(Object.fromEntries(at.map((n) => [`k${n}`, n])));
    });

    test('concurrent merges and refreshes do not overwrite each other', async () => {
      const { session, refresh } = await sessions.create('alice', { type: 'LONG' });
      const merges = [...Array(10).keys()].map((n) => sessions.mergeData(session.id, { [`k${n}`]: n }));
      const [{ refresh: next }] = await Promise.all([sessions.refresh(refresh), ...merges]);
      expect(Object.keys(await sessions.getData(session.id))).toHaveLength(10);
      expect(await rows.findOneByOrFail({ id: session.id })).toMatchObject({ generation: 1 });
      expect(next).not.toBe(refresh);
    });

    test('over 32 KiB is refused, and nothing changes', async () => {
      const id = await create({ data: { keep: 1 } });
      const most = 32 * 1024 - '{"keep":1,"x":""}'.length;
      const tooMuch = sessions.mergeData(id, { x: 'x'.repeat(most + 1) });
      await expect(tooMuch).rejects.toMatchObject({
        code: 'session_data_invalid',
        message: expect.stringContaining('32768'),
      });
      await expect(sessions.mergeData(id, { x: 'é'.repeat(most / 2 + 1) })).rejects.toMatchObject({ status: 400 });
      expect(await sessions.getData(id)).toEqual({ keep: 1 });
      await sessions.mergeData(id, { x: 'x'.repeat(most) });
      expect(await sessions.getData(id)).toEqual({ keep: 1, x: 'x'.repeat(most) });
      await expect(create({ data: { x: 'x'.repeat(33_000) } })).rejects.toMatchObject({ code: 'session_data_invalid' });
    });

    test.each([
      ['a date', { at: { when: new Date() } }, 'data.at.when'],
      ['not a number', { n: NaN }, 'data.n'],
      ['a function', { f: () => 1 }, 'data.f'],
      ['a bigint', { b: [1n] }, 'data.b.0'],
    ])('that JSON cannot represent (%s) is refused with its path', async (_, patch, name) => {
      const id = await create();
      const refused = sessions.mergeData(id, patch as never);
      await expect(refused).rejects.toMatchObject({
        code: 'session_data_invalid',
        message: `${name}: is not a value that JSON can represent`,
      });
      expect(await sessions.getData(id)).toEqual({});
    });

    test('of any JSON value is read back unchanged', async () => {
      const id = await create();
      const text = fc.oneof(
        fc.string({ unit: 'binary', maxLength: 30 }),
        fc.constantFrom('__proto__', 'constructor', '\0', '\ud800'),
      );
      const value = fc.jsonValue({ maxDepth: 4 }).map((json) => JSON.parse(JSON.stringify(json)) as never);
      await fc.assert(
        fc.asyncProperty(
          text,
          value.filter((json) => json !== null),
          text,
          async (key, json, string) => {
            const patch = Object.fromEntries([
              [key, json],
              ['text', string],
            ]) as never;
            await sessions.mergeData(id, patch);
            expect(await sessions.getData(id)).toEqual(patch);
            await sessions.mergeData(
              id,
              Object.fromEntries([
                [key, null],
                ['text', null],
              ]),
            );
            expect(await sessions.getData(id)).toEqual({});
          },
        ),
        { numRuns: 40 },
      );
    });
  });

  describe('regenerate', () => {
    test('returns an access token with the new claims, and so does each later refresh', async () => {
      const { session, access, refresh } = await sessions.create('alice', {
        type: 'LONG',
        claims: { role: 'reader', team: 1 },
      });
      const { access: next } = await sessions.regenerate(current(session.id), { role: 'editor', team: null });
      expect(decoded(next, 1)).toMatchObject({ role: 'editor', sid: session.id, gen: 0 });
      expect(decoded(next, 1)).not.toHaveProperty('team');
      expect(await sessions.verify(next)).toMatchObject({ userId: 'alice' });
      expect(await sessions.verify(access)).toMatchObject({ claims: { role: 'reader' } });
      expect(decoded((await sessions.refresh(refresh)).access, 1)).toMatchObject({ role: 'editor', gen: 1 });
    });

    test('keeps the generation of its caller, so a lost successor can be distinguished from a used one', async () => {
      const { session, refresh } = await sessions.create('alice', { type: 'LONG' });
      await sessions.refresh(refresh);
      const { access } = await sessions.regenerate(current(session.id), { role: 'editor' });
      expect(decoded(access, 1)).toMatchObject({ gen: 0 });
      expect(decoded((await sessions.regenerate(current(session.id, 9), {})).access, 1)).toMatchObject({ gen: 1 });
    });

    test('refuses reserved names, claims that are too large, and ended sessions', async () => {
      const id = await create({ amr: ['otp'] });
      await expect(sessions.regenerate(current(id), { amr: ['hwk'] })).rejects.toThrow('amr');
      await expect(sessions.regenerate(current(id), { sid: 'x' })).rejects.toThrow('sid');
      await expect(sessions.regenerate(current(id), { big: 'x'.repeat(5000) })).rejects.toMatchObject({
        code: 'session_data_invalid',
        message: expect.stringContaining('claims: is 5010 bytes'),
      });
      const half = { big: 'x'.repeat(3000) };
      await sessions.regenerate(current(id), half);
      await expect(sessions.regenerate(current(id), { more: half.big })).rejects.toMatchObject({
        code: 'session_data_invalid',
      });
      expect(decoded((await sessions.regenerate(current(id), { big: null })).access, 1)).toMatchObject({
        amr: ['otp'],
      });
      await sessions.destroy(id);
      await expect(sessions.regenerate(current(id), {})).rejects.toMatchObject({ code: 'session_not_found' });
    });
  });

  describe('user ids of any form keep their value and type', () => {
    const SHAPES = [
      '007',
      '1e3',
      '{"a":1}',
      '[1]',
      'null',
      'true',
      ' spaced ',
      'Zoë 🙂',
      '-0',
      '0x1F',
      'x'.repeat(255),
      "o'brien",
    ];
    const comesBack = async (at: TestApp, id: string | number) => {
      const [service, events] = [at.get(SessionService), at.get(SessionEvents)];
      at.users.users.set(String(id), { id: String(id), password: 'x', active: true });
      const told: unknown[] = [];
      const stop = events.on('session.created', ({ session }) => told.push(session.userId));
      const { session, access, refresh } = await service.create(id, { type: 'LONG' });
      stop();
      const refreshed = await service.refresh(refresh);
      const [{ sessions: listed }] = await service.list(id);
      const all = [
        ...told,
        session.userId,
        (await service.verify(access)).userId,
        refreshed.session.userId,
        (await service.verify(refreshed.access)).userId,
        (await service.get(session.id))?.userId,
        (await service.introspect(access))?.session.userId,
        ...listed.map((each) => each.userId),
      ];
      expect(all.every((each) => each === id)).toBe(true);
      expect(await service.destroyAll(id)).toBe(1);
    };

    test.each(SHAPES)('%j', (id) => comesBack(app, id));

    test('any text', async () => {
      const ids = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }).filter((id) => id.length <= 255);
      const wellFormed = ids.filter((id) => id.isWellFormed() && !id.includes('\0'));
      await fc.assert(
        fc.asyncProperty(wellFormed, (id) => comesBack(app, id)),
        { numRuns: 25 },
      );
    });

    test('numbers, if userIdType is number', async () => {
      const numbers = await startApp({ databaseName, options: { policies: POLICIES, userIdType: 'number' } });
      try {
        for (const id of [0, 7, -1, Number.MAX_SAFE_INTEGER]) await comesBack(numbers, id);
      } finally {
        await numbers.close();
      }
    });
  });
});

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let users: RoleUsers;

  beforeAll(async () => {
    const options = { policies: POLICIES, authenticator: { useClass: RoleUsers } };
    app = await startApp({ databaseName, adapter, controllers: [RecentController], options });
    users = app.get<RoleUsers>(UserAuthenticator as never);
  });
  afterAll(() => app?.close());
  beforeEach(() => void Object.assign(users, { role: 'reader', failing: false, amr: undefined, seen: [] }));

  const refresh = (token: string, session = 'LONG') =>
    app.post('refresh/', { refresh: token, session, secret_key: SECRET_KEY });
  const claimsOf = (token: string) => decoded(token, 1);

  describe('buildClaims', () => {
    test('is called with the user at login and at each refresh, and its claims are never stored', async () => {
      const { access, refresh: token, session_id: id } = await app.login({ session: 'LONG' });
      expect(claimsOf(access)).toMatchObject({ role: 'reader', of: 'LONG' });
      users.role = 'editor';
      const { body } = await refresh(token);
      expect(claimsOf(body.access)).toMatchObject({ role: 'editor' });
      expect(users.seen).toEqual([
        { id: 'alice', role: 'reader' },
        { id: 'alice', role: 'editor' },
      ]);
      expect((await app.get(SessionService).get(id))?.claims).toBeNull();
    });

    test('gets only the id if the application creates the session, and its claims override the stored ones', async () => {
      const { access } = await app
        .get(SessionService)
        .create('bob', { type: 'LONG', claims: { role: 'stored', team: 7 } });
      expect(claimsOf(access)).toMatchObject({ role: 'unknown', team: 7 });
      expect(users.seen).toEqual([{ id: 'bob' }]);
    });

    test('is called by regenerate too, with the user as at a refresh', async () => {
      const { access } = await app.login({ session: 'LONG' });
      users.role = 'editor';
      const current = await app.get(SessionService).verify(access);
      const regenerated = await app.get(SessionService).regenerate(current, { team: 7 });
      expect(claimsOf(regenerated.access)).toMatchObject({ role: 'editor', team: 7 });
    });

    test('creates no session if it fails at login; if it fails at a refresh, the same token works again', async () => {
      const { refresh: token, session_id: id } = await app.login({ session: 'STRICT', username: 'carol' });
      users.failing = true;
      const login = { username: 'carol', password: 'x', secret_key: SECRET_KEY, session: 'STRICT' };
      expect((await app.post('login/', login)).status).toBe(500);
      expect((await refresh(token, 'STRICT')).status).toBe(500);
      users.failing = false;
      const again = await refresh(token, 'STRICT');
      expect(again.status).toBe(200);
      expect(claimsOf(again.body.refresh)).toMatchObject({ gen: 1 });
      const lists = await app.get(SessionService).list('carol', { type: 'STRICT' });
      expect(lists[0].sessions.map((session) => session.id)).toEqual([id]);
    });

    test('leaves the session unchanged if it fails at reauthenticate', async () => {
      const { access } = await app.login({ session: 'LONG', username: 'dave' });
      users.failing = true;
      const body = { username: 'dave', password: 'x' };
      expect((await app.post('reauthenticate/', body, bearer(access))).status).toBe(500);
      users.failing = false;
      expect((await app.post('reauthenticate/', body, bearer(access))).status).toBe(200);
    });
  });

  describe('auth_time and amr', () => {
    test('say when and how the user logged in, and do not change at a refresh', async () => {
      const { access, refresh: token, session_id: id } = await app.login({ session: 'LONG' });
      const session = await app.get(SessionService).get(id);
      const expected = { auth_time: Math.floor(Number(session?.createdAt) / 1000), amr: ['pwd'] };
      expect(claimsOf(access)).toMatchObject(expected);
      expect(claimsOf((await refresh(token)).body.access)).toMatchObject(expected);
      const { status, body } = await app.request('GET', '/recent', { headers: bearer(access) });
      expect([status, body]).toEqual([200, { authenticatedAt: expected.auth_time, amr: ['pwd'] }]);
    });

    test('amr comes from the authenticator or the application', async () => {
      users.amr = ['pwd', 'otp'];
      const { access } = await app.login({ session: 'LONG' });
      expect(claimsOf(access)).toMatchObject({ amr: ['pwd', 'otp'] });
      users.amr = ['hwk'];
      const { body } = await app.post('reauthenticate/', { username: 'alice', password: 'x' }, bearer(access));
      expect(claimsOf(body.access)).toMatchObject({ amr: ['hwk'] });
      const created = await app.get(SessionService).create('alice', { type: 'LONG' });
      expect(claimsOf(created.access)).not.toHaveProperty('amr');
      expect((await app.get(SessionService).verify(created.access)).amr).toEqual([]);
    });
  });

  describe('@RequireRecentLogin', () => {
    const recent = (access: string) => app.request('GET', '/recent', { headers: bearer(access) });
    const ago = (access: string, seconds: number | undefined) => {
      const { auth_time: authTime } = claimsOf(access);
      return resigned(access, {
        claims: { auth_time: seconds === undefined ? undefined : Number(authTime) - seconds },
      });
    };

    test('refuses a token whose login is too long ago', async () => {
      const { access } = await app.login({ session: 'LONG' });
      expect((await recent(ago(access, 590))).status).toBe(200);
      for (const token of [ago(access, 601), ago(access, undefined)]) {
        const { status, body, headers } = await recent(token);
        expect([status, body.code]).toEqual([401, 'reauthentication_required']);
        expect(headers.get('www-authenticate')).toBe('Bearer error="insufficient_user_authentication", max_age=600');
      }
    });

    test('accepts the token that reauthenticate/ returns', async () => {
      const { access } = await app.login({ session: 'LONG' });
      const old = ago(access, 3600);
      expect((await recent(old)).status).toBe(401);
      const { body } = await app.post('reauthenticate/', { username: 'alice', password: 'x' }, bearer(old));
      expect((await recent(body.access)).status).toBe(200);
    });

    test('throws if its argument is not a time span', () => {
      for (const span of ['soon', -1, 0, NaN])
        expect(() => RequireRecentLogin(span as never)).toThrow('@RequireRecentLogin');
    });
  });
});
