/// <reference lib="dom" />
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SessionEvents, SessionService } from 'nestjs-multisession';
import type { SessionClient } from 'nestjs-multisession-client';
import type { BrowserContext, Page } from 'playwright-core';
import { ADAPTERS } from '../helpers/app.js';
import { until } from '../helpers/browser.js';
import { bundle } from '../helpers/bundle.js';
import { ACCESS_COOKIE, ASKS_FOR_COOKIES, cookieAnswer, PROOF_COOKIE, REFRESH_COOKIE } from '../helpers/cookies.js';
import { selectedDatabases } from '../helpers/databases.js';
import { CREDENTIALS } from '../helpers/dbsc-app.js';
import { type DeviceEvent, launchBound, newProfile, recordDeviceEvents } from '../helpers/dbsc-chromium.js';
import { BoundSite } from '../helpers/dbsc-site.js';
import { fetchFrom, writeOverSocket } from '../helpers/pages.js';
import { SMALL, variants } from '../helpers/size.js';

jest.setTimeout(600_000);

/** Embedded and on a server. What browsers do depends on neither. */
const DATABASES = selectedDatabases().filter((name) => name === 'sqlite' || name === 'postgres');
/** How often a copy of the cookies is tried in another profile. */
const TRIALS = Number(process.env.TEST_TRIALS ?? (SMALL ? 5 : 100));
const MINUTE = 60_000;

declare global {
  interface Window {
    client: SessionClient;
  }
}

const PROOF = 'POST /api/session/dbsc/refresh 200';
const REGISTRATION = 'POST /api/session/dbsc/register 200';

