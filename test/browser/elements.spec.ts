/// <reference lib="dom" />
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { BrowserContext, Page } from 'playwright-core';
import { launchBrowser } from '../helpers/browser.js';
import {
  devices,
  endAllSessions,
  faultsIn,
  FIREFOX,
  focused,
  logIn,
  logInElsewhere,
  message,
  objections,
  openDevicesPage,
  overflow,
  triggerUpdate,
  waitForLogin,
  waitForMessage,
} from '../helpers/devices-page.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';

jest.setTimeout(120_000);

let app: SampleApp;
beforeAll(async () => void (app = await startSampleApp({ THROTTLE: 'off' })));
afterAll(() => app?.stop());

describe.each([
  ['English', 'en-US'],
  ['German', 'de-DE'],
])('the elements in %s', (_, locale) => {
  let browser: BrowserContext;
  let page: Page;
  let log: string[];

  beforeAll(async () => void (browser = await launchBrowser({ locale })));
  afterAll(() => browser?.close());
  beforeEach(async () => {
    ({ page, log } = await openDevicesPage(browser));
    await page.goto(`${app.url}/`);
    await page.waitForSelector('#username');
  });
  afterEach(async () => {
    expect(faultsIn(log)).toEqual([]);
    // Chromium exits with its last page, so keep the first one open.
    for (const each of browser.pages().slice(1)) {
      await each.evaluate(() => localStorage.clear());
      await each.close();
    }
    await browser.clearCookies();
    await endAllSessions(app);
  });

  test.each(['light', 'dark'] as const)('every state is accessible and fits into 320 pixels, in %s', async (scheme) => {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await page.setViewportSize({ width: 320, height: 640 });
    const isFine = async () => expect([await objections(page), await overflow(page)]).toEqual([[], 0]);
    await isFine();
    await page.press('#password', 'Enter');
    await page.locator('#password-error:not(:empty)').waitFor();
    await isFine();
    await logIn(page, { password: 'wrong' });
    await page.locator('.message.error:visible').waitFor();
    await isFine();

    await logInElsewhere(app, { 'user-agent': FIREFOX });
    await logInElsewhere(app, { 'user-agent': FIREFOX });
    await logInElsewhere(app, { 'x-device-model': 'x'.repeat(200) });
    await logIn(page);
    await devices(page, 3);
    await isFine();
    const heights = await page.locator('session-devices li').evaluateAll((rows) => rows.map((row) => row.clientHeight));
    expect(Math.max(...heights)).toBeLessThan(90);
    for (const row of await page.locator('.summary').all()) await row.click();
    await isFine();
    await page.locator('.end:visible').first().click();
    await page.waitForSelector('dialog[open]');
    await isFine();
    await page.click('dialog button[value=no]');
    const background = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    expect(background).toBe(scheme === 'dark' ? 'rgb(17, 18, 20)' : 'rgb(246, 247, 249)');
  });

  test('a device has one row, with the exact times, address and type of each of its sessions', async () => {
    for (let i = 0; i < 3; i++) await logInElsewhere(app, { 'user-agent': FIREFOX });
    await logInElsewhere(app, { 'user-agent': FIREFOX, 'x-device-model': 'Pixel 9' });
    await logIn(page);
    const isEnglish = locale === 'en-US';
    const name = isEnglish ? 'Firefox 128 on Windows' : 'Firefox 128 unter Windows';
    const names = (await devices(page, 3)).map((device) => device.name);
    expect(names.slice(1).sort()).toEqual([name, 'Pixel 9']);
    const row = page.locator('session-devices li', { hasText: isEnglish ? 'sessions' : 'Sitzungen' });
    expect(await row.locator('.bar .badge').textContent()).toBe(isEnglish ? '3 sessions' : '3 Sitzungen');
    expect(await row.locator('dl:visible').count()).toBe(0);
    await row.locator('.summary').click();
    const facts = await row
      .locator('dl')
      .first()
      .evaluate((list) =>
        Object.fromEntries(
          [...list.querySelectorAll('dt')].map((term) => [term.textContent, term.nextElementSibling?.textContent]),
        ),
      );
    const time = isEnglish ? /^\w{3} \d+, \d{4}, \d+:\d\d:\d\d [AP]M/ : /^\d\d\.\d\d\.\d{4}, \d\d:\d\d:\d\d/;
    const terms = isEnglish
      ? { in: 'Logged in', used: 'Last used', expiry: 'Expires', address: 'Address', browser: 'Browser', type: 'Type' }
      : {
          in: 'Angemeldet',
          used: 'Zuletzt benutzt',
          expiry: 'Läuft ab',
          address: 'Adresse',
          browser: 'Browser',
          type: 'Typ',
        };
    expect(facts).toEqual({
      [terms.in]: expect.stringMatching(time),
      [terms.used]: expect.stringMatching(time),
      [terms.expiry]: expect.stringMatching(isEnglish ? /\(in \d+ days\)$/ : /\(in \d+ Tagen\)$/),
      [terms.address]: expect.stringMatching(/^(::ffff:)?127\.0\.0\.1$/),
      [terms.browser]: name,
      [terms.type]: 'LONG',
    });

    await row.locator('.session .end').first().click();
    await page.click('dialog button[value=yes]');
    await row.locator('.bar .badge', { hasText: '2 ' }).waitFor();
    await row.locator('.panel > .end').click();
    await page.click('dialog button[value=yes]');
    await devices(page, 2);
    expect(await message(page)).toBe(isEnglish ? `${name} has been logged out.` : `${name} wurde abgemeldet.`);
  });

  test('an ending elsewhere and a logout say so in every tab', async () => {
    await logIn(page);
    await devices(page, 1);
    const tabs = [page];
    for (let i = 0; i < 2; i++) {
      const { page: tab } = await openDevicesPage(browser);
      await tab.goto(`${app.url}/`);
      await devices(tab, 1);
      tabs.push(tab);
    }
    const isEnglish = locale === 'en-US';
    const elsewhere = { authorization: `Bearer ${await logInElsewhere(app)}` };
    await fetch(`${app.url}/api/session/sessions`, { method: 'DELETE', headers: elsewhere });
    await triggerUpdate(tabs[1]);
    const ended = isEnglish ? "You've been logged out. Log in again" : 'Sie wurden abgemeldet.';
    for (const tab of tabs) await waitForLogin(tab, ended);

    await logIn(tabs[2]);
    for (const tab of tabs) await devices(tab, 2);
    await page.click('#log-out');
    for (const tab of tabs) await waitForLogin(tab, isEnglish ? "You're logged out." : 'Sie sind abgemeldet.');

    await logIn(page);
    await devices(page, 2);
    // The limit of the session type is lower.
    for (let count = 0; count < 6; count++) await logInElsewhere(app);
    await triggerUpdate(page);
    await waitForLogin(page, isEnglish ? 'too many devices' : 'zu vielen Geräten');
  });
});

