/// <reference lib="dom" />
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { BrowserContext, Page, Request } from 'playwright-core';
import { launchBrowser } from '../helpers/browser.js';
import { bundle, servePage } from '../helpers/bundle.js';
import { endAllSessions, logInElsewhere } from '../helpers/devices-page.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';

jest.setTimeout(120_000);

/** Bundles an application of the folder `bindings`. */
const bundleOf = (name: string, alias: Record<string, string> = {}) =>
  bundle({ entryPoints: [join(import.meta.dirname, 'bindings', `${name}.ts`)], alias });

const folder = mkdtempSync(join(tmpdir(), 'bindings-'));
let app: SampleApp;
let browser: BrowserContext;
let page: Page;
let script: string;
let errors: string[];
let requests: Request[];

beforeAll(async () => {
  // Clients with their tokens in the body would need the secret key, which a page cannot keep.
  const config = join(folder, 'options.json');
  writeFileSync(config, JSON.stringify({ secretKey: false }));
  app = await startSampleApp({ THROTTLE: 'off', SESSION_CONFIG: config });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await app?.stop();
  rmSync(folder, { recursive: true });
});

beforeEach(async () => {
  [errors, requests] = [[], []];
  page = await browser.newPage();
  page.on('pageerror', ({ message }) => errors.push(message));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('request', (request) => requests.push(request));
  await servePage(page, '<div id="app"></div><app-root></app-root>', () => script);
});
afterEach(async () => {
  await page.click('#log-out');
  await shows('ended');
  await page.close();
  await browser.clearCookies();
  await endAllSessions(app);
});

const open = (query = '') => page.goto(`${app.url}/app/${query}`);
const shows = (text: string, id = 'status') =>
  page.locator(`#${id}`, { hasText: new RegExp(`^${text}$`) }).waitFor({ state: 'attached' });
const rows = (count: number) =>
  page.waitForFunction((wanted) => document.querySelectorAll('#app li').length === wanted, count);
const asked = (path: string) =>
  requests.filter((request) => new URL(request.url()).pathname.replace(/\/$/, '') === path);

describe.each([
  ['React 19', 'react', {}],
  ['React 18', 'react', { react: 'react-18', 'react-dom': 'react-dom-18' }],
  ['Vue 3', 'vue', {}],
] as [string, string, Record<string, string>][])('the binding for %s', (_, name, alias) => {
  beforeAll(async () => void (script = await bundleOf(name, alias)));
  afterEach(() => expect(errors.filter((error) => !error.startsWith('Failed to load resource'))).toEqual([]));

  test.each(['cookie', 'body'])(
    'follows the session and lists the devices, with the transport %s',
    async (transport) => {
      await open(`?transport=${transport}`);
      await shows('anonymous');
      if (name === 'react') expect(await page.getAttribute('body', 'data-rendered')).toBe('loading');
      expect(await page.locator('#app li').count()).toBe(0);
      await page.click('#log-in');
      await shows('authenticated');
      await rows(1);

      await logInElsewhere(app);
      await page.click('#reload');
      await rows(2);
      await page.click('#end');
      await rows(1);
      await logInElsewhere(app);
      await logInElsewhere(app);
      await page.click('#reload');
      await rows(3);
      await page.click('#end-others');
      await rows(1);

      // The list stays if the server cannot be reached, and the error goes away with the next answer.
      await page.route('**/sessions', (route) => route.abort());
      await page.click('#reload');
      await shows('unreachable', 'error');
      expect(await page.locator('#app li').count()).toBe(1);
      await page.unroute('**/sessions');
      await page.click('#reload');
      await shows('', 'error');

      const headers = { authorization: `Bearer ${await logInElsewhere(app)}` };
      await fetch(`${app.url}/api/session/sessions`, { method: 'DELETE', headers });
      await page.click('#reload');
      await shows('ended');
      await rows(0);
      await page.click('#log-in');
      await shows('authenticated');
    },
  );
});

describe('the binding for Angular', () => {
  beforeAll(async () => void (script = await bundleOf('angular')));

  test.each(['cookie', 'body'])('sends credentials with HttpClient, with the transport %s', async (transport) => {
    await open(`?transport=${transport}`);
    await shows('anonymous');
    await page.click('#call');
    await shows('401', 'answer');
    await page.click('#log-in');
    await shows('authenticated');
    await page.click('#call');
    await shows('\\{"user_id":1\\}', 'answer');
  });

  test('refreshes after a refusal and sends the request once more, and only once', async () => {
    await open();
    await page.click('#log-in');
    await shows('authenticated');
    const refuse = (code: string) => ({ status: 401, contentType: 'application/json', body: JSON.stringify({ code }) });
    await page.route('**/api/me', (route) => route.fulfill(refuse('token_not_valid')), { times: 1 });
    const refreshes = asked('/api/session/refresh').length;
    await page.click('#call');
    await shows('\\{"user_id":1\\}', 'answer');
    expect([asked('/api/me').length, asked('/api/session/refresh').length - refreshes]).toEqual([2, 1]);

    await page.route('**/api/me', (route) => route.fulfill(refuse('token_not_valid')));
    await page.click('#call');
    await shows('401', 'answer');
    expect(asked('/api/me')).toHaveLength(4);
    await page.unroute('**/api/me');
  });

  test('sends no credentials to other origins, and ignores their refusals', async () => {
    await open();
    await page.click('#log-in');
    await shows('authenticated');
    await page.route('https://elsewhere.test/', (route) =>
      route.fulfill({
        status: 401,
        headers: { 'access-control-allow-origin': '*' },
        json: { code: 'token_not_valid' },
      }),
    );
    const refreshes = asked('/api/session/refresh').length;
    await page.click('#call-elsewhere');
    await shows('401', 'answer');
    const sent = requests.filter((request) => request.url().startsWith('https://elsewhere.test'));
    expect(sent).toHaveLength(1);
    const headers = await sent[0].allHeaders();
    expect(Object.keys(headers).filter((name) => /session|authorization|cookie/.test(name))).toEqual([]);
    expect(asked('/api/session/refresh')).toHaveLength(refreshes);
    await shows('authenticated');
  });

  test('the guard sends anonymous users to the login page, and admits the others', async () => {
    await open();
    await page.click('#visit');
    await page.waitForURL('**/app/login?returnTo=%2Fprivate');
    await page.click('#log-in');
    await shows('authenticated');
    await page.click('#visit');
    await page.waitForURL('**/app/private');
    // After a reload, it waits until the client knows.
    await page.reload();
    await shows('authenticated');
    await page.waitForURL('**/app/private');
  });
});
