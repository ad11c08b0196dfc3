/// <reference lib="dom" />
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import {
  DailyCounts,
  EventAdministration,
  JwtAuthGuard,
  ManagedKeys,
  SessionService,
  type UserId,
} from 'nestjs-multisession';
import type { BrowserContext, Page } from 'playwright-core';
import { DataSource } from 'typeorm';
import { SessionAdminActionEntity } from '../../lib/session/session-admin-action.entity.js';
import { ADAPTERS, startApp, type TestApp, TestUsers } from '../helpers/app.js';
import { launchBrowser } from '../helpers/browser.js';
import {
  faultsIn,
  focused,
  logIn,
  message,
  objections,
  openDevicesPage,
  overflow,
  waitForMessage,
} from '../helpers/devices-page.js';
import { type Inbox, startInbox } from '../helpers/event-inbox.js';
import { until } from '../helpers/until.js';
import { startSampleApp } from '../helpers/sample-app.js';
import { variants } from '../helpers/size.js';

jest.setTimeout(120_000);

@Injectable()
class OnlyAlice implements CanActivate {
  canActivate(context: ExecutionContext) {
    return context.switchToHttp().getRequest<{ user?: { userId: string } }>().user?.userId === 'alice';
  }
}

/** Users whose names are not their ids. */
@Injectable()
class NamedUsers extends TestUsers {
  override describeUsers(userIds: readonly UserId[]) {
    return Promise.resolve(new Map(userIds.map((id) => [id, `Name of ${id}`])));
  }
  override searchUsers(name: string, limit: number) {
    const ids = ['alice', 'bob', ...Array.from({ length: 30 }, (_, at) => `many ${at}`)];
    return Promise.resolve(ids.filter((id) => `Name of ${id}`.includes(name)).slice(0, limit));
  }
}

const SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
const POLICIES = { LONG: { refreshTokenLifetime: '30d' }, SHORT: { refreshTokenLifetime: '1d' } } as const;
const OPTIONS = { policies: POLICIES, admin: { guard: [JwtAuthGuard, OnlyAlice] }, cookies: true };
const CLIENT = join(import.meta.dirname, '../../client/dist');
const STYLE = join(import.meta.dirname, '../../sample-app/src/public/page.css');
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'";
const PAGE = (lang: string) => `<!doctype html>
  <html lang="${lang}">
    <head>
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <meta name="color-scheme" content="light dark" />
      <title>Administration</title>
      <link rel="stylesheet" href="/page/page.css" />
      <script type="module" src="/page/main.js"></script>
    </head>
    <body>
      <main>
        <session-login session-type="LONG"></session-login>
        <session-admin session-types="LONG SHORT"></session-admin>
      </main>
    </body>
  </html>`;
const SCRIPT = `
  import { createSessionClient } from '/page/client/index.js';
  import { defineSessionElements } from '/page/client/elements/index.js';
  defineSessionElements(createSessionClient({ url: '/api/session', transport: 'cookie' }));
`;

/** Serves the page from the origin of the session routes. */
async function servePage(page: Page, lang: string): Promise<void> {
  await page.route('**/page/**', (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === '/page/') {
      const headers = { 'content-security-policy': POLICY };
      return route.fulfill({ contentType: 'text/html; charset=utf-8', headers, body: PAGE(lang) });
    }
    if (pathname === '/page/page.css') return route.fulfill({ path: STYLE });
    const body =
      pathname === '/page/main.js' ? SCRIPT : readFileSync(CLIENT + pathname.slice('/page/client'.length), 'utf8');
    return route.fulfill({ contentType: 'text/javascript', body });
  });
}

