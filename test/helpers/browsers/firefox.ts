import puppeteer, { type Page } from 'puppeteer-core';
import type { LaunchOptions, TestBrowser, TestPage } from './types.js';
import { descendants, freeze, mustExist } from './processes.js';

const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';

/** The values of Firefox's setting `network.cookie.cookieBehavior`. */
const ACCEPT_ALL = 0;
const REJECT_THIRD_PARTY = 1;

/** Launches Firefox, driven by Puppeteer over WebDriver BiDi. */
export async function launchFirefox({ thirdPartyCookies }: LaunchOptions): Promise<TestBrowser> {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: mustExist(FIREFOX, 'Firefox', 'firefox-esr', 'FIREFOX'),
    headless: true,
    acceptInsecureCerts: true,
    // A busy machine is slow, which is no failure.
    timeout: 120_000,
    protocolTimeout: 120_000,
    extraPrefsFirefox: {
      'network.cookie.cookieBehavior': thirdPartyCookies ? ACCEPT_ALL : REJECT_THIRD_PARTY,
      // A page that is frozen on purpose is not ended.
      'dom.ipc.tabs.shutdownTimeoutSecs': 0,
      'dom.max_script_run_time': 0,
    },
  });
  return {
    async open(url) {
      const page = await browser.newPage();
      await page.goto(url);
      return pageOf(page);
    },
    // Firefox writes all arguments of such a process as one.
    freeze: () =>
      freeze(descendants().filter(({ args, name }) => / tab$/.test(args.join(' ').trim()) && name !== 'WebExtensions')),
    close: () => browser.close(),
  };
}

function pageOf(page: Page): TestPage {
  return {
    goto: async (url) => void (await page.goto(url)),
    evaluate: (work, argument) => page.evaluate(work as never, argument),
    show: () => page.bringToFront(),
    close: () => page.close(),
  };
}
