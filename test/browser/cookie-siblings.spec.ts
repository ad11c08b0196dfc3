/// <reference lib="dom" />
import type { IncomingMessage, Server } from 'node:http';
import { request as sendRequest } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { Page } from 'playwright-core';
import { HTTP_CONFIG } from '../../lib/http/options.js';
import { ADAPTERS } from '../helpers/app.js';
import { portOf, until } from '../helpers/browser.js';
import { ALICE, ASKING, BOB, CookieSite, logIn, refreshFrom, whoIs } from '../helpers/cookie-site.js';
import { ACCESS_COOKIE, cookieAnswer, PROOF_COOKIE, REFRESH_COOKIE } from '../helpers/cookies.js';
import { fetchFrom, writeOverSocket } from '../helpers/pages.js';
import { rowsOf } from '../helpers/rows.js';
import { variants } from '../helpers/size.js';

const NAMES = [ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE];

jest.setTimeout(60_000);

describe.each(variants(ADAPTERS, 1))('in a browser, %s', (adapter) => {
  const site = CookieSite.of(adapter);
  const { start, open, openElsewhere, urlOf } = site;
  let proxy: Server | undefined;

  afterEach(() => {
    proxy?.closeAllConnections();
    proxy?.close();
    proxy = undefined;
  });

  const post = (page: Page, url: string, body: object = {}) => fetchFrom(page, { url, body, headers: ASKING });
  const jar = async () =>
    new Map(
      (await site.context.cookies()).map(({ name, value, domain, path }) => [`${name} ${domain} ${path}`, value]),
    );
  /** The cookies of a login of the attacker. The browser has none of them afterwards. */
  const cookiesOfBob = async (page: Page) => {
    await logIn(page, { user: BOB });
    const cookies = new Map((await site.context.cookies()).map(({ name, value }) => [name, value]));
    await site.context.clearCookies();
    expect([...cookies.keys()].sort()).toEqual(NAMES);
    return (name: string) => cookies.get(name) as string;
  };
  const liveIds = async () => (await rowsOf(site.app)).sessions.map(({ id }) => id);

  describe('a hostile sibling', () => {
    const SIBLING = 'blog.app.test';

    /** How a sibling writes a cookie that might be taken for ours, given its name and its value. */
    const TOSSES: [string, (name: string, value: string) => string][] = [
      ['on the domain', (name, value) => `${name}=${value}; Domain=app.test; Path=/; Secure`],
      [
        'on the domain, at a longer path',
        (name, value) => `${name}=${value}; Domain=app.test; Path=/api/session/refresh; Secure`,
      ],
      ...[0xa0, 0xad, 0x85, 0xff].map((byte): [string, (name: string, value: string) => string] => [
        `after the byte ${byte.toString(16)}`,
        (name, value) => `${String.fromCharCode(byte)}${name}=${value}; Domain=app.test; Path=/; Secure`,
      ]),
      ['after the bytes EF BB BF', (name, value) => `\xef\xbb\xbf${name}=${value}; Domain=app.test; Path=/; Secure`],
      ['before the byte A0', (name, value) => `${name}\xa0=${value}; Domain=app.test; Path=/; Secure`],
      ['after a tab', (name, value) => `\t${name}=${value}; Domain=app.test; Path=/; Secure`],
      ['without a name', (name, value) => `=${name}=${value}; Domain=app.test; Path=/; Secure`],
      ['without a name, after the byte A0', (name, value) => `\xa0=${name}=${value}; Domain=app.test; Path=/; Secure`],
      ['in lower case', (name, value) => `${name.toLowerCase()}=${value}; Domain=app.test; Path=/; Secure`],
      ['in the value of another', (name, value) => `x=y, ${name}=${value}; Domain=app.test; Path=/; Secure`],
      ['in quotes', (name, value) => `${name}="${value}"; Domain=app.test; Path=/; Secure`],
    ];

    test.each(TOSSES)('that sets all cookies %s changes nobody', async (_, toss) => {
      await start(true);
      const page = await open(`${urlOf('app.test')}/page`);
      const bob = await cookiesOfBob(page);
      const tossed = NAMES.map((name) => toss(name, bob(name)));

      // A visitor who is logged out stays nobody.
      await openElsewhere(SIBLING, ...tossed);
      const rows = await rowsOf(site.app);
      const before = await jar();
      expect(await whoIs(page)).toMatchObject({ code: 'not_authenticated' });
      const refused = await refreshFrom(page);
      expect(refused.status).toBe(401);
      expect(['session_proof_required', 'session_not_found']).toContain(refused.body.code);
      expect(await whoIs(page)).toMatchObject({ code: 'not_authenticated' });
      expect(await jar()).toEqual(before);
      expect(await rowsOf(site.app)).toEqual(rows);

      // A visitor who logs in is herself, and does not end the attacker's session.
      const session = await logIn(page);
      await openElsewhere(SIBLING, ...tossed);
      expect(await whoIs(page)).toEqual({ userId: 'alice' });
      expect(await refreshFrom(page)).toEqual({ status: 200, body: cookieAnswer(session) });
      expect(await whoIs(page)).toEqual({ userId: 'alice' });
      expect(await liveIds()).toHaveLength(2);
      // And she can log out.
      expect(await post(page, '/api/session/logout')).toEqual({ status: 200, body: {} });
      expect(await whoIs(page)).toMatchObject({ code: 'not_authenticated' });
      expect(await liveIds()).not.toContain(session);
    });

    test('can make the browser send a name after the byte A0, and a refresh cookie', async () => {
      await start(true);
      const page = await open(`${urlOf('app.test')}/page`);
      await openElsewhere(
        SIBLING,
        `\xa0${ACCESS_COOKIE}=bob; Domain=app.test; Path=/; Secure`,
        `${REFRESH_COOKIE}=bob; Domain=app.test; Path=/; Secure`,
      );
      await whoIs(page);
      // So the tests above do test something. Node reads bytes as Latin-1.
      expect(site.seen.at(-1)?.cookies.split('; ').sort()).toEqual(
        [`${REFRESH_COOKIE}=bob`, `\xa0${ACCESS_COOKIE}=bob`].sort(),
      );
    });

    test('can only move visitors of a domain that it shares if they have no proof', async () => {
      await start({ domain: 'app.test' });
      const page = await open(`${urlOf('app.test')}/page`);
      await logIn(page, { user: BOB });
      const bob = new Map((await site.context.cookies()).map(({ name, value }) => [name, value]));
      await site.context.clearCookies();
      const toss = (name: string) => `${name}=${bob.get(name)}; Domain=app.test; Path=/; Secure`;
      const tossed = ['__Secure-session-access', PROOF_COOKIE, REFRESH_COOKIE].map(toss);
      await openElsewhere(SIBLING, ...tossed);
      // The access cookie is the price of sharing. It is good until it expires.
      expect(await whoIs(page)).toEqual({ userId: 'bob' });
      expect((await refreshFrom(page)).body.code).toBe('session_proof_required');
      const session = await logIn(page);
      expect(await refreshFrom(page)).toEqual({ status: 200, body: cookieAnswer(session) });
      expect(await liveIds()).toHaveLength(2);
    });
  });

  describe('a browser of our own', () => {
    test('with several logins has one session', async () => {
      await start(true);
      const page = await open(`${urlOf('app.test')}/page`);
      for (const user of [ALICE, ALICE, BOB, ALICE]) {
        const id = await logIn(page, { user });
        expect(await liveIds()).toEqual([id]);
      }
      expect(await whoIs(page)).toEqual({ userId: 'alice' });
    });

    test('logs out with the access cookie alone', async () => {
      await start(true);
      const page = await open(`${urlOf('app.test')}/page`);
      await logIn(page);
      for (const name of [REFRESH_COOKIE, PROOF_COOKIE]) await site.context.clearCookies({ name });
      expect(await post(page, '/api/session/logout')).toEqual({ status: 200, body: {} });
      expect(await liveIds()).toEqual([]);
      expect(await site.context.cookies()).toEqual([]);
    });

    test('sends the refresh cookie to routes below a global prefix', async () => {
      await start(true, { options: { path: 'session' }, configure: (nest) => void nest.setGlobalPrefix('api') });
      const page = await open(`${urlOf('app.test')}/api/page`);
      const session = await logIn(page);
      expect(await refreshFrom(page)).toEqual({ status: 200, body: cookieAnswer(session) });
      expect(await post(page, '/api/session/logout')).toEqual({ status: 200, body: {} });
      expect(await site.context.cookies()).toEqual([]);
    });

    test('keeps cookies that are not persistent for its own session, also after a refresh', async () => {
      await start(true);
      const page = await open(`${urlOf('app.test')}/page`);
      const expiries = async () => (await site.context.cookies()).map(({ expires }) => expires);
      await logIn(page, { user: { ...ALICE, persistent: false } });
      expect(await expiries()).toEqual([-1, -1, -1]);
      expect((await refreshFrom(page)).status).toBe(200);
      expect(await expiries()).toEqual([-1, -1, -1]);
      await logIn(page);
      for (const expiry of await expiries()) expect(expiry).toBeGreaterThan(Date.now() / 1000);
    });

    test('keeps partitioned cookies apart for each site that embeds the page', async () => {
      await start({ partitioned: true, sameSite: 'none' });
      const outer = await openElsewhere('partner.test');
      await outer.evaluate(
        (src) => {
          const frame = Object.assign(document.createElement('iframe'), { src, name: 'embedded' });
          document.body.append(frame);
        },
        `${urlOf('app.test')}/page`,
      );
      const frame = await until(() => {
        const found = outer.frame('embedded');
        return found?.url().endsWith('/page') ? found : undefined;
      });
      await frame.waitForLoadState();
      const inside = frame as unknown as Page;
      const session = await logIn(inside);
      expect(await whoIs(inside)).toEqual({ userId: 'alice' });
      expect(await refreshFrom(inside)).toEqual({ status: 200, body: cookieAnswer(session) });
      const top = await open(`${urlOf('app.test')}/page`);
      expect(await whoIs(top)).toMatchObject({ code: 'not_authenticated' });
      expect(await post(inside, '/api/session/logout')).toEqual({ status: 200, body: {} });
      expect(await whoIs(inside)).toMatchObject({ code: 'not_authenticated' });
    });

    test("logs in over plain HTTP on localhost with secure 'auto'", async () => {
      await start({ secure: 'auto' }, { tls: false });
      const page = await open(`${urlOf('localhost')}/page`);
      const session = await logIn(page);
      expect((await site.context.cookies()).map(({ name, secure }) => [name, secure]).sort()).toEqual([
        ['session-access', false],
        ['session-proof', false],
        ['session-refresh', false],
      ]);
      expect(await whoIs(page)).toEqual({ userId: 'alice' });
      expect(await refreshFrom(page)).toEqual({ status: 200, body: cookieAnswer(session) });
      expect(await writeOverSocket(page, urlOf('localhost'))).toEqual({ event: 'written', data: { userId: 'alice' } });
      expect(await post(page, '/api/session/logout')).toEqual({ status: 200, body: {} });
    });
  });

  describe('behind a proxy that ends TLS and changes the header Host', () => {
    /** Passes everything on to the application, with the header `Host` that nginx sends by default. */
    const startProxy = async () => {
      const { port } = new URL(site.app.url);
      const changed = ({ headers }: IncomingMessage) => ({ ...headers, host: `localhost:${port}` });
      proxy = createTlsServer(site.https, (request, response) => {
        const { method, url } = request;
        const upstream = sendRequest(
          { host: '127.0.0.1', port, method, path: url, headers: changed(request) },
          (answer) => {
            response.writeHead(answer.statusCode ?? 500, answer.rawHeaders);
            answer.pipe(response);
          },
        );
        request.pipe(upstream);
      });
      proxy.on('upgrade', (request: IncomingMessage, client: Socket) => {
        const upstream = connect(Number(port), '127.0.0.1', () => {
          const lines = Object.entries(changed(request)).map(([name, value]) => `${name}: ${String(value)}`);
          upstream.write(`GET ${request.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
          upstream.pipe(client).pipe(upstream);
        });
        for (const socket of [client, upstream])
          socket.on('error', () => [client, upstream].forEach((each) => each.destroy()));
      });
      await new Promise<void>((resolve) => proxy?.listen(0, '127.0.0.1', resolve));
      return `https://app.test:${portOf(proxy)}`;
    };

    test('pages work, and their sockets work if the own origin is listed', async () => {
      await start(true, { tls: false });
      const url = await startProxy();
      const page = await open(`${url}/page`);
      await logIn(page);
      expect(await whoIs(page)).toEqual({ userId: 'alice' });
      expect(await post(page, '/notes')).toMatchObject({ status: 200 });
      expect(await writeOverSocket(page, url)).toMatchObject({ event: 'exception', data: { code: 'csrf_failed' } });
      // As the option `origins` does. The port of the proxy is known only after the application has started.
      site.app.get<{ cookies: { origins: Set<string> } }>(HTTP_CONFIG).cookies.origins.add(url);
      expect(await writeOverSocket(page, url)).toEqual({ event: 'written', data: { userId: 'alice' } });
      const hostile = await openElsewhere('blog.app.test');
      expect(await writeOverSocket(hostile, url)).toMatchObject({ event: 'exception' });
    });
  });
});
