import type { Page } from 'playwright-core';
import { launchBrowser } from '../browser.js';
import type { LaunchOptions, TestBrowser, TestPage } from './types.js';
import { descendants, freeze } from './processes.js';

/** Launches Chromium, driven by Playwright. */
export async function launchChromium({ thirdPartyCookies }: LaunchOptions): Promise<TestBrowser> {
  const context = await launchBrowser({ thirdPartyCookies });
  return {
    async open(url) {
      const page = await context.newPage();
      await page.goto(url);
      return pageOf(page);
    },
    freeze: () => freeze(descendants().filter(({ args }) => args.join(' ').includes('--type=renderer'))),
    close: () => context.close(),
  };
}

function pageOf(page: Page): TestPage {
  return {
    goto: async (url) => void (await page.goto(url)),
    evaluate: (work, argument) => page.evaluate(work as never, argument) as never,
    show: () => page.bringToFront(),
    close: () => page.close(),
  };
}
