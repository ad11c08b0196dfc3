import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Controller, Get, Injectable, Logger, UseGuards } from '@nestjs/common';
import { CurrentSession, JwtAuthGuard, SessionEvents, SessionService } from 'nestjs-multisession';
import { startApp, TestUsers, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { CookieJar } from '../helpers/cookie-jar.js';
import { ACCESS_COOKIE, cookieAnswer, PROOF_COOKIE, REFRESH_COOKIE, setCookies } from '../helpers/cookies.js';
import { onEachAdapter } from '../helpers/matrix.js';
import { rowsOf } from '../helpers/rows.js';
import { expired } from '../helpers/tokens.js';

const ALICE = { username: 'alice', password: 'alice-password', session: 'LONG' };
const BOB = { username: 'bob', password: 'bob-password', session: 'LONG' };
const POLICIES = {
  LONG: { refreshTokenLifetime: '30d', reuseGrace: 0 },
  ONE: { refreshTokenLifetime: '30d', maxActiveSessions: 1 },
  KEEPING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false },
} as const;
const ALL = [ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE];

/** Adds a claim to each access token. */
@Injectable()
class UsersWithClaims extends TestUsers {
  size = 0;
  fails = false;

  override buildClaims() {
    if (this.fails) throw new Error('the service of the roles is down');
    return { roles: 'r'.repeat(this.size) };
  }
}

@Controller('me')
@UseGuards(JwtAuthGuard)
class MeController {
  @Get()
  read(@CurrentSession('userId') userId: string) {
    return { userId };
  }
}

