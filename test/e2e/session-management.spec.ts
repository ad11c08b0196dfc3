import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import {
  BlacklistEntity,
  SessionEntity,
  SessionManagementController,
  type SessionPolicyOptions,
  SessionService,
} from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import { type Answer, bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { ACCESS_COOKIE, ASKS_FOR_COOKIES, cookieHeader, setCookies, tokensInCookies } from '../helpers/cookies.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { StatementLog } from '../helpers/statement-log.js';
import { expired, resigned } from '../helpers/tokens.js';

const POLICIES = {
  LONG: { refreshTokenLifetime: '30d' },
  SHORT: { refreshTokenLifetime: '1d' },
  CHECKED: { refreshTokenLifetime: '1d', accessCheck: 'session' },
} as const satisfies Record<string, SessionPolicyOptions>;

const PHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1';
const PC = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0';
const NOBODY = '00000000-0000-7000-8000-000000000000';

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let entries: Repository<BlacklistEntity>;
  const log = new StatementLog();

  beforeAll(async () => {
    app = await startApp({ databaseName, adapter, options: { policies: POLICIES, cookies: true } });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    entries = app.get(getRepositoryToken(BlacklistEntity) as string);
    Object.assign(app.get(DataSource), { logger: log });
  });
  afterAll(() => app?.close());
  beforeEach(async () => {
    await rows.clear();
    await entries.clear();
  });

  const login = async (username = 'alice', session = 'LONG', headers: Record<string, string> = {}) => {
    const body = { username, password: `${username}-password`, secret_key: SECRET_KEY, session };
    const answer = await app.post('login/', body, headers);
    expect(answer.status).toBe(200);
    return answer.body as { access: string; refresh: string; session_id: string };
  };
  const ask = (method: string, route: string, access: string, headers: Record<string, string> = {}) =>
    app.request(method, `/api/session/${route}`, { headers: { ...bearer(access), ...headers } });
  const deleteList = (access: string, ids: unknown) => app.post('sessions/delete-list', { ids }, bearer(access));
  const verify = (token: unknown, more: object = { secret_key: SECRET_KEY }) => app.post('verify/', { token, ...more });
  const left = async () => (await rows.find()).map(({ id }) => id).sort();
  const statusAndBody = ({ status, body }: Answer) => [status, body];

  describe('GET sessions', () => {
    test("describes the caller's sessions for people, the current one first", async () => {
      await login('bob');
      const pc = await login('alice', 'LONG', { 'user-agent': PC });
      const phone = await login('alice', 'SHORT', { 'user-agent': PHONE, 'x-device-model': "Alice's iPhone" });
      const bot = await login('alice', 'SHORT', { 'user-agent': 'Mozilla/5.0 (compatible; Googlebot/2.1)' });
      const { status, body, headers } = await ask('GET', 'sessions', pc.access);
      expect(status).toBe(200);
      expect(headers.get('cache-control')).toBe('no-store');
      const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as unknown;
      const times = { created_at: time, last_update: time, expires_at: time, client_changed_at: null, bound: false };
      expect(body).toEqual([
        {
          id: pc.session_id,
          type: 'LONG',
          device: null,
          browser: { name: 'Firefox', version: '128.0' },
          os: { name: 'Linux', version: null },
          kind: 'pc',
          ip_address: '127.0.0.1',
          info: PC,
          ...times,
          current: true,
        },
        expect.objectContaining({ id: bot.session_id, kind: 'bot', current: false }),
        {
          id: phone.session_id,
          type: 'SHORT',
          device: "Alice's iPhone",
          browser: { name: 'Safari', version: '17.5' },
          os: { name: 'iOS', version: '17.5' },
          kind: 'mobile',
          ip_address: '127.0.0.1',
          info: "Alice's iPhone",
          ...times,
          current: false,
        },
      ]);
    });

    test('refuses a caller without a valid access token', async () => {
      expect((await app.request('GET', '/api/session/sessions')).body.code).toBe('not_authenticated');
      const { access } = await login();
      await app.get(SessionService).destroyAll('alice');
      expect((await ask('GET', 'sessions', access)).body.code).toBe('token_not_valid');
    });

    test('ignores headers with an address that the client can write', async () => {
      const forged = { 'x-forwarded-for': '203.0.113.7', 'x-real-ip': '203.0.113.7', forwarded: 'for=203.0.113.7' };
      const { access } = await login('alice', 'LONG', forged);
      const { body } = await ask('GET', 'sessions', access);
      expect(body).toMatchObject([{ ip_address: '127.0.0.1' }]);
    });
  });

  describe('DELETE sessions/:id', () => {
    test('ends a session of the caller', async () => {
      const [first, second] = [await login(), await login()];
      expect((await ask('DELETE', `sessions/${second.session_id}`, first.access)).status).toBe(204);
      expect(await left()).toEqual([first.session_id]);
      expect((await ask('GET', 'sessions', second.access)).status).toBe(401);
      expect((await ask('DELETE', `sessions/${second.session_id}`, first.access)).body.code).toBe('session_not_found');
    });

    test('does not find the session of another user, or an invalid id', async () => {
      const [alice, bob] = [await login(), await login('bob')];
      for (const id of [bob.session_id, NOBODY, 'x', '%00', bob.session_id.toUpperCase(), "' OR 1=1"]) {
        const { status, body } = await ask('DELETE', `sessions/${encodeURI(id)}`, alice.access);
        expect([id, status, body.code]).toEqual([id, 404, 'session_not_found']);
      }
      expect(await left()).toEqual([alice.session_id, bob.session_id].sort());
    });

    test('clears the cookies with the current session, and refuses a forged request', async () => {
      const body = { username: 'alice', password: 'alice-password', session: 'LONG' };
      const answer = await app.post('login/', body, ASKS_FOR_COOKIES);
      const cookies = cookieHeader([ACCESS_COOKIE, tokensInCookies(answer).access]);
      const path = `/api/session/sessions/${answer.body.session_id}`;
      const forged = await app.request('DELETE', path, { headers: cookies });
      expect([forged.status, forged.body.code]).toEqual([403, 'csrf_failed']);
      const ended = await app.request('DELETE', path, { headers: { ...cookies, ...ASKS_FOR_COOKIES } });
      expect(ended.status).toBe(204);
      expect(setCookies(ended).map(({ value, maxAge }) => [value, maxAge])).toEqual(Array(3).fill(['', 0]));
    });
  });

  test('DELETE sessions ends all sessions except the current one', async () => {
    const own = await login();
    const bob = await login('bob');
    for (const type of ['LONG', 'SHORT', 'CHECKED']) await login('alice', type);
    expect(statusAndBody(await ask('DELETE', 'sessions', own.access))).toEqual([200, { ended: 3 }]);
    expect(await left()).toEqual([own.session_id, bob.session_id].sort());
    expect(statusAndBody(await ask('DELETE', 'sessions', own.access))).toEqual([200, { ended: 0 }]);
  });

  describe('POST sessions/delete-list', () => {
    test('ends each listed session once and skips the current one', async () => {
      const [own, one, two, three] = [await login(), await login(), await login(), await login()];
      const ids = [one, two, one, own].map((session) => session.session_id);
      expect(statusAndBody(await deleteList(own.access, ids))).toEqual([200, { ended: 2 }]);
      expect(await left()).toEqual([own.session_id, three.session_id].sort());
      expect(statusAndBody(await deleteList(own.access, []))).toEqual([200, { ended: 0 }]);
    });

    test("ends no session if one of them is another user's, unknown or has ended", async () => {
      const [own, one, bob] = [await login(), await login(), await login('bob')];
      const gone = await login();
      await app.get(SessionService).destroy(gone.session_id);
      const before = await left();
      for (const id of [bob.session_id, NOBODY, 'x', gone.session_id]) {
        const { status, body } = await deleteList(own.access, [one.session_id, id]);
        expect([id, status, body.code]).toEqual([id, 404, 'session_not_found']);
      }
      expect(await left()).toEqual(before);
    });

    test.each([
      ['nothing', undefined, 'This field is required.'],
      ['null', null, 'This field may not be null.'],
      ['a text', 'x', 'Expected a list of items.'],
      ['an object', { length: 1, 0: 'x' }, 'Expected a list of items.'],
      ['a list of a list', [['x']], 'Not a valid string.'],
      ['a list of numbers', [1], 'Not a valid string.'],
      ['an empty id', [''], 'This field may not be blank.'],
      [
        'more than a hundred',
        Array.from({ length: 101 }, () => 'x'),
        'Ensure this field has no more than 100 elements.',
      ],
    ])('refuses %s', async (_, ids, message) => {
      const { access } = await login();
      const { status, body } = await deleteList(access, ids);
      expect([status, body.errors]).toEqual([400, { ids: [message] }]);
    });

    test('two parallel requests end each session once', async () => {
      const own = await login();
      for (let round = 0; round < 5; round++) {
        const ids = [(await login()).session_id, (await login()).session_id];
        const answers = await Promise.all([deleteList(own.access, ids), deleteList(own.access, ids)]);
        expect(answers.map(({ status }) => status).sort()).toEqual([200, 404]);
        expect(await left()).toEqual([own.session_id]);
        expect(await entries.countBy(ids.map((id) => ({ id })))).toBe(2);
      }
    });
  });

  describe('POST verify', () => {
    test('answers the claims of a valid access token', async () => {
      const { session, access } = await app
        .get(SessionService)
        .create('alice', { type: 'LONG', claims: { role: 'editor', active: false } });
      const { status, body, headers } = await verify(access);
      expect(status).toBe(200);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(body).toMatchObject({
        active: true,
        token_type: 'Bearer',
        token_use: 'access',
        sub: 'alice',
        sid: session.id,
        session_type: 'LONG',
        role: 'editor',
      });
      expect(body.exp - body.iat).toBe(300);
    });

    test('answers the claims of a valid refresh token without using it up', async () => {
      const { refresh, session_id } = await login();
      const before = await rows.find();
      const { body } = await verify(refresh);
      expect(body).toEqual({
        active: true,
        token_use: 'refresh',
        sub: 'alice',
        sid: session_id,
        session_type: 'LONG',
        exp: before[0].expiresAt.getTime() / 1000,
        iat: Math.floor(before[0].createdAt.getTime() / 1000),
        jti: before[0].refreshJti,
      });
      expect(await rows.find()).toEqual(before);
    });

    test('only answers that any other token is not active', async () => {
      const ended = await login();
      await app.get(SessionService).destroy(ended.session_id);
      const living = await login();
      const renewed = await app.post('refresh/', { refresh: living.refresh, secret_key: SECRET_KEY, session: 'LONG' });
      expect(renewed.status).toBe(200);
      const tokens = {
        nonsense: 'x.y.z',
        'an expired one': expired(living.access),
        "another's key": resigned(living.access, {}, 'another secret of more than thirty-two bytes'),
        'of an ended session': ended.access,
        'the refresh token of an ended session': ended.refresh,
        superseded: living.refresh,
        "another user's name beside a live session": resigned(living.access, { claims: { sub: 'bob' } }),
        'a type that is not there': resigned(living.access, { claims: { session_type: 'GONE' } }),
      };
      const before = await rows.find();
      for (const [name, token] of Object.entries(tokens)) {
        expect([name, ...statusAndBody(await verify(token))]).toEqual([name, 200, { active: false }]);
      }
      expect(await rows.find()).toEqual(before);
    });

    test('requires the secret key in either transport', async () => {
      const { access } = await login();
      expect((await verify(access, {})).body.errors).toEqual({ secret_key: ['This field is required.'] });
      expect((await verify(access, { secret_key: 'wrong' })).body.code).toBe('secret_key_invalid');
      const cookie = await app.post('verify/', { token: access }, ASKS_FOR_COOKIES);
      expect(cookie.body.code).toBe('secret_key_invalid');
      expect((await app.post('verify/', { token: access }, { 'x-secret-key': SECRET_KEY })).body.active).toBe(true);
      expect((await verify(undefined)).body.errors).toEqual({ token: ['This field is required.'] });
    });

    test('is closed if the option secretKey is false', async () => {
      const open = await startApp({ databaseName, adapter, options: { policies: POLICIES, secretKey: false } });
      const { access } = await open.login({ session: 'LONG' });
      expect((await open.post('verify/', { token: access })).body.code).toBe('secret_key_invalid');
      await open.close();
    });
  });

  test("accessCheck: 'session' reads one row by its primary key", async () => {
    const { access } = await login('alice', 'CHECKED');
    const { statements } = await log.during(() => app.get(SessionService).verify(access) as Promise<unknown>);
    const sent = statements.map(({ query }) => query).filter((query) => query.includes('user_session'));
    expect(sent).toHaveLength(1);
    expect(sent[0]).toMatch(/^SELECT .* WHERE [`"]id[`"] = (\?|\$1)(\) found ON TRUE)?$/);
  });

  test('management: false turns the routes off, and a class of the application replaces them', async () => {
    class Own extends SessionManagementController {}
    for (const [management, status] of [
      [false, 404],
      [Own, 401],
    ] as const) {
      const other = await startApp({ databaseName: 'sqlite', adapter, options: { policies: POLICIES, management } });
      expect((await other.request('GET', '/api/session/sessions')).status).toBe(status);
      await other.close();
    }
  });
});
