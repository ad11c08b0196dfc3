import { launchChromium } from './chromium.js';
import { launchFirefox } from './firefox.js';
import type { LaunchOptions, TestBrowser } from './types.js';
import { launchWebKit } from './webkit.js';

export type { LaunchOptions, TestBrowser, TestPage } from './types.js';

/** The browsers of Debian, by the name of their engine. */
export const BROWSERS = { Chromium: launchChromium, Firefox: launchFirefox, WebKit: launchWebKit } satisfies Record<
  string,
  (options: LaunchOptions) => Promise<TestBrowser>
>;

export type BrowserName = keyof typeof BROWSERS;

/**
 * The browsers that `TEST_BROWSERS` names, separated by commas. Default: all.
 * @throws if a name is unknown, so that a typing error skips no tests
 */
export function selectedBrowsers(): BrowserName[] {
  const all = Object.keys(BROWSERS) as BrowserName[];
  const names = process.env.TEST_BROWSERS?.split(',') ?? all;
  for (const name of names)
    if (!all.includes(name as BrowserName))
      throw new Error(`TEST_BROWSERS names "${name}", which is unknown. Use ${all.join(', ')}.`);
  return names as BrowserName[];
}
