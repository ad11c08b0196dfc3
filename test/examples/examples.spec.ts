import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { BrowserContext, Page } from 'playwright-core';
import { launchBrowser } from '../helpers/browser.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';
import { type Example, Examples } from './example.js';

const BACKEND_KEY = 'the backend key of the examples';
const SESSIONS = {
  policies: { LONG: { refreshTokenLifetime: '30d', rotateRefreshTokens: true, reuseGrace: '10s', renewal: true } },
  cookies: { serverRendering: true, secure: 'auto' },
  backendKeys: BACKEND_KEY,
};
/** The examples to try, from the environment. Default: all. */
const NAMES = (process.env.TEST_EXAMPLES ?? 'express,next,sveltekit,nuxt').split(',');
/** Installing and building a framework takes minutes on a slow machine, in milliseconds. */
const INSTALL_LIMIT = 900_000;
const ALICE = { username: 'alice', password: 'alice-demo-password' };

let examples: Examples;
let api: SampleApp;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'api-of-examples-'));
  const config = join(folder, 'sessions.json');
  writeFileSync(config, JSON.stringify(SESSIONS));
  api = await startSampleApp({ DATABASE_URL: join(folder, 'sample.db'), SESSION_CONFIG: config, THROTTLE: 'off' });
  examples = new Examples();
  await examples.pack();
});
afterAll(async () => {
  await api?.stop();
  examples?.remove();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(NAMES)('the example %s', (name) => {
  let example: Example;
  let browser: BrowserContext;
  let page: Page;

  beforeAll(async () => {
    example = await examples.start(name, { API_URL: api.url, BACKEND_KEY });
    browser = await launchBrowser();
    page = browser.pages()[0];
  }, INSTALL_LIMIT);
  afterAll(async () => {
    await browser?.close();
    await example?.stop();
  });

  const logIn = async () => {
    await page.goto(`${example.url}/login`);
    await page.locator('[name=username]').fill(ALICE.username);
    await page.locator('[name=password]').fill(ALICE.password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Your devices' }).waitFor();
  };
  const cookie = async (kind: string) =>
    (await browser.cookies(example.url)).find(({ name: its }) => its.endsWith(`session-${kind}`));
  const drop = async (kind: string) => {
    const found = await cookie(kind);
    if (found) await browser.clearCookies({ name: found.name });
  };
  /** What the server renders for the browser's cookies, without a script. */
  const rendered = async (path = '/') => {
    const answer = await browser.request.get(example.url + path);
    return {
      status: answer.status(),
      url: new URL(answer.url()).pathname,
      type: answer.headers()['content-type'],
      text: await answer.text(),
    };
  };
  /** The browser's own session, as a list of devices shows it. */
  const device = async () => {
    const answer = await browser.request.get(`${example.url}/api/session/sessions`);
    const devices = (await answer.json()) as { current: boolean }[];
    return devices.find(({ current }) => current);
  };

  test('an anonymous visitor gets the login page', async () => {
    expect(await rendered()).toMatchObject({ status: 200, url: '/login', type: expect.stringContaining('text/html') });
    const { text } = await rendered();
    expect(text).toContain('Log in');
    // Without the script, a submit would put the password into the URL.
    expect(text).toMatch(/<button[^>]* disabled/);
  });

  test('a wrong password is said at the form', async () => {
    await page.goto(`${example.url}/login`);
    await page.locator('[name=username]').fill(ALICE.username);
    await page.locator('[name=password]').fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByText('Invalid credentials').waitFor();
  });

  test('a user who has logged in gets pages that the server has rendered', async () => {
    await logIn();
    const answer = await rendered();
    expect(answer).toMatchObject({ status: 200, url: '/' });
    expect(answer.text).toContain('Chrom');
  });

  test('a page is rendered without an access cookie, and neither the tokens nor the device change', async () => {
    const refresh = await cookie('refresh');
    const before = await device();
    await page.close();
    page = await browser.newPage();
    await drop('access');
    const answer = await rendered();
    expect(answer).toMatchObject({ status: 200, url: '/' });
    expect(answer.text).toContain('Your devices');
    expect((await cookie('refresh'))?.value).toBe(refresh?.value);
    expect(await cookie('access')).toBeUndefined();

    // The browser goes on with its own refresh, and is still the only device that anyone has seen.
    await page.goto(example.url);
    await page.getByRole('heading', { name: 'Your devices' }).waitFor();
    const refreshed = await page.evaluate(async () => {
      const headers = { 'X-Session-Transport': 'cookie' };
      return (await fetch('/api/session/refresh', { method: 'POST', headers })).status;
    });
    expect(refreshed).toBe(200);
    expect(before).toMatchObject({ browser: { name: 'Chrome' }, client_changed_at: null });
    expect(await device()).toEqual({ ...before, last_update: expect.any(String) });
  });

  test('a logout ends the session for the pages too', async () => {
    await page.goto(example.url);
    // The server learns of the logout late. If the page is left earlier, the browser cancels the request.
    const wasLeft: boolean[] = [];
    await page.route('**/api/session/logout', async (route) => {
      const left = page.waitForURL('**/login', { timeout: 500, waitUntil: 'commit' });
      wasLeft.push(
        await left.then(
          () => true,
          () => false,
        ),
      );
      await route.continue();
    });
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByRole('heading', { name: 'Log in' }).waitFor();
    expect(wasLeft).toEqual([false]);
    expect(await rendered()).toMatchObject({ url: '/login' });
    await page.unrouteAll();
  });

  test('after an ending elsewhere, the server renders the login page and no error', async () => {
    await logIn();
    const list = (await (await browser.request.get(`${example.url}/api/session/sessions`)).json()) as {
      id: string;
      current: boolean;
    }[];
    const ids = list.map(({ id }) => id);
    const access = String((await cookie('access'))?.value);
    for (const id of ids)
      await fetch(`${api.url}/api/session/sessions/${id}`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${access}` },
      });
    for (const kind of ['none', 'access']) {
      await drop(kind);
      const answer = await rendered();
      expect(answer).toMatchObject({ status: 200, url: '/login', type: expect.stringContaining('text/html') });
      expect(answer.text).not.toContain('token_not_valid');
    }
    await page.goto(example.url);
    await page.getByRole('heading', { name: 'Log in' }).waitFor();
  });

  test('shows no token and no key in its pages and its log', async () => {
    await logIn();
    const secrets = [BACKEND_KEY, (await cookie('access'))?.value, (await cookie('refresh'))?.value] as string[];
    const { text } = await rendered();
    for (const secret of secrets) {
      expect(text).not.toContain(secret);
      expect(example.output()).not.toContain(secret);
    }
  });
});
