/// <reference lib="dom" />
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SessionService } from 'nestjs-multisession';
import { BROWSERS, selectedBrowsers, type TestBrowser } from '../helpers/browsers/index.js';
import { ClientTab } from '../helpers/client-pages.js';
import { ClientSite } from '../helpers/client-site.js';

/** A busy machine is slow, which is no failure. */
jest.setTimeout(180_000);

describe.each(selectedBrowsers())('a session that is bound to a key in %s', (name) => {
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

  const open = () => ClientTab.open(browser, site.url, { transport: 'body', dpop: true });
  const read = async (tab: ClientTab) => (await tab.act('read')).result as { status: number };

  test('works in all tabs, after a reload, and with a clock that is wrong', async () => {
    const tabs = [await open()];
    const { state } = await tabs[0].act('login', 'BOUND');
    const { sessionId = '' } = state as { sessionId?: string };
    expect(await site.app.get(SessionService).get(sessionId)).toMatchObject({ bound: true });
    tabs.push(await open());
    await tabs[0].reload();
    for (const tab of tabs) {
      expect(await read(tab)).toMatchObject({ status: 200 });
      expect(await tab.act('refresh')).toMatchObject({ state: { status: 'authenticated' } });
      expect(await read(tab)).toMatchObject({ status: 200 });
    }
    const late = await ClientTab.open(browser, site.url, { transport: 'body', dpop: true, wrongBy: 86_400_000 });
    expect(await read(late)).toMatchObject({ status: 200 });
  });

  test('its tokens are worthless without the key, which no script can read', async () => {
    const tab = await open();
    await tab.act('login', 'BOUND');
    const stolen = Object.values((await tab.act('stored')).result as Record<string, string>);
    const record = JSON.parse(stolen.find((value) => value.includes('"refresh"')) ?? '{}') as {
      access: string;
      refresh: string;
    };
    const { app } = site;
    const headers = { authorization: `Bearer ${record.access}` };
    expect(await app.request('GET', '/notes', { headers })).toMatchObject({ status: 401 });
    expect(await app.post('refresh/', { refresh: record.refresh })).toMatchObject({
      body: { code: 'device_proof_required' },
    });
    expect(await read(tab)).toMatchObject({ status: 200 });
  });
});
