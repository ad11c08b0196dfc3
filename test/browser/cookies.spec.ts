/// <reference lib="dom" />
import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Page } from 'playwright-core';
import { ADAPTERS } from '../helpers/app.js';
import { portOf, until } from '../helpers/browser.js';
import { ASKING, BOB, CookieSite, logIn, refreshFrom, whoIs } from '../helpers/cookie-site.js';
import { ACCESS_COOKIE, cookieAnswer, PROOF_COOKIE, REFRESH_COOKIE } from '../helpers/cookies.js';
import { fetchFrom, notes, writeOverSocket } from '../helpers/pages.js';
import { rowsOf } from '../helpers/rows.js';
import { variants } from '../helpers/size.js';

jest.setTimeout(30_000);

describe.each(variants(ADAPTERS, 0))('in a browser, %s', (adapter) => {
  const site = CookieSite.of(adapter);
  const { open, openElsewhere, urlOf } = site;

  /**
   * Starts the application.
   *
   * @param origin the origins whose pages may read answers. `true` allows all of them, which is a mistake.
   */
  const start = (cookies: Parameters<CookieSite['start']>[0], origin: boolean | string[] = false) =>
    site.start(cookies, {
      configure: (nest) => {
        if (origin !== false) nest.enableCors({ origin, credentials: true });
      },
    });
  const cookieJar = async () =>
    (await site.context.cookies())
      .map(({ name, value, domain, path }) => ({ name, value, domain, path }))
      .sort((one, other) => one.name.localeCompare(other.name));

  test('login, a guarded request, refresh and logout by page script, which sees no token', async () => {
    await start(true);
    const page = await open(`${urlOf('app.test')}/page`);
    const session = await logIn(page);
    expect((await site.context.cookies()).sort((one, other) => one.name.localeCompare(other.name))).toMatchObject([
      { name: ACCESS_COOKIE, domain: 'app.test', path: '/', httpOnly: true, secure: true, sameSite: 'Lax' },
      { name: PROOF_COOKIE, domain: 'app.test', path: '/', httpOnly: true, secure: true, sameSite: 'Strict' },
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
    expect(site.seen.filter(({ request }) => request.endsWith('/notes')).map(({ cookies }) => cookies)).toEqual(
      Array(2).fill(expect.not.stringContaining(REFRESH_COOKIE)),
    );

    const before = await cookieJar();
    expect(await refreshFrom(page)).toEqual({ status: 200, body: cookieAnswer(session) });
    const after = await cookieJar();
    expect(after.map(({ name }) => name)).toEqual(before.map(({ name }) => name));
    // The proof is as good as long as the session.
    expect(after.map(({ value }, at) => value !== before[at].value)).toEqual([true, false, true]);
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
    ['/api/session/login', BOB],
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
      const [rows, jar, written] = [await rowsOf(site.app), await cookieJar(), notes.written];
      for (const [path, body] of TARGETS) {
        const page = await openElsewhere(host);
        site.seen.length = 0;
        await attack(page, urlOf('app.test') + path, body);
        const request = await until(() => site.seen.find((entry) => entry.request === `POST ${path}`));
        expect(request.cookies).toContain(ACCESS_COOKIE);
        // If the body could not be parsed, its missing fields are reported first.
        expect(path === '/notes' ? [403] : [400, 403, 415]).toContain(request.status);
        await page.close();
      }
      expect(await rowsOf(site.app)).toEqual(rows);
      expect(await cookieJar()).toEqual(jar);
      expect(notes.written).toBe(written);
      expect(await whoIs(honest)).toEqual({ userId: 'alice' });
    });

    test('an image changes nothing', async () => {
      const honest = await open(`${urlOf('app.test')}/page`);
      await logIn(honest);
      const [rows, jar, written] = [await rowsOf(site.app), await cookieJar(), notes.written];
      const page = await openElsewhere(host);
      for (const [path] of TARGETS) {
        await page.evaluate(
          (src) => void document.body.append(Object.assign(new Image(), { src })),
          urlOf('app.test') + path,
        );
        await until(() =>
          site.seen.find(({ request, cookies }) => request === `GET ${path}` && cookies.includes(ACCESS_COOKIE)),
        );
      }
      expect(await rowsOf(site.app)).toEqual(rows);
      expect(await cookieJar()).toEqual(jar);
      expect(notes.written).toBe(written);
    });

    test("a WebSocket message with the visitor's cookies is refused, unless it comes from our own page", async () => {
      const honest = await open(`${urlOf('app.test')}/page`);
      await logIn(honest);
      const write = (page: Page) => writeOverSocket(page, urlOf('app.test'));
      const written = notes.written;
      expect(await write(await openElsewhere(host))).toMatchObject({
        event: 'exception',
        data: { code: 'csrf_failed' },
      });
      expect(notes.written).toBe(written);
      expect(await write(honest)).toEqual({ event: 'written', data: { userId: 'alice' } });
    });
  });

  test('with the default options, the browser sends no cookies from another site', async () => {
    await start(true, true);
    await logIn(await open(`${urlOf('app.test')}/page`));
    for (const [, attack] of ATTACKS) {
      const page = await openElsewhere('evil.test');
      site.seen.length = 0;
      await attack(page, `${urlOf('app.test')}/notes`, {});
      const request = await until(() => site.seen.find((entry) => entry.request === 'POST /notes'));
      expect(request).toMatchObject({ status: 401, cookies: '' });
      await page.close();
    }
  });

  test('without permission by CORS, a foreign page cannot send the header at all', async () => {
    await start({ sameSite: 'none' });
    await logIn(await open(`${urlOf('app.test')}/page`));
    const page = await openElsewhere('evil.test');
    site.seen.length = 0;
    const answer = await fetchFrom(page, { url: `${urlOf('app.test')}/notes`, headers: ASKING });
    expect(answer).toEqual({ error: 'TypeError' });
    expect(site.seen.map(({ request }) => request)).toEqual(['OPTIONS /notes']);
  });

  // ─── Tossed cookies ────────────────────────────────────────────────────────────────────────────────────────────────

  describe('a sibling that tosses cookies', () => {
    const toss = (name: string, value: string, path: string) =>
      `${name}=${value}; Domain=app.test; Path=${path}; Secure`;

    test("cannot switch the visitor to the attacker's account", async () => {
      await start(true);
      const honest = await open(`${urlOf('app.test')}/page`);
      await logIn(honest, { user: BOB });
      const tokens = new Map((await site.context.cookies()).map(({ name, value }) => [name, value]));
      await site.context.clearCookies();

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
      expect(await refreshFrom(honest)).toEqual({ status: 200, body: cookieAnswer(session) });
      const request = site.seen.find((entry) => entry.request === 'POST /api/session/refresh');
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
      expect(site.seen.at(-1)?.cookies).toMatch(/^__Secure-session-access=rubbish; __Secure-session-access=ey/);
      expect(await refreshFrom(honest)).toEqual({ status: 200, body: cookieAnswer(session) });
      expect(await whoIs(honest)).toEqual({ userId: 'alice' });
    });
  });

  // ─── Pages of our own elsewhere ────────────────────────────────────────────────────────────────────────────────────

  test.each([
    ['a sibling', 'spa.app.test', 'lax'],
    ['another site', 'spa.test', 'none'],
  ] as const)('an allowed page of %s logs in, calls the API, refreshes and logs out', async (_, host, sameSite) => {
    const origin = `https://${host}:${portOf(site.elsewhere)}`;
    await start({ origins: [origin], sameSite }, [origin]);
    const api = urlOf('api.app.test');
    const page = await openElsewhere(host);
    const session = await logIn(page, { api });
    expect(await whoIs(page, api)).toEqual({ userId: 'alice' });
    expect(await fetchFrom(page, { url: `${api}/notes`, headers: ASKING })).toMatchObject({ status: 200 });
    expect(await refreshFrom(page, api)).toEqual({ status: 200, body: cookieAnswer(session) });
    expect(await fetchFrom(page, { url: `${api}/api/session/logout`, headers: ASKING })).toEqual({
      status: 200,
      body: {},
    });
    expect(await cookieJar()).toEqual([]);
  });
});
