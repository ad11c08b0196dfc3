/// <reference lib="dom" />
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { BrowserContext, Page } from 'playwright-core';
import { codeBlocks } from '../docs/documents.js';
import { launchBrowser } from '../helpers/browser.js';
import { bundle, servePage } from '../helpers/bundle.js';
import { FIREFOX } from '../helpers/devices-page.js';
import {
  GETTING_STARTED,
  makeApplicationFolder,
  type QuickStart,
  startApplication,
  writeApplication,
} from '../helpers/quick-start.js';

let folder: string;
let application: QuickStart;
let browsers: BrowserContext[] = [];
let script: string;
const errors: string[] = [];

beforeAll(async () => {
  folder = makeApplicationFolder();
  writeApplication(folder, GETTING_STARTED);
  for (const file of ['main.tsx', 'App.tsx']) writeFileSync(join(folder, file), blockOf(`// web/src/${file}\n`));
  script = await bundle({ entryPoints: [join(folder, 'main.tsx')] });
  application = await startApplication(folder);
  browsers = [await launchBrowser(), await launchBrowser({ userAgent: FIREFOX })];
});
afterAll(async () => {
  for (const browser of browsers) await browser.close();
  await application?.stop();
  rmSync(folder, { recursive: true });
});

test('the page of getting started shows two devices, and one logs the other out', async () => {
  const first = await openPage(browsers[0]);
  await logIn(first, 'analytical engine');
  await first.locator('li', { hasText: 'this device' }).waitFor();

  const second = await openPage(browsers[1]);
  await logIn(second, 'difference engine');
  await second.locator('[role=alert]', { hasText: /\w/ }).waitFor();
  await logIn(second, 'analytical engine');
  await second.locator('li').nth(1).waitFor();

  await first.reload();
  const other = first.locator('li', { hasText: 'Firefox on Windows' });
  await other.locator('button', { hasText: 'Log out' }).click();
  await other.waitFor({ state: 'detached' });
  expect(await first.locator('li').allTextContents()).toEqual([expect.stringContaining('this device')]);

  await second.reload();
  await second.locator('form').waitFor();
  expect(errors).toEqual([]);
});

/** Opens the page on the origin of the application, as Vite's proxy does. */
async function openPage(browser: BrowserContext): Promise<Page> {
  const page = await browser.newPage();
  page.on('pageerror', ({ message }) => errors.push(message));
  await servePage(page, '<div id="root"></div>', () => script);
  await page.goto(`${application.url}/app/`);
  return page;
}

async function logIn(page: Page, password: string): Promise<void> {
  await page.fill('[name=username]', 'ada');
  await page.fill('[name=password]', password);
  await page.click('form button');
}

function blockOf(start: string): string {
  const found = codeBlocks([GETTING_STARTED]).filter(({ text }) => text.startsWith(start));
  if (found.length !== 1) throw new Error(`${found.length} blocks of ${GETTING_STARTED} begin with ${start}`);
  return found[0].text;
}
