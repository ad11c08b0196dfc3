import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { TestApp } from '../../test/helpers/app.js';
import { Browser, type Network, type Tab } from './helpers/browser.js';
import { ALICE, optionsFor, startServer, until } from './helpers/server.js';

let app: TestApp;
let browser: Browser;
let tab: Tab;

beforeAll(async () => void (app = await startServer()));
afterAll(() => app?.close());
beforeEach(() => void (browser = new Browser()));
afterEach(() => browser.close());

const statusOf = ({ client }: Tab) => client.getSnapshot().status;
const refusal = (code: string, status = 401) => Response.json({ code, message: code }, { status });
/** Whether the page asks for a refresh. */
const isRefresh = (url: string) => url.endsWith('/refresh');

describe('a session in cookies that are bound to a key', () => {
  let hasKey: boolean;
  let refreshesOfBrowser: number;

  /** The browser refreshes before each request but a refresh, as if its access cookie had expired. The server demands a proof. */
  const bound: Network = async (url, init, send) => {
    if (isRefresh(url)) return refusal('device_proof_required');
    const headers = new Headers(init.headers);
    if (hasKey) {
      refreshesOfBrowser++;
      await send(url.replace(/\/[^/]*$/, '/refresh'), { ...init, method: 'POST', headers, body: '{}' });
      headers.set('cookie', await browser.jar.getCookieString(url));
    } else {
      headers.delete('cookie');
    }
    return send(url, { ...init, headers });
  };
  const open = () => browser.open({ ...optionsFor(app, 'cookie'), storage: 'browser' });
  const paths = () => browser.sent.map(({ method, path }) => `${method} ${path.replace('/api/session', '')}`);
  const stored = () => JSON.parse([...browser.local].find(([key]) => !key.endsWith('lease'))?.[1] ?? 'null');

  beforeEach(async () => {
    hasKey = true;
    refreshesOfBrowser = 0;
    tab = open();
    await until(() => statusOf(tab) === 'anonymous');
    await tab.client.login(ALICE);
    browser.network = bound;
    browser.sent.length = 0;
  });

  test('is refreshed by the browser, if the server demands a proof', async () => {
    const { accessLife, sessionLife, generation } = stored();
    await tab.client.refresh();
    expect(paths()).toEqual(['POST /refresh', 'GET /sessions']);
    expect(refreshesOfBrowser).toBe(1);
    expect(statusOf(tab)).toBe('authenticated');
    expect(stored()).toMatchObject({ accessLife, sessionLife, generation: generation + 1 });
  });

  test('is found again if the storage was cleared', async () => {
    browser.local.clear();
    const next = open();
    await until(() => statusOf(next) === 'authenticated');
    expect(next.client.getSnapshot()).toEqual(tab.client.getSnapshot());
    expect(stored()).toMatchObject({ accessLife: 300_000 });
  });

  test.each<[what: string, answer: () => Promise<Response>, code: string]>([
    ['the server is not available', () => Promise.resolve(refusal('server_fault', 500)), 'server_fault'],
    ['the network fails', () => Promise.reject(new TypeError('offline')), 'unreachable'],
    ['the request is refused for another reason', () => Promise.resolve(refusal('csrf_failed', 403)), 'csrf_failed'],
  ])('goes on if %s', async (_, answer, code) => {
    browser.network = (url, init, send) => (url.endsWith('/sessions') ? answer() : bound(url, init, send));
    await expect(tab.client.refresh()).rejects.toMatchObject({ code });
    expect(statusOf(tab)).toBe('authenticated');
    browser.network = bound;
    await tab.client.refresh();
  });

  test('ends if the browser cannot refresh it any more', async () => {
    hasKey = false;
    await expect(tab.client.refresh()).rejects.toMatchObject({ code: 'session_not_found' });
    expect(tab.client.getSnapshot()).toMatchObject({ status: 'ended', reason: 'revoked' });
  });
});

test('a session in bodies goes on if the server demands a proof', async () => {
  tab = browser.open({ ...optionsFor(app, 'body'), storage: 'browser' });
  await tab.client.login(ALICE);
  browser.network = (url, init, send) =>
    isRefresh(url) ? Promise.resolve(refusal('device_proof_required')) : send(url, init);
  browser.sent.length = 0;
  await expect(tab.client.refresh()).rejects.toMatchObject({ code: 'device_proof_required' });
  expect(statusOf(tab)).toBe('authenticated');
  expect(browser.sent).toHaveLength(1);
  browser.network = (url, init, send) => send(url, init);
  await tab.client.refresh();
});
