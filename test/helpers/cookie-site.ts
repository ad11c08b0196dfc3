import type { Server } from 'node:http';
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals';
import { WsAdapter } from '@nestjs/platform-ws';
import type { BrowserContext, Page } from 'playwright-core';
import { type AdapterName, startApp, type TestApp, type TestAppOptions } from './app.js';
import { launchBrowser, portOf, type Seen, selfSigned, serveElsewhere, watch } from './browser.js';
import { cookieAnswer } from './cookies.js';
import { fetchFrom, NotesModule, PagesController } from './pages.js';

export const ALICE = { username: 'alice', password: 'alice-password', session: 'LONG' };
export const BOB = { username: 'bob', password: 'bob-password', session: 'LONG' };
/** The header that asks for tokens in cookies. */
export const ASKING = { 'x-session-transport': 'cookie' };

/**
 * Chromium, an application whose tokens are in cookies, and another server, whose pages can be those of a sibling or of another
 * site. Each test starts its own application.
 */
export class CookieSite {
  /** The application of this test. */
  app!: TestApp;
  context!: BrowserContext;
  /** The requests that the application has answered. */
  seen: Seen[] = [];
  /** Serves an empty page under each host. */
  elsewhere!: Server;
  readonly https = selfSigned();
  private scheme = 'https';

  private constructor(private readonly adapter: AdapterName) {}

  /** Opens the browser before the tests of the suite, closes it afterwards, and leaves nothing of a test to the next one. */
  static of(adapter: AdapterName): CookieSite {
    const site = new CookieSite(adapter);
    beforeAll(async () => {
      site.context = await launchBrowser();
      site.elsewhere = await serveElsewhere(site.https);
    });
    afterEach(() => site.clear());
    afterAll(async () => {
      await site.context?.close();
      site.elsewhere?.close();
    });
    return site;
  }

  private async clear(): Promise<void> {
    await this.context.clearCookies();
    // Chromium exits with its last page, so keep the first one open.
    for (const page of this.context.pages().slice(1)) await page.close();
    // Chromium keeps idle connections open, and the server would wait for them.
    (this.app?.app.getHttpServer() as Server | undefined)?.closeAllConnections();
    await this.app?.close();
  }

  private get server(): Server {
    return this.app.app.getHttpServer() as Server;
  }

  /**
   * Starts the application.
   * @param more.tls whether over HTTPS. Default: true
   */
  readonly start = async (
    cookies: NonNullable<TestAppOptions['options']>['cookies'],
    { tls = true, ...more }: TestAppOptions & { tls?: boolean } = {},
  ): Promise<void> => {
    this.app = await startApp({
      adapter: this.adapter,
      ...(tls && { https: this.https }),
      controllers: [PagesController],
      imports: [NotesModule],
      ...more,
      options: { cookies, secretKey: false, ...more.options },
      configure: (nest) => {
        more.configure?.(nest);
        nest.useWebSocketAdapter(new WsAdapter(nest));
      },
    });
    this.scheme = tls ? 'https' : 'http';
    this.seen = watch(this.server);
  };

  readonly urlOf = (host: string): string => `${this.scheme}://${host}:${portOf(this.server)}`;

  readonly open = async (url: string): Promise<Page> => {
    const page = await this.context.newPage();
    await page.goto(url);
    return page;
  };

  /** Opens a page of another origin, which can set cookies. */
  readonly openElsewhere = (host: string, ...cookies: string[]): Promise<Page> => {
    const query = cookies.map((cookie) => `set=${encodeURIComponent(cookie)}`).join('&');
    return this.open(`https://${host}:${portOf(this.elsewhere)}/?${query}`);
  };
}

/** Logs in from a page's script, and returns the session's id. */
export async function logIn(page: Page, { user = ALICE, api = '' }: { user?: object; api?: string } = {}) {
  const answer = await fetchFrom(page, { url: `${api}/api/session/login`, body: user, headers: ASKING });
  expect(answer).toEqual({ status: 200, body: cookieAnswer(expect.any(String)) });
  return answer.body.session_id as string;
}

export const refreshFrom = (page: Page, api = '') =>
  fetchFrom(page, { url: `${api}/api/session/refresh`, body: { session: 'LONG' }, headers: ASKING });

/** What a guarded route answers to the page. */
export const whoIs = async (page: Page, api = '') =>
  (await fetchFrom(page, { url: `${api}/notes`, method: 'GET' })).body;
