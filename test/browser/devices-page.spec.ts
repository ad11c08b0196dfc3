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
const ENDED = 'You have been logged out. Log in again to go on.';
/** The page brings itself up to date so often, in milliseconds. */
const POLL_INTERVAL = 10_000;

jest.setTimeout(60_000);

describe.each(ADAPTERS)('your devices, %s', (adapter) => {
  const folder = mkdtempSync(join(tmpdir(), 'devices-page-'));
  let browsers: BrowserContext[];
  let app: SampleApp;
  let environment: Record<string, string>;
  let [page, other]: Page[] = [];
  let told: string[];

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
    told = [];
    const open = async (browser: BrowserContext) => {
      const opened = await browser.newPage();
      await opened.clock.install();
      opened.on('console', (message) => told.push(message.text()));
      opened.on('pageerror', (error) => told.push(`uncaught: ${error.message}`));
      opened.on('request', (request) => told.push(`${request.method()} ${request.url()}`));
      return opened;
    };
    [page, other] = [await open(browsers[0]), await open(browsers[1])];
  });
  afterEach(async () => {
    expect(told.filter((line) => line.startsWith('uncaught') || line.includes('Content Security Policy'))).toEqual([]);
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
  const saying = (on: Page, text: string) => on.waitForSelector(`#message:has-text("${text}")`);
  /** Lets the page's own timer run. */
  const later = (on: Page) => on.clock.fastForward(POLL_INTERVAL + 500);
  const nudge = (on: Page) => on.evaluate(() => void window.dispatchEvent(new Event('online')));

  test('one browser logs the other out, which is asked to log in and told why', async () => {
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

  test('ends all others, and logs out', async () => {
    await start();
    await logIn(other);
    await devices(other, 1);
    await logIn(page);
    await devices(page, 2);
    await page.click('#end-others');
    await page.click('dialog button[value=yes]');
    expect(await devices(page, 1)).toMatchObject([{ isThis: true }]);
    expect(await message(page)).toBe('One other device has been logged out.');
    await nudge(other);
    await saying(other, ENDED);

    await page.click('#log-out');
    await saying(page, 'You are logged out.');
    await page.reload();
    await page.waitForSelector('#login:not([hidden])');
    expect(await page.context().cookies()).toEqual([]);
  });

  test('says in words why there is no login, and keeps nothing of it', async () => {
    const policies = { LONG: { refreshTokenLifetime: '30d', maxActiveSessions: 1, whenFull: 'refuse' } };
    await start({ policies });
    await logIn(page, { password: 'wrong' });
    await saying(page, 'The user name or the password is not right.');
    expect(await page.isVisible('#remember-choice')).toBe(false);
    await page.fill('#password', PASSWORD);
    await page.keyboard.press('Enter');
    await devices(page, 1);
    await logIn(other);
    await saying(other, 'You are logged in on as many devices as you may be.');
    await page.click('#log-out');
    await saying(page, 'You are logged out.');
  });

  test('says so where the browser keeps no cookies, and sends no password over plain http', async () => {
    await start({ cookies: { domain: 'example.com' } });
    await logIn(page);
    await saying(page, 'Your browser has not kept the session');
    await page.goto(`http://page.test:${new URL(app.url).port}/`);
    told = [];
    await logIn(page);
    await saying(page, 'You cannot log in over plain http.');
    expect(told.filter((line) => line.startsWith('POST'))).toEqual([]);
  });

  test('too many attempts', async () => {
    await start({}, { THROTTLE: 'on' });
    const body = { username: 'alice', password: 'x', session: 'LONG', secret_key: 'demo-secret-key' };
    await Promise.all(Array.from({ length: 60 }, () => app.post('/api/session/login/', body)));
    await logIn(page);
    await saying(page, 'Too many attempts. Try again in');
    expect(await message(page)).toMatch(/ in [1-9]\d* seconds\.$/);
  });

  test('works by the keyboard alone', async () => {
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
    // What has been typed stays.
    await nudge(page);
    await page.keyboard.press('Tab');
    await page.keyboard.type(PASSWORD);
    await nudge(page);
    expect(await isRinged()).toBe(true);
    await page.keyboard.press('Enter');
    await devices(page, 2);
    await page.keyboard.press('Tab');
    expect([await focused(), await isRinged()]).toEqual(['log-out', true]);
    await page.keyboard.press('Tab');
    expect([await focused(), await isRinged()]).toEqual(['Log out Firefox 128 on Windows', true]);
    await nudge(page);
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

  test('a server that is away is told in words, logs nobody out, and is found again', async () => {
    const database = join(folder, 'away.sqlite');
    await start({}, { DATABASE_URL: database });
    const port = new URL(app.url).port;
    await logIn(page);
    await devices(page, 1);
    await app.stop();
    await nudge(page);
    await saying(page, 'The server cannot be reached.');
    expect(await devices(page, 1)).toHaveLength(1);
    app = await startSampleApp({ ...environment, PORT: port });
    await later(page);
    await page.waitForFunction(() => document.querySelector('#message')?.textContent === '');
    expect(await devices(page, 1)).toHaveLength(1);
  });

  test('an access token that has expired is replaced, and nobody sees it', async () => {
    await start({ jwt: { accessTokenLifetime: '1s' } });
    await logIn(page);
    await devices(page, 1);
    await page.waitForTimeout(1200);
    const before = told.length;
    await page.reload();
    await devices(page, 1);
    const asked = told.slice(before).filter((line) => line.includes('/api/session/'));
    const url = (method: string, route: string) => `${method} ${app.url}/api/session/${route}`;
    expect(asked.filter((line) => /^(GET|POST)/.test(line)).slice(0, 3)).toEqual([
      url('GET', 'sessions'),
      url('POST', 'refresh/'),
      url('GET', 'sessions'),
    ]);
    expect(await message(page)).toBe('');
  });

  test('a device that calls itself HTML is a text, and no secret is where it could be seen', async () => {
    await start();
    const evil = '<img src=x onerror=alert(1)><b>phone</b>';
    const body = { username: 'alice', password: PASSWORD, session: 'LONG', secret_key: 'demo-secret-key' };
    const { body: issued } = await app.post('/api/session/login/', body, { 'x-device-model': evil });
    await logIn(page);
    expect(await devices(page, 2)).toMatchObject([{}, { name: evil }]);
    expect(await page.locator('#list b, #list img').count()).toBe(0);
    const seen = [
      ...told,
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

  test.each(['light', 'dark'] as const)('can be read at 360 pixels, in %s', async (colorScheme) => {
    await start();
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 360, height: 640 });
    await logIn(page, { password: 'wrong' });
    await saying(page, 'not right');
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

/** The visible texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3). */
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