describe.each(variants(ADAPTERS, 0))('<session-admin>, %s', (adapter) => {
  let app: TestApp;
  let browser: BrowserContext;
  let page: Page;
  let log: string[];

  beforeAll(async () => {
    app = await startApp({ adapter, options: OPTIONS });
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    (app?.app.getHttpServer() as Server | undefined)?.closeAllConnections();
    await app?.close();
  });

  const open = async (lang = 'en') => {
    ({ page, log } = await openDevicesPage(browser));
    await servePage(page, lang);
    await page.goto(`${app.url}/page/`);
  };
  const make = async (userId: string, count: number, type = 'LONG') => {
    for (let at = 0; at < count; at++) await app.get(SessionService).create(userId, { type });
  };
  const sessionsOf = async (userId: string) =>
    (await app.get(SessionService).list(userId)).flatMap(({ sessions }) => sessions.map(({ id }) => id));
  const rows = (count: number) =>
    page.waitForFunction(
      (wanted) => document.querySelector('session-admin')?.shadowRoot?.querySelectorAll('li').length === wanted,
      count,
    );
  const search = async (filter: { user?: string; type?: string }) => {
    await page.fill('#user', filter.user ?? '');
    await page.selectOption('#type', filter.type ?? '');
    await page.press('#user', 'Enter');
  };
  const confirm = async (question: string) => {
    await page.waitForSelector('dialog[open]');
    expect(await page.textContent('#question')).toBe(question);
    await page.click('dialog button[value=yes]');
  };

  beforeEach(async () => {
    for (const user of ['alice', 'bob', 'carol']) await app.get(SessionService).destroyAll(user);
  });
  afterEach(async () => {
    expect(faultsIn(log)).toEqual([]);
    await page.evaluate(() => localStorage.clear());
    await page.close();
    await browser.clearCookies();
  });

  test('finds sessions by user, type and login, page by page', async () => {
    await make('bob', 60);
    await make('carol', 2, 'SHORT');
    await open();
    await logIn(page, { password: 'alice-password' });
    await rows(50);
    const more = page.locator('button:visible', { hasText: 'Show more' });
    await more.click();
    await rows(63);
    expect(await more.count()).toBe(0);
    await search({ user: 'bob' });
    await rows(50);
    await search({ type: 'SHORT' });
    await rows(2);
    expect(await page.locator('li .badge').allTextContents()).toEqual(['carol', 'carol']);
    await page.locator('.summary').first().click();
    expect(await page.locator('dd:visible').first().textContent()).toBe('carol');
    await page.fill('#since', '2999-01-01');
    await search({});
    await waitForMessage(page, 'No active sessions found.');
  });

  test('ends the selected sessions, or all of a user, after a confirmation', async () => {
    await make('bob', 3);
    await make('carol', 2);
    await open();
    await logIn(page, { password: 'alice-password' });
    await rows(6);
    await search({ user: 'bob' });
    await rows(3);
    expect(await page.isVisible('text=End 2 sessions')).toBe(false);
    await page.locator('li input').nth(0).check();
    await page.locator('li input').nth(1).check();
    // One of them ends in the meantime.
    const [newest] = (await sessionsOf('bob')).sort().reverse();
    await app.get(SessionService).destroy(newest);
    await page.click('text=End 2 sessions');
    await page.click('dialog button[value=no]');
    await rows(3);
    await page.click('text=End 2 sessions');
    await confirm('End these 2 sessions?');
    await rows(1);
    await waitForMessage(page, '2 sessions have been ended.');

    await search({ user: 'carol' });
    await rows(2);
    await page.click('text=End all sessions of user carol');
    await confirm('End all sessions of user carol?');
    await waitForMessage(page, '2 sessions have been ended.');
    expect(await sessionsOf('carol')).toEqual([]);
    await search({});
    await rows(2);
    await page.check('text=Select all shown');
    await page.locator('text=End 2 sessions').waitFor();
  });

  test('says at the row which session could not be ended', async () => {
    await make('bob', 2);
    await open();
    await logIn(page, { password: 'alice-password' });
    await rows(3);
    await search({ user: 'bob' });
    await rows(2);
    await page.check('text=Select all shown');
    await page.route('**/admin/sessions/*', (route) => route.abort(), { times: 1 });
    await page.click('text=End 2 sessions');
    await confirm('End these 2 sessions?');
    await page.locator('li .error-text', { hasText: "Can't reach the server." }).waitFor();
    await waitForMessage(page, 'One session has been ended.');
    await rows(1);
  });

  test('says that a user is no administrator', async () => {
    await open();
    await logIn(page, { username: 'bob', password: 'bob-password' });
    await waitForMessage(page, "You aren't allowed to do this.");
    expect(await page.locator('session-admin li').count()).toBe(0);
  });

  test.each(['light', 'dark'] as const)(
    'is accessible and fits into 320 pixels, in German, in %s',
    async (colorScheme) => {
      await make('bob', 2);
      await open('de');
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize({ width: 320, height: 640 });
      await logIn(page, { password: 'alice-password' });
      await rows(3);
      const isFine = async () => expect([await objections(page), await overflow(page)]).toEqual([[], 0]);
      await isFine();
      await search({ user: 'bob' });
      await rows(2);
      await page.check('text=Alle angezeigten auswählen');
      await page.locator('.summary').first().click();
      await isFine();
      await page.click('text=2 Sitzungen beenden');
      await page.waitForSelector('dialog[open]');
      await isFine();
      await confirm('Diese 2 Sitzungen beenden?');
      await waitForMessage(page, '2 Sitzungen wurden beendet.');
      expect(await message(page)).toBe('2 Sitzungen wurden beendet.');
    },
  );
});