onEachAdapter((databaseName, adapter) => {
  let app: TestApp;
  let users: UsersWithClaims;
  const start = async (cookies: NonNullable<TestAppOptions['options']>['cookies'] = true) => {
    app = await startApp({
      databaseName,
      adapter,
      controllers: [MeController],
      options: { cookies, policies: POLICIES, authenticator: { useClass: UsersWithClaims } },
    });
    users = app.users as UsersWithClaims;
  };
  const logIn = async (more: object = {}, jar = new CookieJar(app)) => {
    const answer = await jar.post('/api/session/login', { ...ALICE, ...more });
    expect(answer.status).toBe(200);
    return { jar, id: answer.body.session_id as string, answer };
  };
  const refresh = (jar: CookieJar, session = 'LONG') => jar.post('/api/session/refresh', { session });
  const liveIds = async () => (await rowsOf(app)).sessions.map(({ id }) => id);

  describe('tokens that are too long for cookies', () => {
    beforeAll(() => start());
    afterAll(() => app?.close());
    beforeEach(async () => {
      Object.assign(users, { size: 0, fails: false });
      await app.get(SessionService).destroyAll('alice');
    });

    test('a login fails before anything is written, and evicts no device', async () => {
      const { jar } = await logIn({ session: 'ONE' });
      const before = await rowsOf(app);
      const created: unknown[] = [];
      const off = app.get(SessionEvents).on('session.created', (event) => created.push(event));
      users.size = 3000;
      const answer = await jar.post('/api/session/login', { ...ALICE, session: 'ONE' });
      expect(answer.status).toBe(500);
      expect(setCookies(answer)).toEqual([]);
      expect(await rowsOf(app)).toEqual(before);
      expect(created).toEqual([]);
      // In the body, they are not too long.
      const inBody = { 'x-session-transport': 'body', 'x-secret-key': 'the secret key of the tests' };
      expect((await app.post('login/', ALICE, inBody)).status).toBe(200);
      off();
    });

    test('a cookie may have 4096 bytes with its name and its attributes, and no more', async () => {
      const lengthOf = async (size: number) => {
        users.size = size;
        const answer = await new CookieJar(app).post('/api/session/login', ALICE);
        return answer.status === 200 ? Buffer.byteLength(answer.headers.getSetCookie()[0]) : answer.status;
      };
      // Base64 makes four bytes of three.
      const rest = 4096 - (await lengthOf(0));
      const longest = Math.floor((rest * 3) / 4);
      const lengths = await Promise.all([-2, -1, 0].map((less) => lengthOf(longest + less)));
      expect(lengths.filter((length) => length <= 4096 && length > 4080).length).toBeGreaterThan(0);
      expect(await lengthOf(longest + 6)).toBe(500);
    });

    test('reauthenticate/ keeps the old session', async () => {
      const { jar, id } = await logIn();
      users.size = 3000;
      const before = await rowsOf(app);
      const answer = await jar.post('/api/session/reauthenticate', ALICE);
      expect(answer.status).toBe(500);
      expect(setCookies(answer)).toEqual([]);
      expect(await rowsOf(app)).toEqual(before);
      users.size = 0;
      expect((await refresh(jar)).body).toEqual(cookieAnswer(id));
    });

    test('regenerate keeps the old claims, so that the session can go on', async () => {
      const { jar, id } = await logIn();
      const sessions = app.get(SessionService);
      const current = { sessionId: id, generation: 0, expiresAt: Date.now() / 1000 + 60 };
      await expect(sessions.regenerate(current, { groups: 'r'.repeat(3500) })).rejects.toThrow(
        /^claims: make an access token of 5\d{3} bytes, but at most 40\d\d fit into a cookie$/,
      );
      const { access } = await sessions.regenerate(current, { groups: 'r'.repeat(2500) });
      expect(access.length).toBeGreaterThan(3400);
      expect((await refresh(jar)).body).toEqual(cookieAnswer(id));
      // In the body, there is no such limit.
      const { session } = await sessions.create('alice', { type: 'LONG', transport: 'body' });
      await sessions.regenerate({ ...current, sessionId: session.id }, { groups: 'r'.repeat(3500) });
    });

    test.each([
      ['the access token is too long', { size: 3000 }],
      ['its claims cannot be built', { fails: true }],
    ])('if %s, a refresh fails, but the browser gets the new refresh token', async (_, fault) => {
      const { jar, id } = await logIn();
      const [before, access] = [jar.valueOf(REFRESH_COOKIE), jar.valueOf(ACCESS_COOKIE)];
      Object.assign(users, fault);
      const answer = await refresh(jar);
      expect(answer.status).toBe(500);
      expect(setCookies(answer).map(({ name }) => name)).toEqual([REFRESH_COOKIE, PROOF_COOKIE]);
      expect(jar.valueOf(REFRESH_COOKIE)).not.toBe(before);
      expect(jar.valueOf(ACCESS_COOKIE)).toBe(access);
      Object.assign(users, { size: 0, fails: false });
      expect((await refresh(jar)).body).toEqual(cookieAnswer(id));
      const [row] = (await rowsOf(app)).sessions;
      expect(row).toMatchObject({ id, generation: 2, parentGeneration: 1 });
    });
  });

  describe('logout', () => {
    beforeAll(() => start());
    afterAll(() => app?.close());
    beforeEach(() => app.get(SessionService).destroyAll('alice'));

    test.each([
      ['the access cookie', [PROOF_COOKIE, REFRESH_COOKIE]],
      ['the refresh cookie', [ACCESS_COOKIE, PROOF_COOKIE]],
      ['the proof cookie', [ACCESS_COOKIE, REFRESH_COOKIE]],
    ])('%s alone ends the session and clears the cookies', async (_, others) => {
      const { jar } = await logIn();
      for (const name of others) jar.drop(name);
      const answer = await jar.post('/api/session/logout');
      expect(answer).toMatchObject({ status: 200, body: {} });
      expect(
        setCookies(answer)
          .map(({ name, maxAge }) => [name, maxAge])
          .sort(),
      ).toEqual(ALL.map((name) => [name, 0]));
      expect(await liveIds()).toEqual([]);
    });

    test('an expired access cookie is enough', async () => {
      const { jar } = await logIn();
      const access = expired(jar.valueOf(ACCESS_COOKIE) as string);
      for (const name of ALL) jar.drop(name);
      jar.toss(ACCESS_COOKIE, access);
      expect((await jar.post('/api/session/logout')).status).toBe(200);
      expect(await liveIds()).toEqual([]);
    });

    test('ends every session that a cookie names', async () => {
      const { jar } = await logIn();
      const { jar: other } = await logIn();
      jar.drop(ACCESS_COOKIE);
      jar.toss(ACCESS_COOKIE, other.valueOf(ACCESS_COOKIE) as string);
      expect((await jar.post('/api/session/logout')).status).toBe(200);
      expect(await liveIds()).toEqual([]);
      expect(jar.names).toEqual([]);
    });

    test('without a cookie of ours, clears none: the session may be alive', async () => {
      const { id } = await logIn();
      const answer = await new CookieJar(app).post('/api/session/logout');
      expect(answer).toMatchObject({ status: 401, body: { code: 'session_not_found' } });
      expect(setCookies(answer)).toEqual([]);
      expect(await liveIds()).toEqual([id]);
    });

    test('of a session that has ended already, clears the cookies', async () => {
      const { jar, id } = await logIn();
      await app.get(SessionService).destroy(id);
      expect(await jar.post('/api/session/logout')).toMatchObject({ status: 401, body: { code: 'session_not_found' } });
      expect(jar.names).toEqual([]);
    });
  });

  describe('cookies for the browser session', () => {
    afterEach(() => app?.close());
    const maxAges = (answer: Parameters<typeof setCookies>[0]) => setCookies(answer).map(({ maxAge }) => maxAge);
    const none = [undefined, undefined, undefined];

    test('the login chooses them, and they stay so at each refresh and reauthentication', async () => {
      await start();
      for (const session of ['LONG', 'KEEPING']) {
        const { jar, answer } = await logIn({ session, persistent: false });
        expect(maxAges(answer)).toEqual(none);
        expect(maxAges(await refresh(jar, session))).toEqual(none);
        expect(maxAges(await jar.post('/api/session/reauthenticate', ALICE))).toEqual(none);
        expect(maxAges(await refresh(jar, session))).toEqual(none);
        expect(maxAges(await jar.post('/api/session/logout'))).toEqual([0, 0, 0]);
      }
      const { jar, answer } = await logIn({ persistent: true });
      expect(maxAges(answer)).toEqual(Array(3).fill(30 * 24 * 3600));
      expect(maxAges(await refresh(jar))).toEqual(Array(3).fill(expect.any(Number)));
      expect(maxAges((await logIn()).answer)).toEqual(Array(3).fill(30 * 24 * 3600));
    });

    test('the option persistent is the default', async () => {
      await start({ persistent: false });
      expect(maxAges((await logIn()).answer)).toEqual(none);
      expect(maxAges((await logIn({ persistent: true })).answer)).toEqual(Array(3).fill(30 * 24 * 3600));
    });

    test.each(['yes', 1, null, {}])('the field persistent must not be %j', async (persistent) => {
      await start();
      expect(
        (await app.post('login/', { ...ALICE, persistent }, { 'x-session-transport': 'cookie' })).body,
      ).toMatchObject({
        code: 'validation_failed',
        errors: { persistent: ['Must be a valid boolean.'] },
      });
    });
  });

  describe('partitioned', () => {
    afterEach(() => app?.close());

    test('is an attribute of all cookies, also when they are cleared', async () => {
      await start({ partitioned: true, sameSite: 'none' });
      const { jar, answer } = await logIn();
      for (const each of [answer, await refresh(jar), await jar.post('/api/session/logout')]) {
        expect(setCookies(each)).toHaveLength(3);
        for (const cookie of setCookies(each))
          expect(cookie).toMatchObject({ partitioned: true, secure: true, sameSite: 'none' });
      }
    });
  });

  describe("secure 'auto'", () => {
    let warnings: string[];
    beforeEach(async () => {
      warnings = [];
      const warn = jest
        .spyOn(Logger.prototype, 'warn')
        .mockImplementation((line: unknown) => void warnings.push(String(line)));
      await start({ secure: 'auto' });
      warn.mockRestore();
    });
    afterEach(() => app?.close());
    const plain = ['session-access', 'session-proof', 'session-refresh'];

    test('a client over plain HTTP logs in, refreshes and logs out on a loopback address, and the start warns', async () => {
      expect(warnings).toEqual([expect.stringMatching(/^cookies\.secure is 'auto': /)]);
      const { jar, id, answer } = await logIn();
      expect(jar.names).toEqual(plain);
      for (const cookie of setCookies(answer)) expect(cookie).toMatchObject({ httpOnly: true });
      expect(answer.headers.getSetCookie().join()).not.toMatch(/secure/i);
      expect((await jar.send('GET', '/me')).body).toEqual({ userId: 'alice' });
      expect((await refresh(jar)).body).toEqual(cookieAnswer(id));
      const { id: next } = await logIn(BOB, jar);
      expect(await liveIds()).toEqual([next]);
      expect((await jar.post('/api/session/logout')).status).toBe(200);
      expect(jar.names).toEqual([]);
    });

    test.each<[string, Record<string, string>]>([
      ['behind a proxy', { 'x-forwarded-for': '203.0.113.7' }],
      ['of a page elsewhere', { origin: 'https://app.test', 'sec-fetch-site': 'same-origin' }],
    ])('a request %s gets secure cookies, and none without a prefix counts', async (_, headers) => {
      const { jar: local } = await logIn();
      const jar = new CookieJar(app);
      expect((await jar.post('/api/session/login', ALICE, headers)).status).toBe(200);
      expect(jar.names).toEqual(ALL);
      expect((await local.send('GET', '/me', undefined, headers)).status).toBe(401);
      expect((await local.send('POST', '/api/session/refresh', { session: 'LONG' }, headers)).status).toBe(401);
    });
  });
});
