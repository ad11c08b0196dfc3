import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { BROWSERS, selectedBrowsers, type TestBrowser } from '../helpers/browsers/index.js';
import { ClientTab } from '../helpers/client-pages.js';
import { ClientSite } from '../helpers/client-site.js';

/** A busy machine is slow, which is no failure. */
jest.setTimeout(180_000);

describe.each(selectedBrowsers())('the storages of the client in %s', (name) => {
  let site: ClientSite;
  let browser: TestBrowser;

  beforeAll(async () => {
    site = await ClientSite.start();
  });
  afterAll(() => site.close());
  beforeEach(async () => {
    browser = await BROWSERS[name]({ thirdPartyCookies: true });
  });
  afterEach(() => browser.close());

  const open = (storage: 'indexedDB' | 'tab', bare = false) =>
    ClientTab.open(browser, site.url, { transport: 'body', storage, bare });

  test('IndexedDB has the session for all tabs and after a reload, until a logout', async () => {
    const tabs = [await open('indexedDB')];
    expect((await tabs[0].act('login', 'LONG')).state).toMatchObject({ status: 'authenticated' });
    tabs.push(await open('indexedDB'));
    await tabs[0].reload();
    for (const tab of tabs) {
      expect(await tab.state()).toMatchObject({ status: 'authenticated' });
      expect((await tab.act('read')).result).toMatchObject({ status: 200 });
    }
    await tabs[1].act('logout');
    expect(await tabs[0].reaches('ended')).toMatchObject({ reason: 'logout' });
    await tabs[0].reload();
    expect((await tabs[0].state()).status).not.toBe('authenticated');
  });

  test('the steps of IndexedDB are single ones: tabs without Web Locks refresh one at a time', async () => {
    const tabs = [await open('indexedDB', true)];
    await tabs[0].act('login', 'LONG');
    for (let more = 0; more < 3; more++) tabs.push(await open('indexedDB', true));
    site.refreshesAtOnce = 0;
    const started = await Promise.all(tabs.map((tab) => tab.start('refresh')));
    const outcomes = await Promise.all(started.map((action) => action.outcome()));
    for (const { state, error } of outcomes) expect([state.status, error]).toEqual(['authenticated', undefined]);
    expect(site.refreshesAtOnce).toBe(1);
  });

  test('sessionStorage has the session for one tab only, and after a reload', async () => {
    const tab = await open('tab');
    await tab.act('login', 'LONG');
    await tab.reload();
    expect((await tab.act('read')).result).toMatchObject({ status: 200 });
    const other = await open('tab');
    expect(await other.state()).toEqual({ status: 'anonymous' });
  });
});
