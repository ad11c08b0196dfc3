/// <reference lib="dom" />
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { BrowserContext, Page } from 'playwright-core';
import { ADAPTERS } from '../helpers/app.js';
import { launchBrowser } from '../helpers/browser.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';

const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0';
const PASSWORD = 'alice-demo-password';
const ENDED = "You've been logged out. Log in again to continue.";
/** Milliseconds between the updates of the page. */
const POLL_INTERVAL = 10_000;

jest.setTimeout(60_000);

describe.each(ADAPTERS)('the page "Your devices", %s', (adapter) => {
  const folder = mkdtempSync(join(tmpdir(), 'devices-page-'));
  let browsers: BrowserContext[];
  let app: SampleApp;
  let environment: Record<string, string>;
  let [page, other]: Page[] = [];
  /** Console messages, page errors and requests. */
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
    log = [];
    const open = async (browser: BrowserContext) => {
      const opened = await browser.newPage();
      await opened.clock.install();
      opened.on('console', (message) => log.push(message.text()));
      opened.on('pageerror', (error) => log.push(`uncaught: ${error.message}`));
      opened.on('request', (request) => log.push(`${request.method()} ${request.url()}`));
      return opened;
    };
    [page, other] = [await open(browsers[0]), await open(browsers[1])];
  });
  afterEach(async () => {
    expect(log.filter((line) => line.startsWith('uncaught') || line.includes('Content Security Policy'))).toEqual([]);
    for (const each of [page, other]) {
      await each.evaluate(() => localStorage.clear());
      await each.close();
    }
    for (const browser of browsers) await browser.clearCookies();
    await app.stop();
  });

  const logIn = async (on: Page, { password = PASSWORD, remember = true } = {}) => {
    await on.waitForSelector('#login:not([hidden])');
    await on.fill('#username', 'alice');
    await on.fill('#password', password);
    if (await on.isVisible('#remember')) await on.setChecked('#remember', remember);
    await on.keyboard.press('Enter');
  };
  const devices = async (on: Page, count: number) => {
    await on.waitForFunction((wanted) => document.querySelectorAll('#list li').length === wanted, count);
    return on.locator('#list li').evaluateAll((items) =>
      items.map((item) => ({
        name: item.querySelector('.name')?.textContent,
        isThis: !(item.querySelector('.badge') as HTMLElement).hidden,
      })),
    );
  };
  const message = (on: Page) => on.locator('#message').textContent();
  const waitForMessage = (on: Page, text: string) => on.waitForSelector(`#message:has-text("${text}")`);
  /** Advances the clock until the page updates itself. */
  const later = (on: Page) => on.clock.fastForward(POLL_INTERVAL + 500);
  const triggerUpdate = (on: Page) => on.evaluate(() => void window.dispatchEvent(new Event('online')));

  test('one browser logs the other out, which then shows why and asks for a login', async () => {
    await start();
    await logIn(page);
    expect(await devices(page, 1)).toMatchObject([{ isThis: true }]);
    await logIn(other, { remember: false });
    expect(await devices(other, 2)).toMatchObject([
      { name: 'Firefox 128 on Windows', isThis: true },
      { isThis: false },
    ]);
    expect(await page.locator('#list li').count()).toBe(1);
    await later(page);
    expect(await devices(page, 2)).toMatchObject([{ isThis: true }, { name: 'Firefox 128 on Windows', isThis: false }]);

    await page.click('button[aria-label="Log out Firefox 128 on Windows"]');
    expect(await page.textContent('#question')).toBe('Log out Firefox 128 on Windows?');
    await page.click('dialog button[value=no]');
    expect(await devices(page, 2)).toHaveLength(2);
    await page.click('button[aria-label="Log out Firefox 128 on Windows"]');
    await page.click('dialog button[value=yes]');
    await devices(page, 1);
    expect(await message(page)).toBe('Firefox 128 on Windows has been logged out.');
    expect(await page.isVisible('#end-others')).toBe(false);

    expect(await other.isVisible('#devices')).toBe(true);
    await later(other);
    await other.waitForSelector('#login:not([hidden])');
    expect(await message(other)).toBe(ENDED);
    expect(await other.locator('#list li').count()).toBe(0);
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
    await page.click('#end-others');
    await page.click('dialog button[value=yes]');
    expect(await devices(page, 1)).toMatchObject([{ isThis: true }]);
    expect(await message(page)).toBe('One other device has been logged out.');
    await triggerUpdate(other);
    await waitForMessage(other, ENDED);

    await page.click('#log-out');
    await waitForMessage(page, "You're logged out.");
    await page.reload();
    await page.waitForSelector('#login:not([hidden])');
    expect(await page.context().cookies()).toEqual([]);
  });

  test('explains why a login failed, and clears the message after the next one', async () => {
    const policies = { LONG: { refreshTokenLifetime: '30d', maxActiveSessions: 1, whenFull: 'refuse' } };
    await start({ policies });
    await logIn(page, { password: 'wrong' });
    await waitForMessage(page, 'Wrong user name or password.');
    expect(await page.isVisible('#remember-choice')).toBe(false);
    await page.fill('#password', PASSWORD);
    await page.keyboard.press('Enter');
    await devices(page, 1);
    await logIn(other);
    await waitForMessage(other, "You've reached the maximum number of devices.");
    await page.click('#log-out');
    await waitForMessage(page, "You're logged out.");
  });

  test('says that the browser rejected the cookies, and sends no password over plain HTTP', async () => {
    await start({ cookies: { domain: 'example.com' } });
    await logIn(page);
    await waitForMessage(page, 'Your browser rejected the cookies of this page');
    await page.goto(`http://page.test:${new URL(app.url).port}/`);
    log = [];
    await logIn(page);
    await waitForMessage(page, "You can't log in over plain HTTP.");
    expect(log.filter((line) => line.startsWith('POST'))).toEqual([]);
  });

  test('says when to retry after too many attempts', async () => {
    await start({}, { THROTTLE: 'on' });
    const body = { username: 'alice', password: 'x', session: 'LONG', secret_key: 'demo-secret-key' };
    await Promise.all(Array.from({ length: 60 }, () => app.post('/api/session/login/', body)));
    await logIn(page);
    await waitForMessage(page, 'Too many attempts. Try again in');
    expect(await message(page)).toMatch(/ in [1-9]\d* seconds\.$/);
  });

  test('works with the keyboard alone', async () => {
    await start();
    await logIn(other);
    await devices(other, 1);
    await page.waitForSelector('#login:not([hidden])');
    const focused = () =>
      page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.id);
    const isRinged = () =>
      page.evaluate(() => getComputedStyle(document.activeElement as Element).outlineStyle !== 'none');
    expect(await focused()).toBe('username');
    await page.keyboard.type('alice');
    // An update keeps what the user has typed.
    await triggerUpdate(page);
    await page.keyboard.press('Tab');
    await page.keyboard.type(PASSWORD);
    await triggerUpdate(page);
    expect(await isRinged()).toBe(true);
    await page.keyboard.press('Enter');
    await devices(page, 2);
    await page.keyboard.press('Tab');
    expect([await focused(), await isRinged()]).toEqual(['log-out', true]);
    await page.keyboard.press('Tab');
    expect([await focused(), await isRinged()]).toEqual(['Log out Firefox 128 on Windows', true]);
    await triggerUpdate(page);
    await page.waitForTimeout(300);
    expect(await focused()).toBe('Log out Firefox 128 on Windows');
    await page.keyboard.press('Enter');
    await page.waitForSelector('dialog[open]');
    await page.keyboard.press('Escape');
    expect(await focused()).toBe('Log out Firefox 128 on Windows');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await devices(page, 1);
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('log-out');
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
    await page.waitForFunction(() => document.querySelector('#message')?.textContent === '');
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
    const asked = log.slice(before).filter((line) => line.includes('/api/session/'));
    const url = (method: string, route: string) => `${method} ${app.url}/api/session/${route}`;
    expect(asked.filter((line) => /^(GET|POST)/.test(line)).slice(0, 3)).toEqual([
      url('GET', 'sessions'),
      url('POST', 'refresh/'),
      url('GET', 'sessions'),
    ]);
    expect(await message(page)).toBe('');
  });

  test('shows a device name with HTML as text, and exposes no secret', async () => {
    await start();
    const evil = '<img src=x onerror=alert(1)><b>phone</b>';
    const body = { username: 'alice', password: PASSWORD, session: 'LONG', secret_key: 'demo-secret-key' };
    const { body: issued } = await app.post('/api/session/login/', body, { 'x-device-model': evil });
    await logIn(page);
    expect(await devices(page, 2)).toMatchObject([{}, { name: evil }]);
    expect(await page.locator('#list b, #list img').count()).toBe(0);
    const seen = [
      ...log,
      await page.evaluate(
        () => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage }) + location.href,
      ),
      await page.evaluate(() => document.documentElement.outerHTML),
    ].join('\n');
    const cookies = await page.context().cookies();
    expect(cookies).toHaveLength(2);
    for (const secret of [PASSWORD, 'demo-secret-key', issued.access, ...cookies.map(({ value }) => value)]) {
      expect(seen).not.toContain(secret);
    }
    expect(cookies.every(({ httpOnly, secure }) => httpOnly && secure)).toBe(true);
    const { headers } = await fetch(`${app.url}/`);
    expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'/);
  });

  test.each(['light', 'dark'] as const)('is readable at a width of 360 pixels, in %s', async (colorScheme) => {
    await start();
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 360, height: 640 });
    await logIn(page, { password: 'wrong' });
    await waitForMessage(page, 'Wrong user name');
    const fits = () => page.evaluate(() => (document.scrollingElement as Element).scrollWidth <= 360);
    expect([await fits(), await faint(page)]).toEqual([true, []]);
    const long = 'x'.repeat(200);
    const body = { username: 'alice', password: PASSWORD, session: 'LONG', secret_key: 'demo-secret-key' };
    await app.post('/api/session/login/', body, { 'x-device-model': long });
    await page.fill('#password', PASSWORD);
    await page.keyboard.press('Enter');
    await devices(page, 2);
    expect([await fits(), await faint(page)]).toEqual([true, []]);
    await page.click('.end:visible');
    await page.waitForSelector('dialog[open]');
    expect([await fits(), await faint(page)]).toEqual([true, []]);
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    expect(background).toBe(colorScheme === 'dark' ? 'rgb(17, 18, 20)' : 'rgb(246, 247, 249)');
    await page.click('dialog button[value=no]');
    await page.emulateMedia({ colorScheme: null });
  });
});

/** Returns the visible texts whose contrast with their background is below 4.5 (WCAG 2.2, 1.4.3). */
function faint(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const channels = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = (color: string) => {
      const [red, green, blue] = channels(color).map((channel) => {
        const part = channel / 255;
        return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (element: Element | null): string => {
      const color = element ? getComputedStyle(element).backgroundColor : 'rgb(255, 255, 255)';
      return channels(color)[3] === 0 ? behind((element as Element).parentElement) : color;
    };
    return [...document.querySelectorAll('h1, h2 span, p, label, button, input')]
      .filter((element) => (element as HTMLElement).checkVisibility() && (element.textContent || 'value' in element))
      .filter((element) => {
        const pair = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => b - a);
        return (pair[0] + 0.05) / (pair[1] + 0.05) < 4.5;
      })
      .map((element) => element.outerHTML);
  });
}
