import { afterEach, beforeAll, afterAll, describe, expect, test } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Post, Res, UseGuards } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import {
  AnswerHeadersInterceptor,
  CsrfGuard,
  CurrentSession,
  JwtAuthGuard,
  OptionalSession,
  SessionCookies,
  SessionService,
} from 'nestjs-multisession';
import { DjangoErrorFilter } from 'nestjs-multisession/django';
import { MultiSessionPassportModule } from 'nestjs-multisession/passport';
import { DataSource } from 'typeorm';
import { type Answer, bearer, SECRET_KEY, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import {
  ACCESS_COOKIE,
  ASKS_FOR_COOKIES,
  cookieAnswer,
  cookieHeader,
  REFRESH_COOKIE,
  PROOF_COOKIE,
  setCookies,
  tokensInCookies,
} from '../helpers/cookies.js';
import { onEachAdapter } from '../helpers/matrix.js';
import { rowsOf } from '../helpers/rows.js';
import { decoded, expired, resigned } from '../helpers/tokens.js';

const ALICE = { username: 'alice', password: 'alice-password', session: 'LONG' };
const BOB = { username: 'bob', password: 'bob-password', session: 'LONG' };
const POLICIES = {
  LONG: { refreshTokenLifetime: '30d', extendSession: 'every-refresh' },
  STRICT: { refreshTokenLifetime: '1h', reuseGrace: 0 },
  KEEPING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false },
  SOON: { refreshTokenLifetime: '1h', accessTokenLifetime: '20m' },
  CHECKED: { refreshTokenLifetime: '1h', accessCheck: 'session' },
} as const;

