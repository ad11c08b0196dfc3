import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Controller, Get, UseGuards } from '@nestjs/common';
import { CurrentSession, JwtAuthGuard, SessionService } from 'nestjs-multisession';
import {
  expressSession,
  nextSession,
  nuxtSession,
  pageSessions,
  svelteKitSession,
} from 'nestjs-multisession-client/ssr';
import { startApp, type TestApp } from '../../test/helpers/app.js';
import { CookieJar } from '../../test/helpers/cookie-jar.js';
import { ACCESS_COOKIE, REFRESH_COOKIE } from '../../test/helpers/cookies.js';
import { rowsOf } from '../../test/helpers/rows.js';
import { expired } from '../../test/helpers/tokens.js';

const BACKEND_KEY = 'the backend key of the renderer';
const BROWSER = { 'user-agent': 'a browser', 'x-device-model': "Alice's laptop" };

@Controller()
class WhoAmI {
  @Get('me')
  @UseGuards(JwtAuthGuard)
  me(@CurrentSession('userId') userId: string) {
    return { userId };
  }
}

describe('the session of a page that a server renders', () => {
  let app: TestApp;
  let jar: CookieJar;
  let sent: Request[];
  const send: typeof fetch = (input, init) => {
    const request = new Request(input, init);
    sent.push(request);
    return fetch(request);
  };
  const options = () => ({ url: `${app.url}/api/session/`, backendKey: BACKEND_KEY, fetch: send });
  const routes = () => sent.map(({ url }) => new URL(url).pathname);
  /** The headers with which the browser asks for a page. */
  const asking = (change: Record<string, string | undefined> = {}) => {
    const names = [ACCESS_COOKIE, REFRESH_COOKIE, '__Host-session-proof'];
    const values = names.map((name) => [name, name in change ? change[name] : jar.valueOf(name)] as const);
    const cookie = values.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
    return new Headers({ ...BROWSER, cookie: ['theme=dark', ...cookie].join('; ') });
  };
  const later = () => asking({ [ACCESS_COOKIE]: expired(String(jar.valueOf(ACCESS_COOKIE))) });

  beforeAll(async () => {
    app = await startApp({
      controllers: [WhoAmI],
      options: {
        policies: { LONG: { refreshTokenLifetime: '30d', renewal: true } },
        cookies: { serverRendering: true },
        backendKeys: BACKEND_KEY,
      },
    });
  });
  beforeEach(async () => {
    sent = [];
    jar = new CookieJar(app);
    const body = { username: 'alice', password: 'alice-password', session: 'LONG' };
    expect((await jar.post('/api/session/login/', body, BROWSER)).status).toBe(200);
  });
  afterAll(() => app?.close());

  test('uses the access cookie while it is good, and does not renew', async () => {
    expect(await pageSessions(options())(asking()).json('/me')).toMatchObject({ userId: 'alice' });
    expect(routes()).toEqual(['/me']);
  });

  test('renews once for all requests with the same cookies, and changes nothing in the session', async () => {
    const before = await rowsOf(app);
    const sessionOf = pageSessions(options());
    const cookies = later();
    const [one, other] = [sessionOf(cookies), sessionOf(cookies)];
    await Promise.all([one.json('/me'), one.json('/me'), other.json('/me')]);
    expect(await sessionOf(cookies).json('/me')).toMatchObject({ userId: 'alice' });
    expect(routes().filter((route) => route.endsWith('renew'))).toEqual(['/api/session/renew']);
    expect(await rowsOf(app)).toEqual(before);
    // The browser can still refresh.
    expect((await jar.post('/api/session/refresh/')).status).toBe(200);
  });

  test('passes on only the cookies of the session, and only to the API', async () => {
    const session = pageSessions(options())(later());
    await session.json('/me');
    expect(sent[0].headers.get('cookie')).not.toContain('theme');
    expect(sent[1].headers.get('cookie')).toBeNull();
    const other = await session.fetch('data:text/plain,hello', { headers: { 'x-own': '1' } });
    expect(await other.text()).toBe('hello');
    expect(sent[2].headers.get('authorization')).toBeNull();
  });

  test('asks nobody for an anonymous visitor', async () => {
    const session = pageSessions(options())({ cookie: 'theme=dark', 'user-agent': 'a browser' });
    expect(await session.json('/me')).toBeNull();
    expect(await session.headers()).toEqual({});
    expect(session.mayExist).toBe(false);
    expect(sent).toEqual([]);
    expect((await session.fetch('/me')).status).toBe(401);
  });

  test('is null after an ending, whether the access cookie has expired or not', async () => {
    const { session_id: id } = (await jar.send('POST', '/api/session/refresh/')).body;
    await app.get(SessionService).destroy(id);
    expect(await pageSessions(options())(later()).json('/me')).toBeNull();
    expect(await pageSessions(options())(asking()).json('/me')).toBeNull();
  });

  test('renews a token that the API refuses, as it does if the clock of this server is wrong', async () => {
    jest.useFakeTimers({
      now: Date.now() - 3 * 3_600_000,
      doNotFake: ['nextTick', 'setImmediate', 'setTimeout', 'queueMicrotask'],
    });
    try {
      expect(await pageSessions(options())(later()).json('/me')).toMatchObject({ userId: 'alice' });
    } finally {
      jest.useRealTimers();
    }
  });

  test('says what is wrong if it cannot work', async () => {
    const { url } = options();
    expect(() => pageSessions({ url, backendKey: '' })).toThrow('backendKey');
    const wrong = pageSessions({ url, backendKey: 'another backend key' })(later());
    await expect(wrong.json('/me')).rejects.toMatchObject({ code: 'secret_key_invalid' });
    const away = pageSessions({ url: 'http://127.0.0.1:9/api/session', backendKey: BACKEND_KEY })(later());
    await expect(away.json('/me')).rejects.toMatchObject({ code: 'unreachable' });
    const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    const headers = asking({ [ACCESS_COOKIE]: undefined, [REFRESH_COOKIE]: undefined });
    expect(await pageSessions(options())(headers).json('/me')).toBeNull();
    expect(warn.mock.calls.flat().join()).toContain('serverRendering');
    warn.mockRestore();
  });

  test('shows no token to a framework that serializes it', async () => {
    const session = pageSessions(options())(asking());
    await session.json('/me');
    expect(JSON.stringify({ session })).not.toMatch(/ey/);
    expect(Object.keys(session)).toEqual([]);
  });

  describe('in the frameworks', () => {
    test('Next.js', async () => {
      const { session, middleware } = nextSession(options());
      expect(await session(later()).json('/me')).toMatchObject({ userId: 'alice' });
      const ask = (headers: Headers) => middleware(new Request('https://app.example.com/account', { headers }));
      expect(ask(later())).toBeUndefined();
      expect(ask(new Headers())).toMatchObject({ status: 307 });
      expect(ask(new Headers())?.headers.get('location')).toBe('https://app.example.com/login');
    });

    test('Nuxt, SvelteKit and Express: the page is not cached for others', async () => {
      const set: Record<string, string> = {};
      const response = {
        locals: {} as any,
        headersSent: false,
        setHeader: (name: string, value: string) => (set[name] = value),
      };
      expressSession(options())({ headers: Object.fromEntries(later()) }, response, () => undefined);
      expect(set).toEqual({});
      expect(await response.locals.session.json('/me')).toMatchObject({ userId: 'alice' });
      expect(set).toEqual({ 'Cache-Control': 'private, no-store' });

      const event = { headers: later(), context: {} as any, node: { res: { ...response } } };
      nuxtSession(options())(event);
      expect(await event.context.session.json('/me')).toMatchObject({ userId: 'alice' });

      const locals: any = {};
      const answer = await svelteKitSession(options())({
        event: { request: new Request('https://app.example.com/', { headers: later() }), locals },
        resolve: async () => Response.json(await locals.session.json('/me')),
      });
      expect(await answer.json()).toMatchObject({ userId: 'alice' });
      expect(answer.headers.get('cache-control')).toBe('private, no-store');
    });
  });
});
