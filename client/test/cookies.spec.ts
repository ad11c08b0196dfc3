import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { SessionError } from 'nestjs-multisession-client';
import { CookieJar } from 'tough-cookie';
import type { TestApp } from '../../test/helpers/app.js';
import { expired } from '../../test/helpers/tokens.js';
import { Browser, type Features, type Network, type Tab } from './helpers/browser.js';
import { ALICE, BOB, NotesController, optionsFor, startServer, until } from './helpers/server.js';

const NOTHING: Features = { locks: false, channels: false, storageEvents: false };
const straight: Network = (url, init, send) => send(url, init);

describe('tokens in cookies', () => {
  let app: TestApp;
  let notes: NotesController;
  let browser: Browser;
  let tab: Tab;

  beforeAll(async () => {
    app = await startServer();
    notes = app.get(NotesController);
  });
  afterAll(() => app?.close());
  beforeEach(async () => {
    await use(new Browser());
  });
  afterEach(() => browser.close());

  /** Opens the first tab of a browser in which nobody has logged in. */
  const use = async (given: Browser) => {
    browser?.close();
    browser = given;
    tab = open();
    await until(() => statusOf(tab) === 'anonymous');
    browser.sent.length = 0;
    notes.written.length = 0;
  };
  const open = () => browser.open({ ...optionsFor(app, 'cookie'), storage: 'browser' });
  const read = (from = tab) => from.client.fetch(`${app.url}/notes`);
  const write = (from = tab) => from.client.fetch(`${app.url}/notes`, { method: 'POST' });
  const statusOf = ({ client }: Tab) => client.getSnapshot().status;
  const keyOf = (isLease: boolean) => [...browser.local.keys()].find((key) => key.endsWith('lease') === isLease) ?? '';
  const stored = () => JSON.parse(browser.local.get(keyOf(false)) ?? 'null');
  const cookies = () => browser.jar.getCookies(`${app.url}/api/session`);
  const cookieNamed = async (name: string) => (await cookies()).find(({ key }) => key.endsWith(name));
  /** From now on, the browser has an expired access token. */
  const expire = async () => {
    const cookie = await cookieNamed('access');
    if (cookie) cookie.value = expired(cookie.value);
  };
  const copyOf = async (jar: CookieJar) => CookieJar.deserialize(await jar.serialize());

  test('logs in, sends requests, and logs out, and no script can read a token', async () => {
    await tab.client.login(ALICE);
    expect(tab.client.getSnapshot()).toMatchObject({ status: 'authenticated', type: 'LONG' });
    expect((await read()).status).toBe(200);
    expect((await write()).status).toBe(200);
    expect([...browser.local.values()].join()).not.toMatch(/eyJ|refresh"/);
    expect(stored().accessLife).toBeGreaterThan(290_000);
    expect(stored().sessionLife).toBeGreaterThan(29 * 86_400_000);
    expect(browser.requests('login')[0].body).not.toHaveProperty('secret_key');
    await tab.client.logout();
    expect(statusOf(tab)).toBe('ended');
    expect(await cookies()).toEqual([]);
  });

  test('a logout outlives its page, and other requests do not', async () => {
    const kept: string[] = [];
    browser.network = (url, init, send) => {
      if (init.keepalive) kept.push(url.replace(/^.*\//, ''));
      return send(url, init);
    };
    await tab.client.login(ALICE);
    await tab.client.refresh();
    await tab.client.logout();
    expect(kept).toEqual(['logout']);
  });

  test('asks the server once if nothing is known, and never after a logout or a refusal', async () => {
    browser.local.clear();
    const visitor = open();
    await until(() => statusOf(visitor) === 'anonymous');
    expect(browser.requests('refresh').map(({ status }) => status)).toEqual([401]);
    await until(() => statusOf(open()) !== 'authenticated');
    await tab.client.login(ALICE);
    await tab.client.logout();
    const next = open();
    await until(() => statusOf(next) === 'anonymous');
    expect(browser.requests('refresh')).toHaveLength(1);
  });

  test('finds the session again if the storage was cleared', async () => {
    await tab.client.login(ALICE);
    browser.local.clear();
    const next = open();
    await until(() => statusOf(next) === 'authenticated');
    expect(next.states).toEqual(['loading', 'authenticated']);
    expect(next.client.getSnapshot()).toEqual(tab.client.getSnapshot());
  });

  test('asks again when the server can be reached', async () => {
    await tab.client.login(ALICE);
    browser.local.clear();
    browser.network = () => Promise.reject(new TypeError('offline'));
    const next = open();
    await until(() => statusOf(next) === 'anonymous');
    browser.network = straight;
    next.fire('online');
    await until(() => statusOf(next) === 'authenticated');
  });

  test('says if the browser did not keep the cookies', async () => {
    browser.blocksCookies = true;
    await expect(tab.client.login(ALICE)).rejects.toMatchObject({ code: 'not_kept' });
    expect(statusOf(tab)).not.toBe('authenticated');
  });

  test('does without the check if the server does not have the route', async () => {
    const other = await startServer({ management: false });
    const client = browser.open({ ...optionsFor(other, 'cookie'), storage: 'browser' });
    await client.client.login(ALICE);
    expect(statusOf(client)).toBe('authenticated');
    await other.close();
  });

  test('refreshes after a 401, and sends the request again', async () => {
    await tab.client.login(ALICE);
    await expire();
    expect((await write()).status).toBe(200);
    expect(notes.written).toHaveLength(1);
    expect(browser.requests('refresh').map(({ body }) => body)).toEqual([{}]);
  });

  test.each([
    ['with everything', {}],
    ['without Web Locks, channels and storage events', NOTHING],
  ])('eight tabs refresh at once, %s', async (_what, features) => {
    await use(new Browser(features));
    await tab.client.login(ALICE);
    const tabs = [tab, ...Array.from({ length: 7 }, open)];
    await Promise.all(tabs.map((each) => each.client.headersFor(app.url)));
    await expire();
    const answers = await Promise.all(tabs.map((each) => read(each)));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(browser.requests('refresh')).toHaveLength(1);
  });

  test.each([
    ['in the same tab', () => tab],
    ['in another tab', () => open()],
  ])('a login %s waits until a refresh in flight is over', async (_what, other) => {
    for (const features of [{}, NOTHING]) {
      await use(new Browser(features));
      await tab.client.login(ALICE);
      const second = other();
      let release!: () => void;
      const held = new Promise<void>((resolve) => (release = resolve));
      browser.network = async (url, init, send) => {
        if (url.endsWith('/refresh')) await held;
        return send(url, init);
      };
      const refreshing = tab.client.refresh();
      await until(() => browser.requests('refresh').length === 1);
      const login = second.client.login(BOB);
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(browser.requests('login')).toHaveLength(1);
      release();
      await Promise.all([refreshing.catch(() => undefined), login]);
      expect(await (await read()).json()).toEqual({ userId: 'bob' });
      expect(await (await read(second)).json()).toEqual({ userId: 'bob' });
    }
  });

  test('a login does not wait for a tab that was killed, once its request has timed out', async () => {
    await use(new Browser(NOTHING));
    await tab.client.login(ALICE);
    browser.network = (url, init, send) => (url.endsWith('/refresh') ? new Promise(() => undefined) : send(url, init));
    tab.client.refresh().catch(() => undefined);
    await until(() => browser.requests('refresh').length === 1);
    const lease = browser.local.get(keyOf(true)) as string;
    tab.kill();
    browser.local.set(keyOf(true), lease);
    const other = open();
    const login = other.client.login(BOB);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(browser.requests('login')).toHaveLength(1);
    browser.wrongBy += 8000;
    await login;
    expect(await (await read(other)).json()).toEqual({ userId: 'bob' });
  });

  test('a page that is left gives up its lease', async () => {
    await use(new Browser(NOTHING));
    await tab.client.login(ALICE);
    browser.network = (url, init, send) => (url.endsWith('/refresh') ? new Promise(() => undefined) : send(url, init));
    tab.client.refresh().catch(() => undefined);
    await until(() => browser.requests('refresh').length === 1);
    tab.fire('pagehide');
    await open().client.login(BOB);
  });

  test('logs in again if a late answer has put the cookies of an older session in place', async () => {
    await tab.client.login(ALICE);
    const old = await copyOf(browser.jar);
    let overtaken = false;
    browser.network = async (url, init, send) => {
      const answer = await send(url, init);
      if (url.endsWith('/login') && !overtaken) {
        overtaken = true;
        browser.jar = old;
      }
      return answer;
    };
    await tab.client.login(BOB);
    expect(overtaken).toBe(true);
    expect(await (await read()).json()).toEqual({ userId: 'bob' });
    expect((await tab.client.sessions())[0]).toMatchObject({ id: stored().sessionId, current: true });
  });

  test("adopts another session's cookies, such as those of a login without the client", async () => {
    await tab.client.login(ALICE);
    const other = new Browser();
    const elsewhere = other.open(optionsFor(app, 'cookie'));
    await elsewhere.client.login(BOB);
    browser.jar = other.jar;
    await tab.client.refresh();
    expect(tab.client.getSnapshot()).toEqual(elsewhere.client.getSnapshot());
    await tab.client.logout();
    other.jar = new CookieJar();
    await elsewhere.client.login(ALICE);
    browser.jar = other.jar;
    // The application has logged the user in itself, and says so.
    await tab.client.refresh();
    expect(tab.client.getSnapshot()).toEqual(elsewhere.client.getSnapshot());
    other.close();
  });

  test('an answer that sets cookies does not undo a login that has overtaken it', async () => {
    await use(new Browser(NOTHING));
    await tab.client.login(ALICE);
    const other = open();
    tab.network = async (url, init, send) => {
      if (!url.endsWith('/refresh') || browser.requests('refresh').length > 1) return send(url, init);
      const answer = await send(url, init);
      // The lease is lost, as if the tab had been frozen.
      browser.local.delete(keyOf(true));
      await other.client.login(BOB);
      return answer;
    };
    await tab.client.refresh();
    expect(tab.client.getSnapshot()).toEqual(other.client.getSnapshot());
    expect(await (await read()).json()).toEqual({ userId: 'bob' });
  });

  test('keeps the session if the server wants evidence', async () => {
    await tab.client.login(ALICE);
    const all = await cookies();
    for (const cookie of all)
      if (!cookie.key.endsWith('refresh')) await browser.jar.store.removeCookie(cookie.domain, cookie.path, cookie.key);
    await expect(tab.client.refresh()).rejects.toMatchObject({ code: 'session_proof_required', status: 401 });
    expect(statusOf(tab)).toBe('authenticated');
  });

  test('ends in all tabs if the session was ended elsewhere, or the browser has lost its cookies', async () => {
    const other = open();
    await tab.client.login(ALICE);
    await until(() => statusOf(other) === 'authenticated');
    browser.jar = new CookieJar();
    await expect(tab.client.refresh()).rejects.toMatchObject({ code: 'session_not_found' });
    expect(tab.client.getSnapshot()).toMatchObject({ status: 'ended', reason: 'revoked' });
    await until(() => statusOf(other) === 'ended');
  });

  test('a logout ends the session in all tabs at once', async () => {
    const tabs = [open(), open(), open()];
    await tab.client.login(ALICE);
    await until(() => tabs.every((each) => statusOf(each) === 'authenticated'));
    await tabs[0].client.logout();
    await until(() => [tab, ...tabs].every((each) => statusOf(each) === 'ended'));
    expect(tab.client.getSnapshot()).toMatchObject({ reason: 'logout', message: 'You have signed out.' });
  });

  test('does not use the cookies after a logout of which the server does not know', async () => {
    await tab.client.login(ALICE);
    browser.network = (url, init, send) =>
      url.endsWith('/logout') ? Promise.reject(new TypeError('offline')) : send(url, init);
    await tab.client.logout();
    expect((await read()).status).toBe(401);
    expect((await cookies()).length).toBeGreaterThan(0);
    tab.kill();
    browser.network = straight;
    open();
    await until(() => browser.requests('logout').at(-1)?.status === 200);
    expect(await cookies()).toEqual([]);
  });

  test('a login drops a pending logout, because it has replaced the session', async () => {
    await tab.client.login(ALICE);
    browser.network = (url, init, send) =>
      url.endsWith('/logout') ? Promise.reject(new TypeError('offline')) : send(url, init);
    await tab.client.logout();
    await tab.client.login(BOB);
    browser.network = straight;
    tab.fire('online');
    await read();
    expect(stored()).not.toHaveProperty('revoke');
    expect(statusOf(tab)).toBe('authenticated');
    expect(browser.requests('logout').every(({ status }) => status === 0)).toBe(true);
  });

  test('remembers the user only as long as the browser is open, if asked to', async () => {
    await tab.client.login({ ...ALICE, remember: false });
    expect((await cookies()).map(({ maxAge }) => maxAge)).toEqual([null, null, null]);
    await tab.client.refresh();
    expect((await cookies()).map(({ maxAge }) => maxAge)).toEqual([null, null, null]);
    await tab.client.login({ ...ALICE, remember: true });
    expect((await cookies()).every(({ maxAge }) => Number(maxAge) > 0)).toBe(true);
  });

  test('asks for the password again', async () => {
    await tab.client.login(ALICE);
    await expire();
    await tab.client.reauthenticate(ALICE);
    expect((await tab.client.fetch(`${app.url}/notes/secret`)).status).toBe(200);
    await expect(tab.client.reauthenticate(BOB)).rejects.toBeInstanceOf(SessionError);
    expect(statusOf(tab)).toBe('authenticated');
  });

  test('ends its own session in the list of devices', async () => {
    await tab.client.login(ALICE);
    await tab.client.endSession(stored().sessionId);
    expect(tab.client.getSnapshot()).toMatchObject({ status: 'ended', reason: 'logout' });
    expect(await cookies()).toEqual([]);
  });
});
