import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { memoryStorage, SessionError } from 'nestjs-multisession-client';
import type { TestApp } from '../../test/helpers/app.js';
import { expired } from '../../test/helpers/tokens.js';
import { Browser, type Tab } from './helpers/browser.js';
import { ALICE, BOB, NotesController, optionsFor, startOtherServer, startServer, until } from './helpers/server.js';

describe('tokens in the body', () => {
  let app: TestApp;
  let notes: NotesController;
  let browser: Browser;
  let tab: Tab;

  beforeAll(async () => {
    app = await startServer();
    notes = app.get(NotesController);
  });
  afterAll(() => app?.close());
  beforeEach(() => {
    browser = new Browser();
    tab = open();
    notes.written.length = 0;
  });
  afterEach(() => {
    browser.close();
    notes.unavailable = { times: 0, by: 'library' };
  });

  const open = () => browser.open({ ...optionsFor(app, 'body'), storage: 'browser' });
  const read = (from = tab) => from.client.fetch(`${app.url}/notes`);
  const write = (body: BodyInit, from = tab) =>
    from.client.fetch(`${app.url}/notes`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
      ...(body instanceof ReadableStream && { duplex: 'half' }),
    });
  const statusOf = ({ client }: Tab) => client.getSnapshot().status;
  /** From now on, the server gets an expired token instead of the access token that the tab has. */
  const expire = async (of: Tab) => {
    const { Authorization = '' } = await of.client.headersFor(app.url);
    const [, token] = Authorization.split(' ');
    browser.expired.set(token, expired(token));
  };
  /** The record in the storage. */
  const stored = () =>
    JSON.parse(browser.local.get([...browser.local.keys()].find((key) => !key.endsWith('lease')) ?? '') ?? 'null');

  test('begins with a storage that has not been read, then nobody', async () => {
    await until(() => statusOf(tab) === 'anonymous');
    expect(tab.states).toEqual(['loading', 'anonymous']);
    expect((await read()).status).toBe(401);
    expect(browser.requests('refresh')).toEqual([]);
  });

  test('logs in, sends requests, lists and ends sessions, and logs out', async () => {
    await tab.client.login({ ...ALICE, info: 'a tab' });
    expect(tab.client.getSnapshot()).toEqual({ status: 'authenticated', sessionId: expect.any(String), type: 'LONG' });
    expect(tab.client.getSnapshot()).toBe(tab.client.getSnapshot());
    expect(await (await read()).json()).toEqual({ userId: 'alice' });
    const elsewhere = new Browser().open({ ...optionsFor(app, 'body') });
    await elsewhere.client.login({ ...ALICE, info: 'elsewhere' });
    const sessions = await tab.client.sessions();
    expect(sessions[0]).toMatchObject({ current: true, info: 'a tab', type: 'LONG' });
    const other = sessions.find(({ info }) => info === 'elsewhere');
    await tab.client.endSession(other?.id ?? '');
    await expect(tab.client.endSession(other?.id ?? '')).rejects.toMatchObject({
      code: 'session_not_found',
      status: 404,
    });
    expect(await tab.client.endOthers()).toBeGreaterThanOrEqual(0);
    expect(await tab.client.sessions()).toHaveLength(1);
    await tab.client.logout();
    expect(tab.client.getSnapshot()).toEqual({ status: 'ended', reason: 'logout', message: 'You have signed out.' });
    expect(browser.requests('logout').map(({ status }) => status)).toEqual([200]);
    expect(stored()).not.toHaveProperty('refresh');
  });

  test('says what the server says if a login is refused', async () => {
    const refused = tab.client.login({ ...ALICE, password: 'wrong' });
    await expect(refused).rejects.toBeInstanceOf(SessionError);
    await expect(refused).rejects.toMatchObject({ code: 'invalid_credentials', status: 401 });
    const invalid = tab.client.login({ ...ALICE, session: '' });
    await expect(invalid).rejects.toMatchObject({
      code: 'validation_failed',
      errors: { session: [expect.any(String)] },
    });
    expect(statusOf(tab)).toBe('anonymous');
  });

  test('refreshes once for any number of requests whose access token has expired', async () => {
    await tab.client.login(ALICE);
    await expire(tab);
    const answers = await Promise.all(Array.from({ length: 8 }, () => read()));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(browser.requests('refresh')).toHaveLength(1);
  });

  test.each([
    ['with everything', {}],
    ['without Web Locks', { locks: false }],
    ['without Web Locks, channels and storage events', { locks: false, channels: false, storageEvents: false }],
  ])('eight tabs refresh at once, %s', async (_what, features) => {
    browser = new Browser(features);
    const tabs = Array.from({ length: 8 }, open);
    await tabs[0].client.login(ALICE);
    await Promise.all(tabs.map((each) => each.client.headersFor(app.url)));
    await expire(tabs[0]);
    const answers = await Promise.all(tabs.map((each) => read(each)));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(browser.requests('refresh')).toHaveLength(1);
    expect(new Set(tabs.map(({ client }) => JSON.stringify(client.getSnapshot()))).size).toBe(1);
  });

  test('stores an answer before it uses it', async () => {
    await tab.client.login(ALICE);
    await expire(tab);
    const before = stored();
    browser.network = (url, init, send) => {
      if (url.endsWith('/notes') && browser.requests('refresh').at(-1)?.status === 200)
        expect(new Headers(init.headers).get('authorization')).toBe(`Bearer ${stored().access}`);
      return send(url, init);
    };
    expect((await read()).status).toBe(200);
    expect(stored().generation).toBe(before.generation + 1);
  });

  test('keeps the session if the answer to a refresh is lost, and goes on with the same token', async () => {
    await tab.client.login(ALICE);
    await expire(tab);
    browser.network = async (url, init, send) => {
      const answer = await send(url, init);
      if (url.endsWith('/refresh')) throw new TypeError('the connection was lost');
      return answer;
    };
    await expect(read()).rejects.toMatchObject({ code: 'unreachable' });
    expect(statusOf(tab)).toBe('authenticated');
    browser.network = (url, init, send) => send(url, init);
    expect((await read()).status).toBe(200);
  });

  test.each([
    ['HTML with 200', 200, { 'content-type': 'text/html' }, '<h1>Welcome to the hotel</h1>'],
    ['a redirect to HTML', 302, { location: '/portal' }, ''],
    ['500', 500, { 'content-type': 'application/json' }, '{"statusCode":500}'],
    ['502 with HTML', 502, { 'content-type': 'text/html' }, '<h1>Bad Gateway</h1>'],
    ['401 with HTML', 401, { 'content-type': 'text/html' }, '<h1>Proxy</h1>'],
    ['401 without a code', 401, { 'content-type': 'application/json' }, '{"statusCode":401,"message":"Unauthorized"}'],
    [
      '401 with a code that does not end the session',
      401,
      { 'content-type': 'application/json' },
      '{"code":"device_proof_required"}',
    ],
    [
      '401 that asks for the password',
      401,
      { 'content-type': 'application/json' },
      '{"code":"reauthentication_required"}',
    ],
    ['401 without evidence', 401, { 'content-type': 'application/json' }, '{"code":"session_proof_required"}'],
  ])('keeps the session if a refresh gets %s', async (_what, status, headers, body) => {
    const portal = await startOtherServer(status, headers, body);
    await tab.client.login(ALICE);
    browser.network = (url, init, send) => send(url.replace(app.url, portal.url), init);
    await expect(tab.client.refresh()).rejects.toBeInstanceOf(SessionError);
    expect(portal.requests.length).toBeGreaterThan(0);
    expect(portal.requests.every(({ url }) => url !== '/portal')).toBe(true);
    expect(statusOf(tab)).toBe('authenticated');
    browser.network = (url, init, send) => send(url, init);
    await tab.client.refresh();
    expect((await read()).status).toBe(200);
    portal.server.close();
  });

  test.each([-20 * 365, 20 * 365, 1])('works with a clock that is %d days off', async (days) => {
    browser.wrongBy = days * 86_400_000;
    await tab.client.login(ALICE);
    await expire(tab);
    expect((await read()).status).toBe(200);
    await tab.client.refresh();
    browser.wrongBy = 0;
    expect((await read()).status).toBe(200);
    await tab.client.login(BOB);
    expect(await (await read()).json()).toEqual({ userId: 'bob' });
    await tab.client.logout();
    expect(statusOf(tab)).toBe('ended');
  });

  test('takes an answer that arrives after the device has slept for a lost one', async () => {
    await tab.client.login(ALICE);
    browser.network = async (url, init, send) => {
      if (!url.endsWith('/refresh')) return send(url, init);
      browser.wrongBy += 60_000;
      return new Response('{"code":"token_not_valid"}', { status: 401 });
    };
    await expect(tab.client.refresh()).rejects.toMatchObject({ code: 'unreachable' });
    expect(statusOf(tab)).toBe('authenticated');
  });

  test('ends the session if the server refuses its token, in all tabs', async () => {
    const other = open();
    await tab.client.login(ALICE);
    await until(() => statusOf(other) === 'authenticated');
    const elsewhere = new Browser().open(optionsFor(app, 'body'));
    await elsewhere.client.login(ALICE);
    await elsewhere.client.endOthers();
    const answer = await read();
    expect(answer.status).toBe(401);
    expect(tab.client.getSnapshot()).toEqual({
      status: 'ended',
      reason: 'revoked',
      cause: 'destroyed',
      message: 'Your session has ended.',
    });
    await until(() => statusOf(other) === 'ended');
    expect(open().client.getSnapshot().status).toBe('loading');
  });

  test('adopts the newer token of another tab instead of ending the session', async () => {
    const other = open();
    await tab.client.login(ALICE);
    await other.client.refresh();
    // The token that the other tab has sent is refused, while this tab stores a newer one.
    const [old] = browser.requests('refresh');
    expect(old.status).toBe(200);
    let refused = false;
    other.network = async (url, init, send) => {
      if (!url.endsWith('/refresh') || refused) return send(url, init);
      refused = true;
      const answer = await send(url, init);
      const { refresh, access } = (await answer.json()) as { refresh: string; access: string };
      const record = stored();
      browser.local.set(
        [...browser.local.keys()].find((key) => !key.endsWith('lease')) as string,
        JSON.stringify({ ...record, generation: record.generation + 1, refresh, access }),
      );
      return new Response('{"code":"token_not_valid"}', { status: 401 });
    };
    await other.client.refresh();
    expect(refused).toBe(true);
    expect(statusOf(other)).toBe('authenticated');
    expect((await read(other)).status).toBe(200);
  });

  test('waits as long as Retry-After says, and sends a refused request again', async () => {
    await tab.client.login(ALICE);
    notes.unavailable = { times: 1, by: 'library' };
    const started = performance.now();
    expect((await write('{"text":"once"}')).status).toBe(200);
    expect(performance.now() - started).toBeGreaterThanOrEqual(990);
    expect(notes.written).toEqual([{ text: 'once' }]);
  });

  test('sends nothing again that may have been handled', async () => {
    await tab.client.login(ALICE);
    notes.unavailable = { times: 1, by: 'application' };
    expect((await write('{}')).status).toBe(503);
    browser.network = (url, init, send) =>
      url.endsWith('/notes') ? Promise.reject(new TypeError('lost')) : send(url, init);
    await expect(write('{}')).rejects.toThrow('lost');
    expect(browser.sent.filter(({ path }) => path === '/notes')).toHaveLength(2);
  });

  test('sends a refused body again, unless it is a stream', async () => {
    await tab.client.login(ALICE);
    await expire(tab);
    expect((await write('{"text":"a"}')).status).toBe(200);
    await expire(tab);
    const request = new Request(`${app.url}/notes`, {
      method: 'POST',
      body: '{"text":"b"}',
      headers: { 'content-type': 'application/json' },
    });
    expect((await tab.client.fetch(request)).status).toBe(200);
    await expire(tab);
    const stream = new Blob(['{"text":"c"}']).stream();
    expect((await write(stream)).status).toBe(401);
    expect(notes.written).toEqual([{ text: 'a' }, { text: 'b' }]);
  });

  test('sends no token to another origin', async () => {
    const other = await startOtherServer(200, {}, '{}');
    await tab.client.login(ALICE);
    expect(await tab.client.headersFor(other.url)).toEqual({});
    await tab.client.fetch(other.url);
    expect(other.requests[0].headers).not.toHaveProperty('authorization');
    expect(other.requests[0].headers).not.toHaveProperty('x-session-transport');
    other.server.close();
  });

  test('a login replaces the session of another user in all tabs', async () => {
    const other = open();
    await tab.client.login(ALICE);
    await until(() => statusOf(other) === 'authenticated');
    await other.client.login(BOB);
    expect(await (await read()).json()).toEqual({ userId: 'bob' });
  });

  test('a late answer to a refresh does not replace a login', async () => {
    const other = open();
    await tab.client.login(ALICE);
    let release!: () => void;
    const held = new Promise<void>((resolve) => (release = resolve));
    tab.network = async (url, init, send) => {
      const answer = await send(url, init);
      if (url.endsWith('/refresh')) await held;
      return answer;
    };
    const refreshing = tab.client.refresh();
    await until(() => browser.requests('refresh').length === 1);
    const login = other.client.login(BOB);
    release();
    await Promise.allSettled([refreshing, login]);
    expect(await (await read()).json()).toEqual({ userId: 'bob' });
    expect(await (await read(other)).json()).toEqual({ userId: 'bob' });
  });

  test('a late answer to a refresh does not replace a login, even if the lease was lost', async () => {
    browser.close();
    browser = new Browser({ locks: false, channels: false, storageEvents: false });
    tab = open();
    const other = open();
    await tab.client.login(ALICE);
    tab.network = async (url, init, send) => {
      const answer = await send(url, init);
      if (!url.endsWith('/refresh')) return answer;
      // As if the tab had been frozen.
      browser.local.delete([...browser.local.keys()].find((key) => key.endsWith('lease')) ?? '');
      await other.client.login(BOB);
      return answer;
    };
    await tab.client.refresh();
    expect(tab.client.getSnapshot()).toEqual(other.client.getSnapshot());
    expect(await (await read()).json()).toEqual({ userId: 'bob' });
  });

  test('logs out while a refresh is in flight, and its answer does not undo that', async () => {
    await tab.client.login(ALICE);
    let loggedOut: Promise<void> | undefined;
    tab.network = async (url, init, send) => {
      const answer = await send(url, { ...init, signal: null });
      if (url.endsWith('/refresh')) {
        loggedOut = tab.client.logout();
        await until(() => statusOf(tab) === 'ended');
      }
      return answer;
    };
    await expect(tab.client.refresh()).rejects.toBeInstanceOf(SessionError);
    await loggedOut;
    expect(statusOf(tab)).toBe('ended');
    expect(stored()).not.toHaveProperty('sessionId');
    expect(browser.requests('logout').map(({ status }) => status)).toEqual([200]);
  });

  test('logs out while a login is in flight, and ends the session that its answer brings', async () => {
    let loggedOut: Promise<void> | undefined;
    let brought = '';
    tab.network = async (url, init, send) => {
      const answer = await send(url, init);
      if (url.endsWith('/login')) {
        brought = ((await answer.clone().json()) as { session_id: string }).session_id;
        loggedOut = tab.client.logout();
      }
      return answer;
    };
    await expect(tab.client.login(ALICE)).rejects.toMatchObject({ code: 'logged_out' });
    await loggedOut;
    await until(() => stored().revoke === undefined);
    expect(statusOf(tab)).not.toBe('authenticated');
    const elsewhere = new Browser().open(optionsFor(app, 'body'));
    await elsewhere.client.login(ALICE);
    expect((await elsewhere.client.sessions()).map(({ id }) => id)).not.toContain(brought);
    elsewhere.client.close();
  });

  test('logs out offline, and tells the server when it can be reached', async () => {
    const other = open();
    await tab.client.login({ ...ALICE, info: 'offline' });
    await until(() => statusOf(other) === 'authenticated');
    browser.network = () => Promise.reject(new TypeError('offline'));
    await tab.client.logout();
    expect(statusOf(tab)).toBe('ended');
    await until(() => statusOf(other) === 'ended');
    tab.kill();
    other.kill();
    browser.network = (url, init, send) => send(url, init);
    const next = open();
    await until(() => browser.requests('logout').at(-1)?.status === 200);
    await until(() => stored().revoke === undefined);
    expect(statusOf(next)).toBe('anonymous');
  });

  test('refreshes ahead of time while it is visible', async () => {
    await tab.client.login(ALICE);
    tab.isVisible = false;
    tab.fire('visibilitychange');
    expect(tab.nextTimerIn()).toBeGreaterThan(300_000);
    tab.advance(280_000);
    expect(browser.requests('refresh')).toEqual([]);
    tab.isVisible = true;
    tab.fire('visibilitychange');
    await until(() => browser.requests('refresh').length === 1);
    await until(() => stored().generation === 1);
    tab.advance(200_000);
    expect(browser.requests('refresh')).toHaveLength(1);
    tab.advance(70_000);
    await until(() => browser.requests('refresh').length === 2);
  });

  test.each(['focus', 'online', 'visibilitychange'])('looks at the session again after the event %s', async (event) => {
    await tab.client.login(ALICE);
    browser.wrongBy = 0;
    // The device sleeps: timers and the monotonic clock stand still.
    browser.wrongBy += 290_000;
    tab.fire(event);
    await until(() => browser.requests('refresh').length === 1);
    expect((await read()).status).toBe(200);
  });

  test('keeps trying while the server cannot be reached', async () => {
    await tab.client.login(ALICE);
    browser.network = () => Promise.reject(new TypeError('offline'));
    tab.advance(280_000);
    await until(() => browser.requests('refresh').length >= 2);
    expect(statusOf(tab)).toBe('authenticated');
    browser.network = (url, init, send) => send(url, init);
    await until(() => browser.requests('refresh').at(-1)?.status === 200);
  });

  test('warns before the session expires unused', async () => {
    const events: { endsAt: number }[] = [];
    const stop = tab.client.on('idle', (event) => events.push(event));
    await tab.client.login(ALICE);
    tab.isVisible = false;
    tab.fire('visibilitychange');
    const life = 30 * 86_400_000;
    tab.advance(life - 70_000);
    expect(events).toEqual([]);
    tab.advance(20_000);
    await until(() => events.length === 1);
    expect(Math.abs(events[0].endsAt - (Date.now() + life))).toBeLessThan(60_000);
    stop();
  });

  test('keeps the tokens in this tab only, if the user does not want to be remembered', async () => {
    const other = open();
    await tab.client.login({ ...ALICE, remember: false });
    expect((await read()).status).toBe(200);
    expect([...browser.local.values()].join()).not.toContain('eyJ');
    expect((await read(other)).status).toBe(401);
    expect(statusOf(other)).toBe('anonymous');
  });

  test('works if the storage refuses every value', async () => {
    const storage = {
      ...memoryStorage(),
      shared: true,
      update: () => {
        throw new DOMException('full', 'QuotaExceededError');
      },
    };
    const full = browser.open({ ...optionsFor(app, 'body'), storage });
    await full.client.login(ALICE);
    expect((await read(full)).status).toBe(200);
    await full.client.refresh();
    await full.client.logout();
    expect(statusOf(full)).toBe('ended');
  });

  test('goes on after the storage was cleared, and a login in another tab wins nevertheless', async () => {
    await tab.client.login(ALICE);
    browser.local.clear();
    tab.fire('storage', { key: null });
    expect((await read()).status).toBe(200);
    await tab.client.refresh();
    expect(statusOf(tab)).toBe('authenticated');
    browser.local.clear();
    const other = open();
    await other.client.login(BOB);
    expect(await (await read()).json()).toEqual({ userId: 'bob' });
  });

  test('asks for the password again', async () => {
    await tab.client.login(ALICE);
    const { sessionId } = stored();
    await until(async () => (await tab.client.fetch(`${app.url}/notes/secret`)).status === 401);
    expect(statusOf(tab)).toBe('authenticated');
    await expect(tab.client.reauthenticate({ username: 'alice', password: 'wrong' })).rejects.toMatchObject({
      code: 'invalid_credentials',
    });
    await tab.client.reauthenticate(ALICE);
    expect((await tab.client.fetch(`${app.url}/notes/secret`)).status).toBe(200);
    expect(stored().sessionId).not.toBe(sessionId);
  });

  test('gives headers to other HTTP libraries, and says if a request may be sent again', async () => {
    await tab.client.login(ALICE);
    await expire(tab);
    const headers = await tab.client.headersFor(`${app.url}/notes`);
    const refused = await tab.fetch(`${app.url}/notes`, { headers });
    const { code } = (await refused.json()) as { code: string };
    expect(await tab.client.recover({ status: refused.status, code, headers })).toBe(true);
    expect(await tab.client.recover({ status: refused.status, code, headers })).toBe(true);
    expect(browser.requests('refresh')).toHaveLength(1);
    expect((await fetch(`${app.url}/notes`, { headers: await tab.client.headersFor(app.url) })).status).toBe(200);
    expect(await tab.client.recover({ status: 503, code: 'unavailable', retryAfter: 0 })).toBe(true);
    expect(await tab.client.recover({ status: 503 })).toBe(false);
    expect(await tab.client.recover({ status: 401, code: 'reauthentication_required' })).toBe(false);
    expect(await tab.client.recover({ status: 500 })).toBe(false);
  });
});
