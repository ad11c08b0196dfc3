import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { until } from '../helpers/browser.js';
import { type BrowserName, BROWSERS, selectedBrowsers, type TestBrowser } from '../helpers/browsers/index.js';
import { ClientTab, type Outcome, type PageOptions } from '../helpers/client-pages.js';
import { ClientSite } from '../helpers/client-site.js';
import { SMALL, variants } from '../helpers/size.js';

const HOUR = 3_600_000;

/** A busy machine is slow, which is no failure. */
jest.setTimeout(180_000);

/** In a small run, only Chromium tests both, and without what helps the client. */
const transportsIn = (name: BrowserName) => {
  const transports = ['cookie', 'body'] as const;
  return name === 'Chromium' ? transports : variants(transports, name === 'WebKit' ? 0 : 1);
};

describe.each(selectedBrowsers())('the client in %s', (name) => {
  let browser: TestBrowser;
  let site: ClientSite;

  beforeAll(async () => {
    site = await ClientSite.start();
    browser = await BROWSERS[name]({ thirdPartyCookies: false });
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  describe.each(transportsIn(name))('with tokens in the %s', (transport) => {
    let tabs: ClientTab[] = [];

    beforeEach(async () => {
      const fresh = await browser.open(`${site.url}/fresh`);
      await fresh.close();
      site.forget();
    });
    afterEach(async () => {
      await site.restore();
      for (const tab of tabs) await tab.close();
      tabs = [];
      // A user of the next test must not see the sessions of this one.
      await (await site.otherDevice()).endOthers();
    });

    const open = async (more: Partial<PageOptions> = {}) => {
      const tab = await ClientTab.open(browser, site.url, { transport, ...more });
      tabs.push(tab);
      return tab;
    };
    /** Opens tabs, logs in from the first one, and returns the id of the session once all of them have it. */
    const logIn = async (count: number, session = 'LONG', more: Partial<PageOptions> = {}) => {
      const first = await open(more);
      expect(await first.act('login', session)).toMatchObject({ state: { status: 'authenticated', type: session } });
      while (tabs.length < count) await open(more);
      site.forget();
      return sessionOf();
    };
    /** The session of all tabs. */
    const sessionOf = async (): Promise<string> => {
      const ids: unknown[] = [];
      for (const tab of tabs) ids.push(await tab.state());
      const [first] = ids as { sessionId: string }[];
      expect(ids).toEqual(
        tabs.map(() => expect.objectContaining({ status: 'authenticated', sessionId: first.sessionId })),
      );
      return first.sessionId;
    };
    /** Checks that every tab has the session, also in the eyes of the server. */
    const expectGoesOn = async (id: string) => {
      for (const tab of tabs) {
        const { result, error } = await tab.act('read');
        expect({ error, ...result }).toEqual({ status: 200, text: '{"userId":"alice"}' });
      }
      expect(await sessionOf()).toBe(id);
    };
    const expectEnded = async (reason: string) => {
      for (const tab of tabs) expect(await tab.reaches('ended')).toMatchObject({ reason });
    };
    const startAll = async (action: string) => {
      const started: Awaited<ReturnType<ClientTab['start']>>[] = [];
      for (const tab of tabs) started.push(await tab.start(action));
      return async () => {
        const outcomes: Outcome[] = [];
        for (const each of started) outcomes.push(await each.outcome());
        return outcomes;
      };
    };

    /** How many tabs are many. A page of Firefox or WebKit costs more time. */
    const many = SMALL && name !== 'Chromium' ? 3 : 8;
    const surroundings: [string, Partial<PageOptions>][] = [
      ['', {}],
      [' without Web Locks, BroadcastChannel and storage events', { bare: true }],
    ];
    describe.each(name === 'Chromium' ? surroundings : variants(surroundings, 0))('%s', (_, more) => {
      test('tabs that refresh at once send one refresh', async () => {
        const id = await logIn(many, 'LONG', more);
        site.forget();
        const release = site.hold();
        const outcomes = await startAll('refresh');
        await until(() => site.refreshes.length > 0 || undefined, 60);
        release();
        expect((await outcomes()).map(({ error }) => error)).toEqual(tabs.map(() => undefined));
        expect(site.refreshes.map(({ status }) => status)).toEqual([200]);
        await expectGoesOn(id);
      });

      test('tabs whose access token has expired go on', async () => {
        const id = await logIn(many, 'MOMENT', more);
        await expectGoesOn(id);
        await site.accessExpires();
        const outcomes = await startAll('read');
        expect((await outcomes()).map(({ result }) => result?.status)).toEqual(tabs.map(() => 200));
        // Without locks, a tab that is too slow loses its turn to another one while the server still answers.
        if (!('bare' in more)) expect(site.refreshesAtOnce).toBe(1);
        expect(site.refreshes.map(({ status }) => status)).not.toContain(401);
        await expectGoesOn(id);
      });

      test('a logout in one tab ends the session in all', async () => {
        const id = await logIn(3, 'LONG', more);
        const other = await site.otherDevice();
        expect(await other.sessions()).toContain(id);
        expect(await tabs[1].act('logout')).toMatchObject({ state: { status: 'ended', reason: 'logout' } });
        // Without news from other tabs, a tab finds out when the user comes back to it.
        if ('bare' in more) for (const tab of tabs) await tab.comeBack();
        await expectEnded('logout');
        expect(await other.sessions()).not.toContain(id);
        const { result } = await tabs[2].act('read');
        expect(result.status).toBe(401);
        await tabs[0].reload();
        expect(await tabs[0].state()).toEqual({ status: 'anonymous' });
      });
    });

    test('a page that is left as soon as its session has ended still ends it on the server', async () => {
      const id = await logIn(1);
      const other = await site.otherDevice();
      expect(await other.sessions()).toContain(id);
      let hasLeft = (): void => undefined;
      site.logoutsWaitFor = new Promise<void>((resolve) => (hasLeft = resolve));
      await tabs[0].start('leave');
      await tabs[0].leaves();
      hasLeft();
      await until(async () => ((await other.sessions()).includes(id) ? undefined : true), 60);
    });

    test('goes offline and back', async () => {
      const id = await logIn(3, 'MOMENT');
      await expectGoesOn(id);
      await site.goOffline();
      for (const tab of tabs) {
        expect(await tab.act('read')).toMatchObject({ error: expect.any(String), state: { status: 'authenticated' } });
        expect(await tab.act('refresh')).toMatchObject({ error: 'unreachable', state: { sessionId: id } });
      }
      await site.accessExpires();
      site.forget();
      await site.goOnline();
      // A visible tab refreshes without being asked.
      await until(() => site.refreshes.some(({ status }) => status === 200) || undefined, 60);
      await expectGoesOn(id);
    });

    test('is suspended for longer than an access token lives', async () => {
      const id = await logIn(3, 'MOMENT');
      await expectGoesOn(id);
      const thaw = browser.freeze();
      try {
        await site.accessExpires();
      } finally {
        thaw();
      }
      await expectGoesOn(id);
      expect(site.refreshes.map(({ status }) => status)).not.toContain(401);
    });

    test('is suspended during a refresh, for longer than an access token lives', async () => {
      const id = await logIn(3, 'BRIEF');
      await expectGoesOn(id);
      const release = site.hold();
      const refresh = await tabs[0].start('refresh');
      await until(() => site.refreshes.at(-1)?.status || undefined, 60);
      const thaw = browser.freeze();
      try {
        release();
        await site.accessExpires();
      } finally {
        thaw();
      }
      expect((await refresh.outcome()).state).toMatchObject({ status: 'authenticated', sessionId: id });
      await expectGoesOn(id);
      expect(site.refreshes.map(({ status }) => status)).not.toContain(401);
    });

    test('shows in all tabs that another device has ended the session', async () => {
      const id = await logIn(3);
      const other = await site.otherDevice();
      expect((await other.end(id)).status).toBe(204);
      expect(await tabs[1].act('refresh')).toMatchObject({ error: expect.any(String), state: { reason: 'revoked' } });
      await expectEnded('revoked');
      expect(await tabs[0].act('login', 'LONG')).toMatchObject({ state: { status: 'authenticated' } });
      for (const tab of tabs) await tab.reaches('authenticated');
    });

    test('goes on after a restart of the server', async () => {
      const id = await logIn(3, 'MOMENT');
      await expectGoesOn(id);
      await site.stopApp();
      for (const tab of tabs) {
        expect((await tab.act('refresh')).error).toEqual(expect.any(String));
        expect(await tab.state()).toMatchObject({ status: 'authenticated', sessionId: id });
      }
      await site.startApp();
      await expectGoesOn(id);
      expect((await tabs[2].act('refresh')).error).toBeUndefined();
      await expectGoesOn(id);
    });

    test.each([HOUR, -HOUR])('does not mind a clock that is wrong by %i ms', async (wrongBy) => {
      const id = await logIn(3, 'LONG', { wrongBy });
      site.forget();
      await expectGoesOn(id);
      await expectGoesOn(id);
      expect(site.refreshes).toEqual([]);
      expect((await tabs[1].act('refresh')).error).toBeUndefined();
      await expectGoesOn(id);
      expect(site.refreshes).toHaveLength(1);
    });

    test('goes on if the clock is set, first an hour ahead and then back', async () => {
      const id = await logIn(3);
      for (const wrongBy of [HOUR, 0]) {
        site.forget();
        for (const tab of tabs) await tab.setClock(wrongBy);
        await expectGoesOn(id);
        // A device that slept looks the same, so one refresh is right.
        expect(site.refreshes.length).toBeLessThanOrEqual(1);
      }
    });

    test('goes on in open tabs if the storage is cleared', async () => {
      const id = await logIn(3);
      await tabs[0].clearStorage();
      expect((await tabs[1].act('refresh')).error).toBeUndefined();
      await expectGoesOn(id);
      await tabs[2].reload();
      await expectGoesOn(id);
    });

    test('after the storage was cleared, a new page has the session only if it is in cookies', async () => {
      const id = await logIn(2);
      await tabs[0].clearStorage();
      await tabs.pop()?.close();
      await tabs[0].clearStorage();
      await tabs[0].reload();
      if (transport === 'cookie') return expectGoesOn(id);
      expect(await tabs[0].state()).toEqual({ status: 'anonymous' });
      expect(await tabs[0].act('login', 'LONG')).toMatchObject({ state: { status: 'authenticated' } });
    });

    test('keeps tokens where they belong', async () => {
      await logIn(1);
      expect((await tabs[0].act('read')).result.status).toBe(200);
      const { credentials } = site.passed.at(-1) as (typeof site.passed)[number];
      expect(Object.keys(credentials)).toEqual([transport === 'cookie' ? 'cookie' : 'authorization']);
      expect(/eyJ/.test(await tabs[0].stored())).toBe(transport === 'body');
    });
  });
});
