import { createServer } from 'node:https';
import type { Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { startApp, type TestApp } from '../helpers/app.js';
import { portOf, selfSigned } from '../helpers/browser.js';
import { BROWSERS, selectedBrowsers, type TestBrowser } from '../helpers/browsers/index.js';
import { ClientTab, servePages } from '../helpers/client-pages.js';
import { PagesController } from '../helpers/pages.js';
import { rowsOf } from '../helpers/rows.js';

/** A busy machine is slow, which is no failure. */
jest.setTimeout(180_000);

describe.each(selectedBrowsers())('the client in %s, on a page of another site than the server', (name) => {
  const https = selfSigned();
  let pages: Server;
  let app: TestApp;
  let browser: TestBrowser | undefined;

  beforeEach(async () => {
    pages = createServer(https, (request, response) => void (servePages(request, response) || response.destroy()));
    await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve));
    app = await startApp({
      https,
      controllers: [PagesController],
      options: { secretKey: false, cookies: { sameSite: 'none', origins: [page()] } },
      configure: (nest) => nest.enableCors({ origin: page(), credentials: true }),
    });
  });
  afterEach(async () => {
    await browser?.close();
    browser = undefined;
    pages.close();
    pages.closeAllConnections();
    (app.app.getHttpServer() as Server).closeAllConnections();
    await app.close();
  });

  // These are two sites, because neither is a subdomain of the other.
  const page = () => `https://localhost:${portOf(pages)}`;
  const api = () => `https://127.0.0.1:${new URL(app.url).port}/api/session`;
  const open = async (thirdPartyCookies: boolean, transport: 'cookie' | 'body') => {
    browser = await BROWSERS[name]({ thirdPartyCookies });
    return ClientTab.open(browser, page(), { transport, api: api() });
  };

  test('logs in with cookies if the browser allows those of third parties', async () => {
    const tab = await open(true, 'cookie');
    expect(await tab.act('login', 'LONG')).toMatchObject({ state: { status: 'authenticated' } });
    expect(await tab.act('read')).toMatchObject({ result: { status: 200 } });
    expect((await tab.act('refresh')).error).toBeUndefined();
    await tab.reload();
    expect(await tab.state()).toMatchObject({ status: 'authenticated' });
  });

  test('says so if the browser blocks cookies of third parties', async () => {
    const tab = await open(false, 'cookie');
    for (let attempt = 0; attempt < 2; attempt++)
      expect(await tab.act('login', 'LONG')).toMatchObject({ error: 'not_kept', state: { status: 'anonymous' } });
    await tab.reload();
    expect(await tab.state()).toEqual({ status: 'anonymous' });
  });

  test('needs no cookies if the tokens are in the body', async () => {
    const tab = await open(false, 'body');
    expect(await tab.act('login', 'LONG')).toMatchObject({ state: { status: 'authenticated' } });
    expect(await tab.act('read')).toMatchObject({ result: { status: 200 } });
    await tab.reload();
    expect(await tab.act('refresh')).toMatchObject({ state: { status: 'authenticated' } });
    expect((await rowsOf(app)).sessions).toHaveLength(1);
  });
});
