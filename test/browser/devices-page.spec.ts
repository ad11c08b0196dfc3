/// <reference lib="dom" />
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { BrowserContext, Page } from 'playwright-core';
import { ADAPTERS } from '../helpers/app.js';
import { launchBrowser } from '../helpers/browser.js';
import {
  devices,
  faultsIn,
  FIREFOX,
  focused,
  later,
  logIn,
  message,
  openDevicesPage,
  PASSWORD,
  triggerUpdate,
  waitForLogin,
  waitForMessage,
  waitForNoMessage,
} from '../helpers/devices-page.js';
import { SAMPLE_SECRET_KEY, type SampleApp, startSampleApp } from '../helpers/sample-app.js';
import { variants } from '../helpers/size.js';

const ENDED = "You've been logged out. Log in again to continue.";
const LOG_OUT_FIREFOX = '.quick[aria-label="Log out Firefox 128 on Windows"]';

jest.setTimeout(120_000);

describe.each(variants(ADAPTERS, 1))('the page "Your devices", %s', (adapter) => {
  const folder = mkdtempSync(join(tmpdir(), 'devices-page-'));
  let browsers: BrowserContext[];
  let app: SampleApp;
  let environment: Record<string, string>;
  let [page, other]: Page[] = [];
  let log: string[];

  beforeAll(async () => {
    browsers = [await launchBrowser(), await launchBrowser({ userAgent: FIREFOX })];
  });
  afterAll(async () => {
    for (const browser of browsers ?? []) await browser.close();
    rmSync(folder, { recursive: true });
  });

  const start = async (options: object = {}, more: Record<string, string> = {}) => {
    const config = join(folder, 'options.json');
    writeFileSync(config, JSON.stringify(options));
    environment = { HTTP_ADAPTER: adapter, SESSION_CONFIG: config, THROTTLE: 'off', ...more };
    app = await startSampleApp(environment);
    for (const each of [page, other]) await each.goto(`${app.url}/`);
  };

  beforeEach(async () => {
    const opened = [await openDevicesPage(browsers[0]), await openDevicesPage(browsers[1])];
    [page, other] = opened.map((each) => each.page);
    log = opened[0].log;
    opened[1].page.on('pageerror', (error) => log.push(`uncaught: ${error.message}`));
  });
  afterEach(async () => {
    expect(faultsIn(log)).toEqual([]);
    for (const each of [page, other]) {
      await each.evaluate(() => localStorage.clear());
      await each.close();
    }
    for (const browser of browsers) await browser.clearCookies();
    await app.stop();
  });

  test('one browser logs the other out, which then shows why and asks for a login', async () => {
    await start();
    await logIn(page);
    expect(await devices(page, 1)).toMatchObject([{ isThis: true }]);
    await logIn(other, { remember: false });
    expect(await devices(other, 2)).toMatchObject([
      { name: 'Firefox 128 on Windows', isThis: true },
      { isThis: false },
    ]);
    expect(await page.locator('session-devices li').count()).toBe(1);
    await later(page);
    expect(await devices(page, 2)).toMatchObject([{ isThis: true }, { name: 'Firefox 128 on Windows', isThis: false }]);

    await page.click(LOG_OUT_FIREFOX);
    expect(await page.textContent('#question')).toBe('Log out Firefox 128 on Windows?');
    await page.click('dialog button[value=no]');
    expect(await devices(page, 2)).toHaveLength(2);
    await page.click(LOG_OUT_FIREFOX);
    await page.click('dialog button[value=yes]');
    await devices(page, 1);
    expect(await message(page)).toBe('Firefox 128 on Windows has been logged out.');
    expect(await page.isVisible('text=Log out all other devices')).toBe(false);

    expect(await other.isVisible('session-devices h1')).toBe(true);
    await later(other);
    await waitForLogin(other, ENDED);
    expect(await other.locator('session-devices li').count()).toBe(0);
    await logIn(other);
    await devices(other, 2);
    expect(await message(other)).toBe('');
  });

  test('logs out all other devices, and then itself', async () => {
    await start();
    await logIn(other);
    await devices(other, 1);
    await logIn(page);
    await devices(page, 2);
    await page.click('text=Log out all other devices');
    await page.click('dialog button[value=yes]');
    expect(await devices(page, 1)).toMatchObject([{ isThis: true }]);
    await waitForMessage(page, 'One other device has been logged out.');
    await triggerUpdate(other);
    await waitForLogin(other, ENDED);

    await page.click('#log-out');
    await waitForLogin(page, "You're logged out.");
    await page.reload();
    await page.waitForSelector('#username');
    expect(await page.context().cookies()).toEqual([]);
  });

  test('explains why a login failed, and clears the message after the next one', async () => {
    const policies = { LONG: { refreshTokenLifetime: '30d', maxActiveSessions: 1, whenFull: 'refuse' } };
    await start({ policies });
    await logIn(page, { password: 'wrong' });
    await waitForMessage(page, 'Wrong user name or password.');
    expect(await page.isVisible('#remember')).toBe(false);
    await logIn(page);
    await devices(page, 1);
    expect(await message(page)).toBe('');
    await logIn(other);
    await waitForMessage(other, "You've reached the maximum number of devices.");
    await page.click('#log-out');
    await waitForMessage(page, "You're logged out.");
  });

  test('says at the field what is wrong with it', async () => {
    await start();
    await page.focus('#password');
    await page.keyboard.press('Enter');
    const errorOf = (field: string) => page.locator(`#${field}-error`).textContent();
    expect([await errorOf('username'), await errorOf('password')]).toEqual([
      'Enter your user name.',
      'Enter your password.',
    ]);
    expect(await focused(page)).toEqual(['username', true]);
    expect(log.filter((line) => line.startsWith('POST') && line.includes('login'))).toEqual([]);
    // Only the server knows that a name cannot consist of spaces.
    await logIn(page, { username: '   ' });
    await page.locator('#username-error', { hasText: 'This field may not be blank.' }).waitFor();
    expect([await errorOf('password'), await message(page)]).toEqual(['', '']);
    expect(await page.getAttribute('#username', 'aria-invalid')).toBe('true');
    await logIn(page);
    await devices(page, 1);
  });

  test('shows the password on demand, and hides it before it is sent', async () => {
    await start();
    await page.fill('#password', PASSWORD);
    expect(await page.getAttribute('#password', 'type')).toBe('password');
    await page.click('button[aria-label="Show password"]');
    expect(await page.getAttribute('#password', 'type')).toBe('text');
    await page.click('button[aria-label="Hide password"]');
    expect(await page.getAttribute('#password', 'type')).toBe('password');
    await page.click('button[aria-label="Show password"]');
    await logIn(page, { password: 'wrong' });
    await waitForMessage(page, 'Wrong user name or password.');
    expect(await page.getAttribute('#password', 'type')).toBe('password');
  });

  test('the cookies go with the browser unless the user asks to stay logged in', async () => {
    await start();
    for (const remember of [false, true]) {
      await logIn(page, { remember });
      await devices(page, 1);
      const cookies = await page.context().cookies();
      expect(cookies.map(({ expires }) => expires > 0)).toEqual(Array(3).fill(remember));
      await page.click('session-devices .summary');
      expect(await page.locator('session-devices dd').last().textContent()).toBe(remember ? 'LONG' : 'SHORT');
      await page.click('#log-out');
      await waitForLogin(page, "You're logged out.");
    }
  });

  test('says that the browser rejected the cookies, and sends no password over plain HTTP', async () => {
    await start({ cookies: { domain: 'example.com' } });
    await logIn(page);
    await waitForMessage(page, 'Your browser rejected the cookies of this page');
    await page.goto(`http://page.test:${new URL(app.url).port}/`);
    log.length = 0;
    await logIn(page);
    await waitForMessage(page, "You can't log in over plain HTTP.");
    expect(log.filter((line) => line.startsWith('POST') && line.includes('login'))).toEqual([]);
  });

  test('says when to retry after too many attempts', async () => {
    await start({}, { THROTTLE: 'on' });
    const body = { username: 'alice', password: 'x', session: 'LONG', secret_key: SAMPLE_SECRET_KEY };
    await Promise.all(Array.from({ length: 60 }, () => app.post('/api/session/login/', body)));
    await logIn(page);
    await waitForMessage(page, 'Too many attempts. Try again in');
    expect(await message(page)).toMatch(/ in [1-9]\d* seconds?\.$/);
    await page.clock.fastForward(61_000);
    await waitForNoMessage(page);
  });

  test('a question that is asked again at once, before the page knows that it was closed, is answered', async () => {
    await start();
    await logIn(other);
    await devices(other, 1);
    await logIn(page);
    await devices(page, 2);
    await page.evaluate((logOut) => {
      const { shadowRoot } = document.querySelector('session-devices') as HTMLElement;
      const button = shadowRoot?.querySelector<HTMLElement>(logOut);
      button?.click();
      // The event "close" comes in a task of its own.
      shadowRoot?.querySelector('dialog')?.close();
      button?.click();
    }, LOG_OUT_FIREFOX);
    await page.click('dialog button[value=yes]');
    await devices(page, 1);
  });

  test('works with the keyboard alone', async () => {
    await start();
    await logIn(other);
    await devices(other, 1);
    await page.waitForSelector('#username');
    expect(await focused(page)).toEqual(['username', true]);
    await page.keyboard.type('alice');
    // An update keeps what the user has typed.
    await triggerUpdate(page);
    await page.keyboard.press('Tab');
    await page.keyboard.type(PASSWORD);
    await triggerUpdate(page);
    expect(await focused(page)).toEqual(['password', true]);
    await page.keyboard.press('Enter');
    await devices(page, 2);
    const tab = async () => {
      await page.keyboard.press('Tab');
      return focused(page);
    };
    expect(await tab()).toEqual(['log-out', true]);
    expect(await tab()).toEqual([expect.stringMatching(/^Chrom/), true]);
    expect(await tab()).toEqual(['Firefox 128 on Windows', true]);
    await page.keyboard.press('Enter');
    expect(await page.locator('dd:visible', { hasText: '127.0.0.1' }).count()).toBe(1);
    await page.keyboard.press('Space');
    expect(await page.locator('dd:visible').count()).toBe(0);
    expect(await tab()).toEqual(['Log out Firefox 128 on Windows', true]);
    const updated = page.waitForResponse((response) => response.url().endsWith('/sessions'));
    await triggerUpdate(page);
    await updated;
    expect((await focused(page))[0]).toBe('Log out Firefox 128 on Windows');
    await page.keyboard.press('Enter');
    await page.waitForSelector('dialog[open]');
    await page.keyboard.press('Escape');
    expect((await focused(page))[0]).toBe('Log out Firefox 128 on Windows');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await devices(page, 1);
    expect((await tab())[0]).toBe('log-out');
  });

  test('stays logged in and says so while the server cannot be reached, and recovers by itself', async () => {
    const database = join(folder, 'away.sqlite');
    await start({}, { DATABASE_URL: database });
    const port = new URL(app.url).port;
    await logIn(page);
    await devices(page, 1);
    await app.stop();
    await triggerUpdate(page);
    await waitForMessage(page, "Can't reach the server.");
    expect(await devices(page, 1)).toHaveLength(1);
    app = await startSampleApp({ ...environment, PORT: port });
    await later(page);
    await waitForNoMessage(page);
    expect(await devices(page, 1)).toHaveLength(1);
  });

  test('refreshes an expired access token without the user noticing', async () => {
    await start({ jwt: { accessTokenLifetime: '1s' } });
    await logIn(page);
    await devices(page, 1);
    await page.waitForTimeout(1200);
    const before = log.length;
    await page.reload();
    await devices(page, 1);
    expect(log.slice(before)).toContainEqual(expect.stringMatching(/^POST .*\/api\/session\/refresh\/?$/));
    expect(await message(page)).toBe('');
  });

  test('shows a device name with HTML as text, and exposes no secret', async () => {
    await start();
    const evil = '<img src=x onerror=alert(1)><b>phone</b>';
    const body = { username: 'alice', password: PASSWORD, session: 'LONG', secret_key: SAMPLE_SECRET_KEY };
    const { body: issued } = await app.post('/api/session/login/', body, { 'x-device-model': evil });
    await logIn(page);
    expect(await devices(page, 2)).toMatchObject([{}, { name: evil }]);
    expect(await page.locator('session-devices li b, session-devices li img').count()).toBe(0);
    const seen = [
      ...log,
      await page.evaluate(
        () => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage }) + location.href,
      ),
      await page.evaluate(() =>
        [document.documentElement, ...document.querySelectorAll('*')]
          .map((element) => element.shadowRoot ?? element)
          .map((root) => root.innerHTML + [...root.querySelectorAll('input')].map(({ value }) => value).join())
          .join('\n'),
      ),
    ].join('\n');
    expect(seen).toContain('&lt;b&gt;phone');
    const cookies = await page.context().cookies();
    expect(cookies).toHaveLength(3);
    for (const secret of [PASSWORD, SAMPLE_SECRET_KEY, issued.access, ...cookies.map(({ value }) => value)]) {
      expect(seen).not.toContain(secret);
    }
    expect(cookies.every(({ httpOnly, secure }) => httpOnly && secure)).toBe(true);
    const { headers } = await fetch(`${app.url}/`);
    expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'/);
  });
});