@Controller('notes')
class NotesController {
  @Get()
  @UseGuards(JwtAuthGuard)
  list(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @Post()
  @HttpCode(200)
  @UseGuards(JwtAuthGuard)
  write(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @Post('optional')
  @HttpCode(200)
  @UseGuards(JwtAuthGuard)
  @OptionalSession()
  optional(@CurrentSession('userId') userId?: string) {
    return { userId: userId ?? null };
  }

  @Get('passport')
  @UseGuards(AuthGuard('jwt'))
  listByPassport(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @Post('passport')
  @HttpCode(200)
  @UseGuards(AuthGuard('jwt'))
  writeByPassport(@CurrentSession('userId') userId: string) {
    return { userId };
  }
}

@Controller('link')
class LinkController {
  constructor(
    private readonly sessions: SessionService,
    private readonly cookies: SessionCookies,
  ) {}

  @Post('login')
  @HttpCode(200)
  @UseGuards(CsrfGuard)
  async login(@Body() { claim }: { claim: string }, @Res({ passthrough: true }) response: unknown) {
    const issued = await this.sessions.create('alice', { type: 'LONG', claims: { claim } });
    this.cookies.set(response, issued);
    return { session_id: issued.session.id };
  }

  @Post('leave')
  @HttpCode(200)
  leave(@Res({ passthrough: true }) response: unknown) {
    this.cookies.clear(response);
    return {};
  }
}

interface Browser {
  sessionId: string;
  access: string;
  refresh: string;
  proof: string | undefined;
  /** The cookies, and the headers that our own page adds. */
  headers: Record<string, string>;
}

onEachAdapter((databaseName, adapter) => {
  let app: TestApp;
  const start = (options: TestAppOptions['options'], more: TestAppOptions = {}) =>
    startApp({
      databaseName,
      adapter,
      controllers: [NotesController, LinkController],
      imports: [MultiSessionPassportModule.forRoot()],
      ...more,
      options: { policies: POLICIES, ...options },
    });

  const cookiesOf = (access: string | undefined, refresh: string | undefined) =>
    cookieHeader([ACCESS_COOKIE, access], [REFRESH_COOKIE, refresh]);
  const browserOf = (answer: Answer): Browser => {
    const { access, refresh = '', proof } = tokensInCookies(answer);
    return {
      sessionId: answer.body.session_id,
      access,
      refresh,
      proof,
      headers: { ...ASKS_FOR_COOKIES, ...cookiesOf(access, refresh) },
    };
  };
  const logIn = async (more: object = {}, at = app) => {
    const answer = await at.post('login/', { ...ALICE, ...more }, ASKS_FOR_COOKIES);
    expect(answer.status).toBe(200);
    return browserOf(answer);
  };
  const refresh = (headers: Record<string, string>, session = 'LONG') =>
    app.post('refresh/', { session }, { ...ASKS_FOR_COOKIES, ...headers });
  const refreshTwice = async (browser: Browser, session: string) => browserOf(await refresh(browser.headers, session));
  const isLive = async ({ access }: Browser) =>
    (await app.request('GET', '/notes', { headers: cookieHeader([ACCESS_COOKIE, access]) })).status === 200;
  const expectCleared = (answer: Answer) =>
    expect(setCookies(answer)).toEqual([
      { name: ACCESS_COOKIE, value: '', maxAge: 0, path: '/', httpOnly: true, secure: true, sameSite: 'lax' },
      {
        name: REFRESH_COOKIE,
        value: '',
        maxAge: 0,
        path: '/api/session',
        httpOnly: true,
        secure: true,
        sameSite: 'strict',
      },
      { name: PROOF_COOKIE, value: '', maxAge: 0, path: '/', httpOnly: true, secure: true, sameSite: 'strict' },
    ]);

  describe('cookies', () => {
    beforeAll(async () => void (app = await start({ cookies: { origins: ['https://spa.test'] } })));
    afterAll(() => app?.close());

    describe('the life of a session', () => {
      test('login sets both tokens as cookies and has none in the body', async () => {
        const answer = await app.post('login/', ALICE, ASKS_FOR_COOKIES);
        expect(answer).toMatchObject({ status: 200 });
        expect(answer.body).toEqual(cookieAnswer(answer.body.session_id));
        expect(answer.headers.get('cache-control')).toBe('no-store');
        const shared = {
          value: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
          maxAge: 30 * 24 * 3600,
          httpOnly: true,
          secure: true,
        };
        expect(setCookies(answer)).toEqual([
          { ...shared, name: ACCESS_COOKIE, path: '/', sameSite: 'lax' },
          { ...shared, name: REFRESH_COOKIE, path: '/api/session', sameSite: 'strict' },
          {
            ...shared,
            name: PROOF_COOKIE,
            value: expect.stringMatching(`^${answer.body.session_id}\\.[\\w-]{43}$`),
            path: '/',
            sameSite: 'strict',
          },
        ]);
      });

      test('guarded requests, refresh and logout work with cookies alone', async () => {
        const first = await logIn();
        expect(await app.request('GET', '/notes', { headers: cookiesOf(first.access, undefined) })).toMatchObject({
          status: 200,
          body: { userId: 'alice' },
        });
        const answer = await refresh(first.headers);
        expect(answer).toMatchObject({ status: 200, body: { session_id: first.sessionId } });
        expect(answer.body).toEqual(cookieAnswer(first.sessionId));
        const second = browserOf(answer);
        expect(second.refresh).not.toBe(first.refresh);
        expect(setCookies(answer).map(({ maxAge }) => maxAge)).toEqual(Array(3).fill(30 * 24 * 3600));

        const logout = await app.post('logout/', {}, second.headers);
        expect(logout).toMatchObject({ status: 200, body: {} });
        expectCleared(logout);
        expect(await isLive(second)).toBe(false);
      });

      test('a refresh without a new refresh token sets all cookies nevertheless', async () => {
        const browser = await logIn({ session: 'KEEPING' });
        const answer = await refresh(browser.headers, 'KEEPING');
        expect(setCookies(answer).map(({ name, maxAge }) => [name, maxAge])).toEqual(
          [ACCESS_COOKIE, REFRESH_COOKIE, PROOF_COOKIE].map((name) => [name, expect.any(Number)]),
        );
        expect(setCookies(answer)[0].maxAge).toBeGreaterThan(3590);
        expect(setCookies(answer)[1].value).toBe(browser.refresh);
        expect(answer.body).toEqual(cookieAnswer(browser.sessionId));
      });

      test('a refresh soon after the grace sets only the access cookie, so that a late answer cannot bring an old token', async () => {
        const browser = await logIn();
        const rotated = browserOf(await refresh(browser.headers));
        await app
          .get(DataSource)
          .query(`UPDATE user_session SET rotated_at = rotated_at - 15000 WHERE id = '${browser.sessionId}'`);
        for (const [{ headers }, generation] of [
          [rotated, 1],
          [browser, 0],
        ] as const) {
          const answer = await refresh(headers);
          expect(answer.body).toEqual(cookieAnswer(browser.sessionId));
          expect(setCookies(answer).map(({ name }) => name)).toEqual([ACCESS_COOKIE]);
          expect(decoded(tokensInCookies(answer).access, 1)).toMatchObject({ gen: generation, sid: browser.sessionId });
        }
        expect((await app.post('logout/', {}, rotated.headers)).status).toBe(200);
      });

      test('an answer says how long the tokens live that the page cannot read', async () => {
        const { status, body } = await app.post('login/', { ...ALICE, session: 'SOON' }, ASKS_FOR_COOKIES);
        expect({ status, body }).toEqual({ status: 200, body: cookieAnswer(body.session_id) });
        expect(body).toMatchObject({ session_type: 'SOON' });
        // Some time may have passed since the tokens were issued, but not minutes.
        expect(body.expires_in).toBeLessThanOrEqual(1200);
        expect(body.expires_in).toBeGreaterThan(1000);
        expect(body.session_expires_in).toBeLessThanOrEqual(3600);
        expect(body.session_expires_in).toBeGreaterThan(3400);
        expect(Number.isInteger(body.expires_in) && Number.isInteger(body.session_expires_in)).toBe(true);
      });

      test('ignores the secret key and the refresh token in the body', async () => {
        const browser = await logIn({ secret_key: 'wrong' });
        expect((await app.post('logout/', { refresh: browser.refresh }, ASKS_FOR_COOKIES)).body.code).toBe(
          'session_not_found',
        );
        const body = { session: 'LONG', refresh: { not: 'a text' }, secret_key: '' };
        expect((await app.post('refresh/', body, browser.headers)).status).toBe(200);
      });

      test('reports an expired access cookie as an expired token', async () => {
        const { access } = await logIn();
        const answer = await app.request('GET', '/notes', { headers: cookiesOf(expired(access), undefined) });
        expect(answer).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
        expect(setCookies(answer)).toEqual([]);
      });

      test('destroyAllOther reads the refresh token from the cookie', async () => {
        const [browser, other] = [await logIn({ session: 'STRICT' }), await logIn({ session: 'STRICT' })];
        expect(await app.post('destroyAllOther/', { session: 'STRICT' }, browser.headers)).toMatchObject({
          status: 200,
          body: {},
        });
        expect([await isLive(browser), await isLive(other)]).toEqual([true, false]);
        const withoutRefresh = { ...ASKS_FOR_COOKIES, ...cookiesOf(browser.access, undefined) };
        expect((await app.post('destroyAllOther/', { session: 'ALL' }, withoutRefresh)).body.code).toBe(
          'token_not_valid',
        );
      });

      test.each(['refresh/', 'logout/'])('%s without the cookie answers as for an unknown token', async (route) => {
        const answer = await app.post(route, { session: 'LONG' }, ASKS_FOR_COOKIES);
        expect(answer).toMatchObject({ status: 401, body: { code: 'session_not_found' } });
      });

      test('prefers the Authorization header to the cookie, unless it has another scheme', async () => {
        const [alice, bob] = [await logIn(), await logIn(BOB)];
        const cookie = cookieHeader([ACCESS_COOKIE, alice.access]);
        const who = async (authorization: string) =>
          (await app.request('GET', '/notes', { headers: { ...cookie, authorization } })).body;
        expect(await who(`Bearer ${bob.access}`)).toEqual({ userId: 'bob' });
        expect(await who('Bearer nonsense')).toMatchObject({ code: 'token_not_valid' });
        expect(await who('Basic c3RhZ2luZzpz')).toEqual({ userId: 'alice' });
      });

      test('refuses a refresh token in the access cookie', async () => {
        const { refresh: token } = await logIn();
        const answer = await app.request('GET', '/notes', { headers: cookieHeader([ACCESS_COOKIE, token]) });
        expect(answer.body.code).toBe('token_not_valid');
      });
    });

    describe('the header X-Session-Transport', () => {
      test.each<Record<string, string>>([{}, { 'x-session-transport': 'body' }])(
        'tokens travel in the body with %j',
        async (headers) => {
          const answer = await app.post('login/', { ...ALICE, secret_key: SECRET_KEY }, headers);
          expect(Object.keys(answer.body)).toEqual(['refresh', 'access', 'session_id']);
          expect(setCookies(answer)).toEqual([]);
          const { refresh: token } = answer.body;
          const refreshed = await app.post(
            'refresh/',
            { refresh: token, secret_key: SECRET_KEY, session: 'LONG' },
            headers,
          );
          expect(Object.keys(refreshed.body)).toEqual(['refresh', 'access']);
          // A refresh cookie does not replace the missing field.
          const ignored = await app.post(
            'logout/',
            {},
            { ...headers, ...cookieHeader([REFRESH_COOKIE, refreshed.body.refresh]) },
          );
          expect(ignored.body.errors).toEqual({ refresh: expect.anything(), secret_key: expect.anything() });
        },
      );

      test.each(['Cookie', 'header', '', 'cookie, cookie', 'cookies'])(
        '%j is refused together with all faulty fields',
        async (transport) => {
          const answer = await app.post('login/', { username: 'alice' }, { 'x-session-transport': transport });
          expect(answer).toMatchObject({
            status: 400,
            body: { code: 'validation_failed', errors: { 'X-Session-Transport': ['Must be cookie or body.'] } },
          });
          expect(Object.keys(answer.body.errors).sort()).toEqual([
            'X-Session-Transport',
            'password',
            'secret_key',
            'session',
          ]);
        },
      );

      test('faulty fields and an unknown type are reported before the CSRF check', async () => {
        const forged = { ...ASKS_FOR_COOKIES, origin: 'https://evil.test' };
        expect((await app.post('login/', { username: 'alice', session: 'LONG' }, forged)).body.errors).toEqual({
          password: ['This field is required.'],
        });
        expect((await app.post('login/', { ...ALICE, session: 'NONE' }, forged)).body.code).toBe(
          'invalid_session_type',
        );
        const { asked } = app.users;
        expect((await app.post('login/', { ...ALICE, password: 'wrong' }, forged)).body.code).toBe('csrf_failed');
        expect(app.users.asked).toBe(asked);
      });
    });

    describe('a forged request', () => {
      const FORGED: [string, Record<string, string>][] = [
        ['without the header', { 'sec-fetch-site': 'same-origin' }],
        ['from another site', { ...ASKS_FOR_COOKIES, 'sec-fetch-site': 'cross-site', origin: 'https://evil.test' }],
        ['from a sibling', { ...ASKS_FOR_COOKIES, 'sec-fetch-site': 'same-site', origin: 'https://blog.app.test' }],
        ['from the origin null', { ...ASKS_FOR_COOKIES, origin: 'null' }],
        ['from another host, of an older browser', { ...ASKS_FOR_COOKIES, origin: 'https://evil.test' }],
      ];

      test.each(FORGED)(
        '%s is refused by every route that takes the access cookie, and changes nothing',
        async (_, headers) => {
          const { access, refresh: token, sessionId } = await logIn();
          const before = await rowsOf(app);
          const all = { ...headers, ...cookiesOf(access, token) };
          const answers = await Promise.all([
            app.post('destroy/', { session_id: sessionId }, all),
            app.post('destroyAllOther/', { session: 'ALL' }, all),
            app.post('list/', { session: 'ALL' }, all),
            ...['', '/optional', '/passport'].map((path) => app.request('POST', `/notes${path}`, { headers: all })),
          ]);
          for (const answer of answers) {
            expect(answer).toMatchObject({
              status: 403,
              body: { statusCode: 403, error: 'Forbidden', code: 'csrf_failed' },
            });
            expect(setCookies(answer)).toEqual([]);
          }
          expect(await rowsOf(app)).toEqual(before);
        },
      );

      test.each(FORGED.slice(1))(
        '%s is refused by login, refresh and logout, and changes nothing',
        async (_, headers) => {
          const { access, refresh: token } = await logIn();
          const before = await rowsOf(app);
          const all = { ...headers, ...cookiesOf(access, token) };
          const routes = { 'login/': ALICE, 'refresh/': { session: 'LONG' }, 'logout/': {} };
          for (const [route, body] of Object.entries(routes)) {
            const answer = await app.post(route, body, all);
            expect(answer).toMatchObject({ status: 403, body: { code: 'csrf_failed' } });
            expect(setCookies(answer)).toEqual([]);
          }
          expect(await rowsOf(app)).toEqual(before);
        },
      );

      test('a request with an access token in the Authorization header needs no CSRF check', async () => {
        const { access } = await logIn();
        const headers = { ...bearer(access), origin: 'https://evil.test', 'sec-fetch-site': 'cross-site' };
        for (const path of ['', '/optional', '/passport'])
          expect((await app.request('POST', `/notes${path}`, { headers })).body).toEqual({ userId: 'alice' });
      });

      test('a request from an allowed origin passes', async () => {
        const { headers } = await logIn();
        const fromSpa = { ...headers, 'sec-fetch-site': 'cross-site', origin: 'https://spa.test' };
        for (const path of ['', '/optional', '/passport'])
          expect((await app.request('POST', `/notes${path}`, { headers: fromSpa })).body).toEqual({ userId: 'alice' });
        expect((await app.post('logout/', {}, fromSpa)).status).toBe(200);
      });
    });

    describe('duplicate cookies', () => {
      test('any access cookie with a valid token is accepted', async () => {
        const [alice, gone] = [await logIn(), await logIn({ session: 'CHECKED' })];
        await app.post('logout/', {}, gone.headers);
        const other = 'x'.repeat(20);
        const orders = [
          [alice.access, other, gone.access],
          [gone.access, other, alice.access],
          [other, expired(alice.access), alice.access],
        ];
        for (const [path, values] of ['/notes', '/notes/passport'].flatMap((at) =>
          orders.map((order) => [at, order] as const),
        )) {
          const headers = cookieHeader(...values.map((value): [string, string] => [ACCESS_COOKIE, value]));
          expect((await app.request('GET', path, { headers })).body).toEqual({ userId: 'alice' });
        }
        const none = cookieHeader([ACCESS_COOKIE, other], [ACCESS_COOKIE, gone.access]);
        expect((await app.request('GET', '/notes', { headers: none })).body.code).toBe('token_not_valid');
        expect((await app.request('GET', '/notes/passport', { headers: none })).status).toBe(401);
      });

      // Makes a token whose reuse ends a `STRICT` session: it was rotated, and its successor has been used.
      const stale = async () => {
        const first = await logIn({ session: 'STRICT' });
        const second = await refreshTwice(first, 'STRICT');
        return { old: first, current: await refreshTwice(second, 'STRICT') };
      };
      const refreshWith = (access: string | undefined, ...tokens: string[]) =>
        refresh(
          cookieHeader([ACCESS_COOKIE, access], ...tokens.map((token): [string, string] => [REFRESH_COOKIE, token])),
          'STRICT',
        );

      test.each(['before', 'behind'])(
        'a superseded refresh token %s the current one ends no session',
        async (place) => {
          const { old, current } = await stale();
          const tokens = place === 'before' ? [old.refresh, 'x', current.refresh] : [current.refresh, 'x', old.refresh];
          const answer = await refreshWith(current.access, ...tokens);
          expect(answer).toMatchObject({ status: 200, body: { session_id: current.sessionId } });
          expect(await isLive(browserOf(answer))).toBe(true);
        },
      );

      test('a refresh token of another type ends no session', async () => {
        const [long, strict] = [await logIn(), await logIn({ session: 'STRICT' })];
        const proof = cookieHeader([PROOF_COOKIE, strict.proof], [ACCESS_COOKIE, long.access]).cookie;
        const { cookie } = cookieHeader([REFRESH_COOKIE, long.refresh], [REFRESH_COOKIE, strict.refresh]);
        const answer = await refresh({ cookie: `${proof}; ${cookie}` }, 'STRICT');
        expect(answer.body.session_id).toBe(strict.sessionId);
        expect(await isLive(long)).toBe(true);
      });

      test('if no refresh token is accepted, each one is judged by itself', async () => {
        const [one, two] = [await stale(), await stale()];
        const { cookie } = cookieHeader(
          [PROOF_COOKIE, one.current.proof],
          [ACCESS_COOKIE, expired(two.current.access)],
          [REFRESH_COOKIE, 'x'],
          [REFRESH_COOKIE, one.old.refresh],
          [REFRESH_COOKIE, two.old.refresh],
        );
        const answer = await refresh({ cookie }, 'STRICT');
        expect(answer).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
        expect(setCookies(answer)).toEqual([]);
        expect([await isLive(one.current), await isLive(two.current)]).toEqual([false, false]);
      });

      test("a refresh token of another session than the access cookie's is ignored, in any order", async () => {
        const [victim, attacker] = [await logIn({ session: 'STRICT' }), await logIn({ ...BOB, session: 'STRICT' })];
        const access = expired(victim.access);
        const tossed = await refreshWith(access, attacker.refresh, victim.refresh);
        expect(tossed.body).toEqual(cookieAnswer(victim.sessionId));
        await app.post('logout/', {}, browserOf(tossed).headers);
        for (const tokens of [[attacker.refresh, victim.refresh], [attacker.refresh]]) {
          const answer = await refreshWith(access, ...tokens);
          // Only the victim's own token counts, and its session has ended.
          const code = tokens.length === 2 ? 'session_not_found' : 'session_proof_required';
          expect(answer).toMatchObject({ status: 401, body: { code } });
          expect(setCookies(answer)).toEqual([]);
        }
        // Neither a forged access cookie nor a refresh token in its place proves anything.
        for (const rubbish of ['x.y.z', attacker.refresh, undefined])
          expect((await refreshWith(rubbish, attacker.refresh)).body.code).toBe('session_proof_required');
        expect(await isLive(attacker)).toBe(true);
      });

      test('logout ends the session of each refresh cookie', async () => {
        const [one, two] = [await logIn(), await logIn()];
        const headers = cookieHeader(
          [ACCESS_COOKIE, one.access],
          [REFRESH_COOKIE, 'x'],
          [REFRESH_COOKIE, two.refresh],
          [REFRESH_COOKIE, one.refresh],
        );
        expect((await app.post('logout/', {}, { ...ASKS_FOR_COOKIES, ...headers })).status).toBe(200);
        expect([await isLive(one), await isLive(two)]).toEqual([false, false]);
      });
    });

    describe('the cookies are cleared', () => {
      test('when the current session is destroyed, and not when another is', async () => {
        const [browser, other] = [await logIn(), await logIn()];
        const destroy = (sessionId: string) => app.post('destroy/', { session_id: sessionId }, browser.headers);
        expect(setCookies(await destroy(other.sessionId))).toEqual([]);
        expectCleared(await destroy(browser.sessionId));
        const inBody = await app.login();
        const answer = await app.post('destroy/', { session_id: inBody.session_id }, bearer(inBody.access));
        expect(setCookies(answer)).toEqual([]);
      });

      test('but not when a refresh is refused', async () => {
        const browser = await logIn();
        await app.get(SessionService).destroy(browser.sessionId);
        const answer = await refresh(browser.headers);
        expect(answer).toMatchObject({ status: 401, body: { code: 'session_not_found' } });
        expect(setCookies(answer)).toEqual([]);
        const mismatch = await refresh((await logIn({ session: 'STRICT' })).headers);
        expect(mismatch).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
        expect(setCookies(mismatch)).toEqual([]);
      });

      test('when a logout finds no session', async () => {
        const browser = await logIn();
        await app.get(SessionService).destroy(browser.sessionId);
        expectCleared(await app.post('logout/', {}, browser.headers));
      });
    });

    describe('a login of the application', () => {
      const login = (headers: Record<string, string>, claim = 'c') =>
        app.request('POST', '/link/login', { body: { claim }, headers });

      test('sets the cookies, and clears them', async () => {
        const browser = browserOf(await login(ASKS_FOR_COOKIES));
        expect(await isLive(browser)).toBe(true);
        expect((await refresh(browser.headers)).status).toBe(200);
        expectCleared(await app.request('POST', '/link/leave'));
      });

      test('passes the CSRF check or is refused', async () => {
        for (const headers of [{}, { ...ASKS_FOR_COOKIES, origin: 'https://evil.test' }] as Record<string, string>[])
          expect(await login(headers)).toMatchObject({
            status: 403,
            body: { code: 'csrf_failed' },
          });
      });

      test('fails with 500 and sets no cookie if a token is too long for a cookie', async () => {
        const fits = await login(ASKS_FOR_COOKIES, 'c'.repeat(2400));
        expect(setCookies(fits)).toHaveLength(3);
        const answer = await login(ASKS_FOR_COOKIES, 'c'.repeat(3000));
        expect(answer.status).toBe(500);
        expect(setCookies(answer)).toEqual([]);
        const issued = await app
          .get(SessionService)
          .create('alice', { type: 'LONG', claims: { claim: 'c'.repeat(3000) } });
        expect(() => app.get(SessionCookies).set({}, issued)).toThrow(
          /^The cookie __Host-session-access would have 4\d{3} bytes/,
        );
      });
    });
  });

  describe('other options of cookies', () => {
    afterEach(() => app?.close());

    test('off: the cookie transport is refused, and cookies are ignored', async () => {
      app = await start({});
      const before = await rowsOf(app);
      const answer = await app.post('login/', { ...ALICE, secret_key: SECRET_KEY }, ASKS_FOR_COOKIES);
      expect(answer).toMatchObject({
        status: 400,
        body: {
          code: 'validation_failed',
          errors: { 'X-Session-Transport': ['Must be body: this server does not use cookies.'] },
        },
      });
      expect(setCookies(answer)).toEqual([]);
      expect(await rowsOf(app)).toEqual(before);
      const { access } = await app.login();
      for (const path of ['/notes', '/notes/passport'])
        expect((await app.request('GET', path, { headers: cookieHeader([ACCESS_COOKIE, access]) })).status).toBe(401);
      expect(
        (await app.post('login/', { ...ALICE, secret_key: SECRET_KEY }, { 'x-session-transport': 'body' })).body.access,
      ).toBeDefined();
      expect((await app.request('POST', '/link/login', { body: {}, headers: ASKS_FOR_COOKIES })).status).toBe(500);
    });

    test('default: a request without the header uses cookies, and one for the body works', async () => {
      app = await start({ cookies: { default: true } });
      const inBody = { 'x-session-transport': 'body' };
      const { body } = await app.post('login/', { ...ALICE, secret_key: SECRET_KEY }, inBody);
      expect(Object.keys(body)).toEqual(['refresh', 'access', 'session_id']);
      const before = await rowsOf(app);
      const given = { ...ALICE, secret_key: SECRET_KEY, refresh: body.refresh };
      for (const route of ['login/', 'refresh/', 'logout/', 'destroyAllOther/'])
        expect(await app.post(route, given, bearer(body.access))).toMatchObject({
          status: 403,
          body: { code: 'csrf_failed' },
        });
      expect(await rowsOf(app)).toEqual(before);
      expect((await app.post('destroyAllOther/', given, { ...inBody, ...bearer(body.access) })).status).toBe(200);
      expect((await app.post('logout/', given, inBody)).status).toBe(200);
      await logIn();
    });

    test('domain, name, path and sameSite shape the cookies', async () => {
      app = await start({ cookies: { domain: 'app.test', name: 'shop', path: '/v1/sessions', sameSite: 'none' } });
      const answer = await app.post('login/', ALICE, ASKS_FOR_COOKIES);
      const shared = { domain: 'app.test', sameSite: 'none', secure: true, httpOnly: true };
      expect(setCookies(answer)).toMatchObject([
        { ...shared, name: '__Secure-shop-access', path: '/' },
        { ...shared, name: '__Secure-shop-refresh', path: '/v1/sessions' },
        { name: '__Host-shop-proof', path: '/', sameSite: 'none', secure: true, httpOnly: true },
      ]);
      expect(setCookies(answer)[2].domain).toBeUndefined();
    });

    test('a refresh without the database answers 503 and clears no cookie', async () => {
      app = await start({ cookies: true });
      const [browser, other] = [await logIn(), await logIn({ session: 'STRICT' })];
      await app.get(DataSource).destroy();
      const several = cookieHeader(
        [REFRESH_COOKIE, 'x'],
        [REFRESH_COOKIE, browser.refresh],
        [REFRESH_COOKIE, other.refresh],
      );
      for (const headers of [browser.headers, several]) {
        for (const answer of [
          await refresh(headers),
          await app.post('logout/', {}, { ...ASKS_FOR_COOKIES, ...headers }),
        ]) {
          expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } });
          expect(setCookies(answer)).toEqual([]);
        }
      }
      await app.get(DataSource).initialize();
    });

    test('the Django filter translates csrf_failed on any route', async () => {
      app = await start(
        { cookies: true },
        { providers: [{ provide: APP_FILTER, useClass: DjangoErrorFilter }, AnswerHeadersInterceptor] },
      );
      const { headers } = await logIn();
      const forged = { ...headers, origin: 'https://evil.test' };
      for (const answer of [
        await app.post('logout/', {}, forged),
        await app.request('POST', '/notes', { headers: forged }),
      ])
        expect(answer).toMatchObject({ status: 403, body: { detail: expect.any(String) } });
    });

    test('only an access cookie with a valid signature decides whose session it is', async () => {
      app = await start({ cookies: true });
      const [browser, other] = [await logIn(), await logIn(BOB)];
      const forgedSid = resigned(other.access, {}, 'another secret of more than thirty-two bytes');
      const answer = await refresh(
        cookieHeader(
          [ACCESS_COOKIE, forgedSid],
          [ACCESS_COOKIE, browser.access],
          [REFRESH_COOKIE, other.refresh],
          [REFRESH_COOKIE, browser.refresh],
        ),
      );
      expect(answer.body.session_id).toBe(browser.sessionId);
    });
  });
});