describe.each(
  DATABASES.flatMap((database, turn) => variants(ADAPTERS, turn).map((adapter) => [adapter, database] as const)),
)('in Chromium, %s with %s', (adapter, database) => {
  const [own, stolen] = [newProfile(), newProfile()];
  let site: BoundSite;
  let context: BrowserContext;
  let page: Page;
  let events: DeviceEvent[];
  /** A module that opens the client as `window.client`. */
  let client: string;

  beforeAll(async () => {
    site = await BoundSite.start(adapter, database);
    client = await bundle({
      stdin: {
        contents: `
            import { createSessionClient } from './client/src/index.ts';
            window.client = createSessionClient({ url: '/api/session', transport: 'cookie' });`,
        resolveDir: process.cwd(),
      },
    });
    await openBrowser();
  });
  afterAll(async () => {
    await context?.close();
    await site?.close();
    await own.delete();
    await stolen.delete();
  });
  beforeEach(async () => {
    await call('POST', '/api/session/logout', {});
    await call('GET', '/me');
    await context.clearCookies();
    site.seen.length = 0;
    site.faults.length = 0;
  });

  async function openBrowser(options?: Parameters<typeof launchBound>[2]): Promise<void> {
    context = await launchBound(site.cert, own.folder, options);
    page = await context.newPage();
    events = await recordDeviceEvents(page);
    await page.goto(`${site.origin}/page`);
  }
  const call = (method: string, url: string, body?: object, from = page) =>
    fetchFrom(from, { url, method, body, headers: ASKS_FOR_COOKIES });
  const expire = () => context.clearCookies({ name: ACCESS_COOKIE });
  const nameOf = async (name: string) => (await context.cookies()).find((cookie) => cookie.name === name);
  const count = (line: string) => site.seen.filter((one) => one === line).length;
  const registered = (id: string) =>
    until(() => events.find((one) => one.sessionId === id && one.creationEventDetails?.fetchResult === 'Success'));

  /** Logs in, and waits until the browser has registered its key and sent the first proof. */
  async function logIn(): Promise<string> {
    const answer = await call('POST', '/api/session/login', CREDENTIALS);
    expect(answer).toEqual({ status: 200, body: cookieAnswer(expect.any(String)) });
    const id = answer.body.session_id as string;
    await registered(id);
    expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
    await until(
      async () => ((await nameOf(ACCESS_COOKIE))?.expires ?? 0) * 1000 > Date.now() + 2 * MINUTE || undefined,
    );
    return id;
  }

  test('a login binds the session to a key of the browser', async () => {
    const id = await logIn();
    expect(count(REGISTRATION)).toBe(1);
    const cookie = await nameOf(ACCESS_COOKIE);
    expect(cookie?.expires).toBeLessThan(Date.now() / 1000 + 300);
    const { body } = await call('GET', '/api/session/sessions');
    expect(JSON.parse(body)).toMatchObject([{ id, bound: true, current: true }]);
  });

  test('parallel requests and a socket wait for one proof', async () => {
    const id = await logIn();
    await expire();
    const before = site.seen.length;
    const answers = await Promise.all([
      ...[1, 2, 3, 4].map((at) => call('GET', `/me?${at}`)),
      writeOverSocket(page, `${site.origin}/`),
    ]);
    expect(answers).toEqual([
      ...[1, 2, 3, 4].map(() => ({ status: 200, body: { sessionId: id } })),
      { event: 'written', data: { userId: 'alice' } },
    ]);
    expect(site.seen.slice(before).filter((line) => line.includes('dbsc'))).toEqual([PROOF]);
  });

  test('a page that refreshes, and one that steps up, let the browser prove its key', async () => {
    const id = await logIn();
    const [refreshed] = [await call('POST', '/api/session/refresh', {})];
    expect(refreshed).toEqual({ status: 200, body: cookieAnswer(id) });
    expect(refreshed.body.expires_in).toBeGreaterThan(295);
    expect((await call('POST', '/api/session/dbsc/step-up')).status).toBe(204);
    expect(await call('POST', '/transfer')).toEqual({ status: 201, body: { sessionId: id } });
  });

  test('the client refreshes a bound session as any other, and shows its end', async () => {
    const id = await logIn();
    await page.addScriptTag({ type: 'module', content: client });
    const state = () => page.evaluate(() => window.client.getSnapshot());
    await until(async () => ((await state()).status === 'authenticated' ? true : undefined));
    const before = count(PROOF);
    // The server asks for another proof only if the last one was not just now.
    await until(async () => {
      await page.evaluate(() => window.client.refresh());
      return count(PROOF) > before || undefined;
    });
    expect(await state()).toMatchObject({ status: 'authenticated', sessionId: id });
    const read = () => page.evaluate(async () => (await window.client.fetch('/me')).status);
    expect(await read()).toBe(200);
    await expire();
    expect(await read()).toBe(200);
    await site.app.app.get(SessionService).destroy(id);
    expect(await read()).toBe(401);
    await until(async () => ((await state()).status === 'ended' ? true : undefined));
  });

  test('a server that fails costs nothing', async () => {
    const id = await logIn();
    await expire();
    site.faults.push({ path: 'dbsc/refresh', fault: 'error' });
    expect(await call('GET', '/me')).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    const next = await until(async () => {
      const answer = await call('GET', '/me');
      return answer.status === 503 ? undefined : answer;
    });
    expect(next).toEqual({ status: 200, body: { sessionId: id } });
  });

  test.each(['lost request', 'lost answer'] as const)('a proof with a %s is repeated', async (fault) => {
    const id = await logIn();
    for (let round = 0; round < 3; round++) {
      await expire();
      site.faults.push({ path: 'dbsc/refresh', fault });
      expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
    }
  });

  test('after a registration whose answer is lost, the session is as without one', async () => {
    // Chromium sends a request again if its connection breaks.
    for (let at = 0; at < 3; at++) site.faults.push({ path: 'dbsc/register', fault: 'lost answer' });
    const { body } = await call('POST', '/api/session/login', CREDENTIALS);
    await until(() => events.find(({ creationEventDetails: at }) => at !== undefined && at.fetchResult !== 'Success'));
    expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: body.session_id } });
    expect(await call('POST', '/api/session/refresh', {})).toEqual({
      status: 200,
      body: cookieAnswer(body.session_id),
    });
  });

  test('an application that starts again knows the keys and the challenges', async () => {
    const id = await logIn();
    await site.stopApp();
    await expire();
    expect((await call('GET', '/me')).status).toBe(500);
    await site.startApp();
    const next = await until(async () => {
      const answer = await call('GET', '/me');
      return answer.status === 200 ? answer : undefined;
    });
    expect(next).toEqual({ status: 200, body: { sessionId: id } });
  });

  test('several logins in one browser: the last one counts', async () => {
    const ids = [await logIn(), await logIn(), await logIn()];
    await expire();
    expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: ids[2] } });
    await expire();
    expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: ids[2] } });
    expect(site.seen.filter((line) => line.endsWith(' 401'))).toEqual([]);
  });

  test('a logout ends the session, and the browser forgets its key with the next request', async () => {
    const id = await logIn();
    expect((await call('POST', '/api/session/logout', {})).status).toBe(200);
    expect((await call('GET', '/me')).status).toBe(401);
    await until(() =>
      events.find(({ sessionId, terminationEventDetails: at }) => sessionId === id && at !== undefined),
    );
    const before = site.seen.length;
    expect((await call('GET', '/me')).status).toBe(401);
    expect(site.seen.slice(before)).toEqual(['GET /me 401']);
    expect((await context.cookies()).map(({ name }) => name)).toEqual([]);
  });

  test('a link from another site finds the session, and does not end it', async () => {
    const id = await logIn();
    await expire();
    const other = await context.newPage();
    await other.goto('about:blank');
    await other.setContent(`<a href="${site.origin}/me">to the application</a>`);
    await Promise.all([other.waitForURL(`${site.origin}/me`), other.click('a')]);
    await other.close();
    expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
  });

  test(`a copy of the cookies is refused in ${TRIALS} of ${TRIALS} trials, and the owner goes on`, async () => {
    const thief = await launchBound(site.cert, stolen.folder);
    try {
      const theirs = await thief.newPage();
      await theirs.goto(`${site.origin}/page`);
      let failures = 0;
      site.app.get(SessionEvents).on('device.proof-failed', () => failures++);
      for (let trial = 1; trial <= TRIALS; trial++) {
        const id = await logIn();
        const copied = await context.cookies();
        expect(copied.map(({ name }) => name).sort()).toEqual([ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE].sort());
        await thief.addCookies(copied);
        expect((await call('GET', '/me', undefined, theirs)).status).toBe(200);
        if (database === 'sqlite') await site.advance(6 * MINUTE);
        else await thief.clearCookies({ name: ACCESS_COOKIE });
        expect((await call('GET', '/me', undefined, theirs)).status).toBe(401);
        const refused = await call('POST', '/api/session/refresh', {}, theirs);
        expect(refused).toMatchObject({ status: 401, body: { code: 'device_proof_required' } });
        expect((await call('GET', '/me', undefined, theirs)).status).toBe(401);
        expect(failures).toBe(trial);
        await thief.clearCookies();
        // The database's clock is ahead of the browser's, so the page sees an expired token, and refreshes.
        if (database === 'sqlite') expect((await call('POST', '/api/session/refresh', {})).status).toBe(200);
        else await expire();
        expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
      }
    } finally {
      await thief.close();
    }
  });

  test('a browser that starts again still has its key', async () => {
    const id = await logIn();
    await context.close();
    await openBrowser();
    await expire();
    expect(await call('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
  });

  test('a browser that has signed too often waits, and is not logged out', async () => {
    await context.close();
    await openBrowser({ limitsSigning: true });
    await logIn();
    const statuses = new Set<number | undefined>();
    for (let round = 0; round < 12; round++) {
      await expire();
      statuses.add((await call('GET', '/me')).status);
    }
    expect([...statuses]).toEqual([200, 503]);
    const refused = await call('POST', '/api/session/refresh', {});
    expect(refused).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    expect(events.some(({ terminationEventDetails: at }) => at !== undefined)).toBe(false);
  });
});