describe('<session-admin> with names, events and managed keys', () => {
  let app: TestApp;
  let inbox: Inbox;
  let browser: BrowserContext;
  let page: Page;
  let log: string[];

  beforeAll(async () => {
    inbox = await startInbox();
    const webhook = { name: 'audit', url: inbox.url, secrets: SECRET, allowPrivateNetwork: true };
    app = await startApp({
      options: {
        ...OPTIONS,
        authenticator: { useClass: NamedUsers },
        jwt: { managed: { encryptionKey: 'an encryption key of more than thirty-two bytes' } },
        events: { retention: '30d', webhooks: [webhook] },
      },
    });
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    (app?.app.getHttpServer() as Server | undefined)?.closeAllConnections();
    await app?.close();
    await inbox?.close();
  });
  beforeEach(() => {
    inbox.status = 204;
  });
  afterEach(async () => {
    expect(faultsIn(log)).toEqual([]);
    await page.evaluate(() => localStorage.clear());
    await page.close();
    await browser.clearCookies();
    for (const user of ['alice', 'bob']) await app.get(SessionService).destroyAll(user);
  });

  const open = async (lang = 'en') => {
    ({ page, log } = await openDevicesPage(browser));
    await servePage(page, lang);
    await page.goto(`${app.url}/page/`);
    await logIn(page, { password: 'alice-password' });
  };
  const section = (title: string) => page.locator('details.section', { hasText: title });
  /** Opens a section with the keyboard. */
  const openSection = async (title: string) => {
    const summary = section(title).locator('summary').first();
    await summary.waitFor();
    await summary.press('Enter');
    await section(title).locator('.panel > *').first().waitFor();
  };
  /** Whether all events have been delivered. */
  const isIdle = async () => {
    const { undistributed, destinations } = await app.get(EventAdministration).status();
    return undistributed === 0 && destinations.every(({ waiting }) => waiting === 0);
  };
  const badges = () => page.locator('li .bar .badge').allTextContents();

  test('finds sessions by the name of a user, by address and by device', async () => {
    const service = app.get(SessionService);
    const client = { ipAddress: '203.0.113.7', deviceName: 'Pixel 9', userAgent: 'app/1.0' };
    await service.create('bob', { type: 'LONG', client });
    await open();
    const sessions = page.locator('li .bar');
    await sessions.nth(1).waitFor();
    expect((await badges()).sort()).toEqual(['Name of alice', 'Name of bob']);
    const found = async (field: string, text: string) => {
      await page.fill(field, text);
      await page.press(field, 'Enter');
      await sessions.nth(1).waitFor({ state: 'detached' });
      await sessions.waitFor();
      const shown = await badges();
      await page.fill(field, '');
      await page.press(field, 'Enter');
      await sessions.nth(1).waitFor();
      return shown;
    };
    expect(await found('#user-name', 'of bob')).toEqual(['Name of bob']);
    expect(await found('#address', '203.0.113.')).toEqual(['Name of bob']);
    expect(await found('#device', 'pixel')).toEqual(['Name of bob']);
    await page.fill('#user-name', 'many');
    await page.press('#user-name', 'Enter');
    await waitForMessage(page, 'More than 20 users have this name. Give more of it.');
  });

  test('shows who ended which session of a user, with the keyboard', async () => {
    const service = app.get(SessionService);
    const { session } = await service.create('bob', { type: 'LONG' });
    await service.destroy(session.id, { reason: 'admin' });
    const other = await service.create('bob', { type: 'LONG' });
    await service.destroy(other.session.id, { reason: 'admin', by: 'alice' });
    await service.create('bob', { type: 'SHORT' });
    await open();
    await page.fill('#user', 'bob');
    await page.press('#user', 'Enter');
    const history = page.getByRole('button', { name: 'History of user bob', exact: true });
    await history.press('Enter');
    await page.locator('.event').first().waitFor();
    expect(await focused(page)).toEqual(['history', false]);
    const told = await page.locator('.event').allTextContents();
    expect(told.filter((text) => text.includes('by an administrator · administrator · LONG'))).toHaveLength(1);
    expect(told.filter((text) => text.includes('by an administrator (Name of alice) · administrator'))).toHaveLength(1);
    expect(told.at(-1)).toMatch(/^Login.*by the user · LONG/);
    expect(await objections(page)).toEqual([]);
    await page.getByRole('button', { name: 'Close' }).press('Enter');
    expect(await focused(page)).toEqual(['History of user bob', true]);
    await page.locator('li .summary').click();
    await page.getByRole('button', { name: 'History of user Name of bob' }).press('Enter');
    await page.locator('.event').first().waitFor();
    expect(await page.locator('#history').textContent()).toBe('History of user Name of bob');
  });

  test('shows statistics as a chart and as a table, with the keyboard', async () => {
    await app.get(SessionService).create('bob', { type: 'SHORT' });
    await app.get(DailyCounts).flush();
    await open();
    await openSection('Statistics');
    const chart = page.getByRole('img', { name: /^Bar chart of logins and ended sessions in the last 30 days/ });
    await chart.waitFor();
    expect(await chart.locator('rect').count()).toBe(60);
    const { days } = await app.get(DailyCounts).statistics();
    await section('Statistics').locator('.as-table > summary').press('Enter');
    expect(await page.locator('tbody tr').count()).toBe(days.length);
    expect(await page.locator('tbody td').first().textContent()).toMatch(/SHORT \d/);
    expect(await objections(page)).toEqual([]);
  });

  test('shows what administrators did, page by page, with the keyboard', async () => {
    const service = app.get(SessionService);
    await app.get(DataSource).manager.clear(SessionAdminActionEntity);
    await open();
    await openSection('What administrators did');
    expect(await section('What administrators did').textContent()).toContain('not done anything yet.');
    await section('What administrators did').locator('summary').press('Enter');
    for (let at = 0; at < 51; at++) await service.destroyAll('bob', { reason: 'admin', by: `number ${at}` });
    const { session } = await service.create('bob', { type: 'LONG' });
    await service.destroy(session.id, { reason: 'admin', by: 'alice' });
    await app.get(EventAdministration).replay('webhook:audit', { eventId: session.id });
    await openSection('What administrators did');
    const told = section('What administrators did').locator('.event');
    expect(await told.count()).toBe(50);
    const [replayed, ended, endedOfUser] = await told.allTextContents();
    expect(replayed).toMatch(/^Delivered events again.* · by an administrator · webhook:audit$/);
    expect(ended).toMatch(
      /^Ended a session.* · by an administrator \(Name of alice\) · of user Name of bob · LONG · 1 ended$/,
    );
    expect(endedOfUser).toMatch(
      /^Ended the sessions of a user.*\(Name of number 50\) · of user Name of bob · 0 ended$/,
    );
    expect(await objections(page)).toEqual([]);
    const more = section('What administrators did').getByRole('button', { name: 'Show more' });
    await more.press('Enter');
    await told.nth(52).waitFor();
    expect(await told.count()).toBe(53);
    expect(await more.count()).toBe(0);
    expect(await focused(page)).toEqual(['What administrators did', true]);
  });

  test('shows dead letters and delivers one again, with the keyboard', async () => {
    await until(isIdle);
    inbox.status = 400;
    await app.get(SessionService).create('bob', { type: 'LONG' });
    const { manager } = app.get(DataSource);
    // A destination tries ten times, which takes days.
    await until(async () => (await manager.query('SELECT 1 FROM session_delivery WHERE attempts > 0')).length > 0);
    await manager.query(`UPDATE session_delivery SET attempts = 10, failed_at = ${Date.now()}, error = 'answered 400'`);
    inbox.status = 204;
    await open();
    await openSection('Event deliveries');
    await page.getByRole('button', { name: 'Show dead letters' }).press('Enter');
    const again = page.getByRole('button', { name: /^Deliver again: session\.created/ });
    await again.waitFor();
    expect(await page.locator('.letter').textContent()).toMatch(/answered 400/);
    expect(await objections(page)).toEqual([]);
    inbox.received.length = 0;
    await again.press('Enter');
    await waitForMessage(page, 'The event will be delivered again.');
    await until(() => inbox.received.some(({ body }) => body.type === 'session.created'));
    expect(await page.locator('.letter').count()).toBe(0);
  });

  test('shows the signing keys, and fits into 320 pixels with everything open, in German', async () => {
    await app.get(ManagedKeys).rotate();
    await app.get(DailyCounts).flush();
    await open('de');
    await page.setViewportSize({ width: 320, height: 640 });
    await openSection('Signaturschlüssel');
    expect(await section('Signaturschlüssel').locator('dd').first().textContent()).toBe('Signiert');
    expect(await section('Signaturschlüssel').textContent()).toContain('Signiert demnächst');
    await openSection('Statistik');
    await page.locator('.as-table > summary').press('Enter');
    await openSection('Zustellung von Ereignissen');
    await openSection('Aktionen der Administration');
    await page.locator('li .summary').first().press('Enter');
    await page.getByRole('button', { name: 'Verlauf von Benutzer Name of alice' }).press('Enter');
    await page.locator('.event').first().waitFor();
    expect([await objections(page), await overflow(page)]).toEqual([[], 0]);
  });
});

test('the sample application serves the page to its administrators', async () => {
  const app = await startSampleApp({ ADMINS: 'alice', THROTTLE: 'off', SESSION_SECRET_KEY: '' });
  const browser = await launchBrowser();
  try {
    const { page, log } = await openDevicesPage(browser);
    await page.goto(`${app.url}/admin`);
    await logIn(page);
    await page.locator('.badge', { hasText: 'alice' }).waitFor();
    await page.fill('#user-name', 'ALI');
    await page.press('#user-name', 'Enter');
    await page.locator('.badge', { hasText: 'alice' }).waitFor();
    expect([await objections(page), faultsIn(log)]).toEqual([[], []]);
  } finally {
    await browser.close();
    await app.stop();
  }
});