describe('the elements', () => {
  let browser: BrowserContext;
  let page: Page;

  beforeAll(async () => void (browser = await launchBrowser()));
  afterAll(() => browser?.close());
  beforeEach(async () => {
    ({ page } = await openDevicesPage(browser));
    await page.goto(`${app.url}/`);
    await page.waitForSelector('#username');
  });
  afterEach(async () => {
    await page.evaluate(() => localStorage.clear());
    await page.close();
    await browser.clearCookies();
    await endAllSessions(app);
  });

  test('an error appears at the device that could not be logged out', async () => {
    await logInElsewhere(app, { 'user-agent': FIREFOX });
    await logIn(page);
    await devices(page, 2);
    await page.route('**/sessions/*', (route) => route.abort());
    await page.click('.quick:visible');
    await page.click('dialog button[value=yes]');
    await page.locator('li:nth-child(2) > .error-text', { hasText: "Can't reach the server." }).waitFor();
    expect(await message(page)).toBe('');
    await page.unroute('**/sessions/*');
    await page.click('.quick:visible');
    await page.click('dialog button[value=yes]');
    await devices(page, 1);
    await waitForMessage(page, 'Firefox 128 on Windows has been logged out.');
  });

  test("a page's own texts, colors and slots replace those of the elements", async () => {
    await page.evaluate(async () => {
      const [{ defineSessionElements }, { createSessionClient }] = await Promise.all(
        ['/client/elements/index.js', '/client/index.js'].map((path) => import(path)),
      );
      const client = createSessionClient({ url: '/api/session', transport: 'cookie' });
      defineSessionElements(client, { texts: { en: { logIn: 'Sign in' }, fr: { password: 'Mot de passe' } } });
      const login = document.querySelector('session-login') as HTMLElement;
      const heading = Object.assign(document.createElement('h1'), { textContent: 'Welcome', slot: 'heading' });
      login.append(heading);
      document.documentElement.style.setProperty('--session-accent', 'rgb(1, 2, 3)');
      login.replaceWith(login);
      const french = document.createElement('session-login');
      french.lang = 'fr';
      document.body.append(login, french);
    });
    const [english, french] = [page.locator('session-login').first(), page.locator('session-login').last()];
    expect(await english.locator('button.primary').textContent()).toBe('Sign in');
    expect(await english.locator('h1:visible').allTextContents()).toEqual(['Welcome']);
    const color = (button: Element) => getComputedStyle(button).backgroundColor;
    expect(await english.locator('button.primary').evaluate(color)).toBe('rgb(1, 2, 3)');
    expect(await french.locator('label').allTextContents()).toEqual(['User name', 'Mot de passe']);
    expect(await french.locator('#remember').count()).toBe(0);
    await french.evaluate((element) => element.setAttribute('lang', 'de'));
    expect(await french.locator('label').first().textContent()).toBe('Benutzername');
  });

  test('the focus goes to the part of the page that appears, and not when the page opens', async () => {
    await logIn(page);
    await devices(page, 1);
    expect(
      await page.evaluate(() => document.querySelector('session-devices')?.shadowRoot?.activeElement?.tagName),
    ).toBe('H1');
    await page.click('#log-out');
    await page.waitForSelector('#username');
    expect((await focused(page))[0]).toBe('username');
    await logIn(page);
    await devices(page, 1);
    await page.reload();
    await devices(page, 1);
    expect(await page.evaluate(() => document.activeElement === document.body)).toBe(true);
  });

  test('the page names the user of the demonstration only if its password is public', async () => {
    expect(await page.textContent('.demo')).toBe('Demo user: alice. The terminal shows the password.');
    const users = JSON.stringify([{ username: 'dora', password: 'a chosen password', active: true }]);
    const own = await startSampleApp({ DEMO_USERS: users });
    await page.goto(`${own.url}/`);
    await page.waitForSelector('#username');
    expect(await page.textContent('.demo')).toBe('');
    await own.stop();
  });
});
