/// <reference lib="dom" />
import type { Server } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, beforeEach, expect, jest, test } from '@jest/globals';
import { Controller, Get, Header, HttpCode, Module, Post, UseGuards } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import { type OnGatewayConnection, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { CurrentSession, JwtAuthGuard } from 'nestjs-multisession';
import type { BrowserContext, Page } from 'playwright-core';
import { ADAPTERS, type AdapterName, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { launchBrowser, portOf, type Seen, selfSigned, serveElsewhere, until, watch } from '../helpers/browser.js';
import { ACCESS_COOKIE, REFRESH_COOKIE } from '../helpers/cookies.js';
import { rowsOf } from '../helpers/rows.js';

const ALICE = { username: 'alice', password: 'alice-password', session: 'LONG' };
const ATTACKER = { username: 'bob', password: 'bob-password', session: 'LONG' };

jest.setTimeout(30_000);

let notesWritten = 0;

@Controller()
class PagesController {
  @Get('page')
  @Header('Content-Type', 'text/html')
  page() {
    return '<!doctype html><title>the application</title>';
  }

  @Get('notes')
  @UseGuards(JwtAuthGuard)
  list(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @Post('notes')
  @HttpCode(200)
  @UseGuards(JwtAuthGuard)
  write(@CurrentSession('userId') userId: string) {
    notesWritten++;
    return { userId };
  }
}

@WebSocketGateway()
@UseGuards(JwtAuthGuard)
class NotesGateway implements OnGatewayConnection {
  handleConnection(client: { request?: unknown }, request: unknown) {
    client.request = request;
  }

  @SubscribeMessage('write')
  write(@CurrentSession('userId') userId: string) {
    notesWritten++;
    return { event: 'written', data: { userId } };
  }
}

@Module({ providers: [NotesGateway] })
class NotesModule {}

/** The part of an answer that page script can read. If the browser blocks the request, only `error` is set. */
interface Fetched {
  status?: number;
  body?: any;
  error?: string;
}

interface PageRequest {
  url: string;
  body?: object;
  headers?: Record<string, string>;
  method?: string;
  mode?: 'cors' | 'no-cors';
}

/** Sends a request from the page's own script, with the cookies that the browser has for the URL. */
function fetchFrom(page: Page, request: PageRequest): Promise<Fetched> {
  return page.evaluate(async ({ url, body, headers, method = 'POST', mode = 'cors' }) => {
    try {
      const json = mode === 'cors' ? 'application/json' : 'text/plain';
      const response = await fetch(url, {
        method,
        mode,
        credentials: 'include',
        headers: { ...(body && { 'content-type': json }), ...headers },
        body: body && JSON.stringify(body),
      });
      const text = await response.text();
      return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
    } catch (error) {
      return { error: (error as Error).name };
    }
  }, request);
}

const ASKING = { 'x-session-transport': 'cookie' };

describe.each(ADAPTERS)('in a browser, %s', (adapter: AdapterName) => {
  const https = selfSigned();
  let elsewhere: Server;
  let app: TestApp;
  let context: BrowserContext;
  let seen: Seen[];
  let urlOf: (host: string) => string;

  beforeAll(async () => {
    context = await launchBrowser();
    elsewhere = await serveElsewhere(https);
  });
  afterAll(async () => {
    await context?.close();
    elsewhere?.close();
  });
  afterEach(async () => {
    await context.clearCookies();
    // Chromium exits with its last page, so keep the first one open.
    for (const page of context.pages().slice(1)) await page.close();
    // Chromium keeps idle connections open, and the server would wait for them.
    (app?.app.getHttpServer() as Server | undefined)?.closeAllConnections();
    await app?.close();
  });

  /**
   * Starts the application.
   *
   * @param corsOrigin the origins whose pages may read answers. `true` allows all of them, which is a mistake.
   */
  const start = async (
    cookies: NonNullable<TestAppOptions['options']>['cookies'],
    corsOrigin: boolean | string[] = false,
  ) => {
    app = await startApp({
      adapter,
      https,
      options: { cookies, secretKey: false },
      controllers: [PagesController],
      imports: [NotesModule],
      configure: (nest) => {
        if (corsOrigin !== false) nest.enableCors({ origin: corsOrigin, credentials: true });
        nest.useWebSocketAdapter(new WsAdapter(nest));
      },
    });
    const server = app.app.getHttpServer() as Server;
    seen = watch(server);
    urlOf = (host) => `https://${host}:${portOf(server)}`;
  };
  const open = async (url: string) => {
    const page = await context.newPage();
    await page.goto(url);
    return page;
  };
  /** Opens a page of another origin, which can set cookies. */
  const openElsewhere = (host: string, ...cookies: string[]) => {
    const query = cookies.map((cookie) => `set=${encodeURIComponent(cookie)}`).join('&');
    return open(`https://${host}:${portOf(elsewhere)}/?${query}`);
  };
  const logIn = async (page: Page, api = '', user: object = ALICE) => {
    const answer = await fetchFrom(page, { url: `${api}/api/session/login`, body: user, headers: ASKING });
    expect(answer).toEqual({ status: 200, body: { session_id: expect.any(String) } });
    return answer.body.session_id as string;
  };
  const refreshFrom = (page: Page, api = '') =>
    fetchFrom(page, { url: `${api}/api/session/refresh`, body: { session: 'LONG' }, headers: ASKING });
  const whoIs = async (page: Page, api = '') => (await fetchFrom(page, { url: `${api}/notes`, method: 'GET' })).body;
  const cookieJar = async () =>
    (await context.cookies())
      .map(({ name, value, domain, path }) => ({ name, value, domain, path }))
      .sort((one, other) => one.name.localeCompare(other.name));

  test('login, a guarded request, refresh and logout by page script, which sees no token', async () => {
    await start(true);
    const page = await open(`${urlOf('app.test')}/page`);
    const session = await logIn(page);
    expect((await context.cookies()).sort((one, other) => one.name.localeCompare(other.name))).toMatchObject([
      { name: ACCESS_COOKIE, domain: 'app.test', path: '/', httpOnly: true, secure: true, sameSite: 'Lax' },
      {
        name: REFRESH_COOKIE,
        domain: 'app.test',
        path: '/api/session',
        httpOnly: true,
        secure: true,
        sameSite: 'Strict',
      },
    ]);
    expect(await page.evaluate(() => document.cookie)).toBe('');
    expect(await whoIs(page)).toEqual({ userId: 'alice' });
    expect(await fetchFrom(page, { url: '/notes', headers: ASKING })).toMatchObject({ status: 200 });
    // The browser sends the refresh cookie only to the session routes.
    expect(seen.filter(({ request }) => request.endsWith('/notes')).map(({ cookies }) => cookies)).toEqual(
      Array(2).fill(expect.not.stringContaining(REFRESH_COOKIE)),
    );

    const before = await cookieJar();
    expect(await refreshFrom(page)).toEqual({ status: 200, body: { session_id: session } });
    const after = await cookieJar();
    expect(after.map(({ name }) => name)).toEqual(before.map(({ name }) => name));
    expect(after.map(({ value }) => value)).not.toEqual(before.map(({ value }) => value));
    expect(await whoIs(page)).toEqual({ userId: 'alice' });

    expect(await fetchFrom(page, { url: '/api/session/logout', headers: ASKING })).toEqual({ status: 200, body: {} });
    expect(await cookieJar()).toEqual([]);
    expect(await whoIs(page)).toMatchObject({ code: 'not_authenticated' });
  });

  // ─── Hostile pages ─────────────────────────────────────────────────────────────────────────────────────────────────

  const submitForm = (page: Page, action: string, enctype: string, fields: Record<string, string>) =>
    page.evaluate(
      (form) => {
        const element = Object.assign(document.createElement('form'), {
          method: 'post',
          action: form.action,
          enctype: form.enctype,
        });
        for (const [name, value] of Object.entries(form.fields))
          element.append(Object.assign(document.createElement('input'), { type: 'hidden', name, value }));
        document.body.append(element);
        // Load the answer into a frame, so that the page itself stays open.
        document.body.append(Object.assign(document.createElement('iframe'), { name: 'answer' }));
        element.target = 'answer';
        element.submit();
      },
      { action, enctype, fields },
    );

  /** The ways in which a page can send a POST with a body. The last two work only if CORS allows the page. */
  const ATTACKS: [string, (page: Page, url: string, body: Record<string, string>) => Promise<unknown>][] = [
    ['a form', (page, url, body) => submitForm(page, url, 'application/x-www-form-urlencoded', body)],
    [
      'a form of text that is JSON',
      (page, url, body) =>
        submitForm(page, url, 'text/plain', { [`${JSON.stringify(body).slice(0, -1)},"x":"`]: '"}' }),
    ],
    ['fetch in no-cors mode', (page, url, body) => fetchFrom(page, { url, body, mode: 'no-cors' })],
    ['fetch, without the header', (page, url, body) => fetchFrom(page, { url, body })],
    ['fetch, with the header', (page, url, body) => fetchFrom(page, { url, body, headers: ASKING })],
  ];
  const TARGETS: [string, Record<string, string>][] = [
    ['/notes', {}],
    ['/api/session/logout', {}],
    ['/api/session/refresh', { session: 'LONG' }],
    ['/api/session/destroyAllOther', { session: 'ALL' }],
    ['/api/session/login', ATTACKER],
  ];

  describe.each([
    ['another site', 'evil.test'],
    ['a sibling', 'blog.app.test'],
  ])('a page of %s', (_, host) => {
    // The cookies are sent across sites, CORS allows every origin, and the transport need not be requested. So only the
    // library's own CSRF check can refuse these requests.
    beforeEach(() => start({ sameSite: 'none', default: true }, true));

    test.each(ATTACKS)('%s is refused everywhere, and changes nothing', async (_name, attack) => {
      const honest = await open(`${urlOf('app.test')}/page`);
      await logIn(honest);
      const [rows, jar, written] = [await rowsOf(app), await cookieJar(), notesWritten];
      for (const [path, body] of TARGETS) {
        const page = await openElsewhere(host);
        seen.length = 0;
        await attack(page, urlOf('app.test') + path, body);
        const request = await until(() => seen.find((entry) => entry.request === `POST ${path}`));
        expect(request.cookies).toContain(ACCESS_COOKIE);
        // If the body could not be parsed, its missing fields are reported first.
        expect(path === '/notes' ? [403] : [400, 403, 415]).toContain(request.status);
        await page.close();
      }
      expect(await rowsOf(app)).toEqual(rows);
      expect(await cookieJar()).toEqual(jar);
      expect(notesWritten).toBe(written);
      expect(await whoIs(honest)).toEqual({ userId: 'alice' });
    });

    test('an image changes nothing', async () => {
      const honest = await open(`${urlOf('app.test')}/page`);
      await logIn(honest);
      const [rows, jar, written] = [await rowsOf(app), await cookieJar(), notesWritten];
      const page = await openElsewhere(host);
      for (const [path] of TARGETS) {
        await page.evaluate(
          (src) => void document.body.append(Object.assign(new Image(), { src })),
          urlOf('app.test') + path,
        );
        await until(() =>
          seen.find(({ request, cookies }) => request === `GET ${path}` && cookies.includes(ACCESS_COOKIE)),
        );
      }
      expect(await rowsOf(app)).toEqual(rows);
      expect(await cookieJar()).toEqual(jar);
      expect(notesWritten).toBe(written);
    });

    test("a WebSocket message with the visitor's cookies is refused, unless it comes from our own page", async () => {
      const honest = await open(`${urlOf('app.test')}/page`);
      await logIn(honest);
      const write = (page: Page) =>
        page.evaluate(
          (url) =>
            new Promise<unknown>((resolve, reject) => {
              const socket = new WebSocket(url);
              socket.onopen = () => socket.send(JSON.stringify({ event: 'write' }));
              socket.onmessage = ({ data }) => resolve(JSON.parse(String(data)));
              socket.onerror = () => reject(new Error('the socket was not opened'));
            }),
          urlOf('app.test').replace('https', 'wss'),
        );
      const written = notesWritten;
      expect(await write(await openElsewhere(host))).toMatchObject({
        event: 'exception',
        data: { code: 'csrf_failed' },
      });
      expect(notesWritten).toBe(written);
      expect(await write(honest)).toEqual({ event: 'written', data: { userId: 'alice' } });
    });
  });

  test('with the default options, the browser sends no cookies from another site', async () => {
    await start(true, true);
    await logIn(await open(`${urlOf('app.test')}/page`));
    for (const [, attack] of ATTACKS) {
      const page = await openElsewhere('evil.test');
      seen.length = 0;
      await attack(page, `${urlOf('app.test')}/notes`, {});
      const request = await until(() => seen.find((entry) => entry.request === 'POST /notes'));
      expect(request).toMatchObject({ status: 401, cookies: '' });
      await page.close();
    }
  });

  test('without permission by CORS, a foreign page cannot send the header at all', async () => {
    await start({ sameSite: 'none' });
    await logIn(await open(`${urlOf('app.test')}/page`));
    const page = await openElsewhere('evil.test');
    seen.length = 0;
    const answer = await fetchFrom(page, { url: `${urlOf('app.test')}/notes`, headers: ASKING });
    expect(answer).toEqual({ error: 'TypeError' });
    expect(seen.map(({ request }) => request)).toEqual(['OPTIONS /notes']);
  });

  // ─── Tossed cookies ────────────────────────────────────────────────────────────────────────────────────────────────

  describe('a sibling that tosses cookies', () => {
    const toss = (name: string, value: string, path: string) =>
      `${name}=${value}; Domain=app.test; Path=${path}; Secure`;

    test("cannot switch the visitor to the attacker's account", async () => {
      await start(true);
      const honest = await open(`${urlOf('app.test')}/page`);
      await logIn(honest, '', ATTACKER);
      const tokens = new Map((await context.cookies()).map(({ name, value }) => [name, value]));
      await context.clearCookies();

      const session = await logIn(honest);
      // The browser sends the cookie with the longer path first.
      await openElsewhere(
        'blog.app.test',
        toss(ACCESS_COOKIE, tokens.get(ACCESS_COOKIE) ?? '', '/'),
        toss(REFRESH_COOKIE, tokens.get(REFRESH_COOKIE) ?? '', '/api/session/refresh'),
      );
      expect((await cookieJar()).filter(({ domain }) => domain === '.app.test').map(({ name }) => name)).toEqual([
        REFRESH_COOKIE,
      ]);
      expect(await refreshFrom(honest)).toEqual({ status: 200, body: { session_id: session } });
      const request = seen.find((entry) => entry.request === 'POST /api/session/refresh');
      expect(request?.cookies.indexOf(tokens.get(REFRESH_COOKIE) as string)).toBeGreaterThan(-1);
      expect(request?.cookies.match(new RegExp(REFRESH_COOKIE, 'g'))).toHaveLength(2);
      expect(await whoIs(honest)).toEqual({ userId: 'alice' });
    });

    test('cannot log the visitor out with invalid cookies', async () => {
      await start({ domain: 'app.test' });
      const [access, refresh] = ['__Secure-session-access', REFRESH_COOKIE];
      const honest = await open(`${urlOf('app.test')}/page`);
      const session = await logIn(honest);
      await openElsewhere(
        'blog.app.test',
        toss(access, 'rubbish', '/notes'),
        toss(refresh, 'rubbish', '/api/session/refresh'),
      );
      expect(await whoIs(honest)).toEqual({ userId: 'alice' });
      expect(seen.at(-1)?.cookies).toMatch(/^__Secure-session-access=rubbish; __Secure-session-access=ey/);
      expect(await refreshFrom(honest)).toEqual({ status: 200, body: { session_id: session } });
      expect(await whoIs(honest)).toEqual({ userId: 'alice' });
    });
  });

  // ─── Pages of our own elsewhere ────────────────────────────────────────────────────────────────────────────────────

  test.each([
    ['a sibling', 'spa.app.test', 'lax'],
    ['another site', 'spa.test', 'none'],
  ] as const)('an allowed page of %s logs in, calls the API, refreshes and logs out', async (_, host, sameSite) => {
    const origin = `https://${host}:${portOf(elsewhere)}`;
    await start({ origins: [origin], sameSite }, [origin]);
    const api = urlOf('api.app.test');
    const page = await openElsewhere(host);
    const session = await logIn(page, api);
    expect(await whoIs(page, api)).toEqual({ userId: 'alice' });
    expect(await fetchFrom(page, { url: `${api}/notes`, headers: ASKING })).toMatchObject({ status: 200 });
    expect(await refreshFrom(page, api)).toEqual({ status: 200, body: { session_id: session } });
    expect(await fetchFrom(page, { url: `${api}/api/session/logout`, headers: ASKING })).toEqual({
      status: 200,
      body: {},
    });
    expect(await cookieJar()).toEqual([]);
  });
});
