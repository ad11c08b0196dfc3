/// <reference lib="dom" />
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import type { BrowserContext, Page } from 'playwright-core';
import { codeBlocks, ROOT } from '../docs/documents.js';
import { launchBrowser } from '../helpers/browser.js';
import { bundle, servePage } from '../helpers/bundle.js';
import { devices, logIn, PASSWORD } from '../helpers/devices-page.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';

jest.setTimeout(120_000);

const blocks = codeBlocks(['client/README.md']);
const guide = codeBlocks(['docs/front-end.md']);

function blockThatBegins(start: string): string {
  const found = blocks.filter(({ text }) => text.startsWith(start));
  if (found.length !== 1) throw new Error(`${found.length} blocks of client/README.md begin with ${start}`);
  return found[0].text;
}

/** Bundles a block of the README. Its first line is a comment with the name of the file. */
function bundleBlock(file: string, before = ''): Promise<string> {
  const contents = before + blockThatBegins(`// ${file}\n`);
  return bundle({ stdin: { contents, loader: 'tsx', resolveDir: ROOT, sourcefile: file } });
}

let app: SampleApp;
let browser: BrowserContext;
let page: Page;
let errors: string[];

beforeAll(async () => {
  app = await startSampleApp({ THROTTLE: 'off' });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await app?.stop();
});
beforeEach(async () => {
  errors = [];
  page = await browser.newPage();
  page.on('pageerror', ({ message }) => errors.push(message));
  page.on('dialog', (dialog) => void dialog.accept(PASSWORD));
});
afterEach(async () => {
  expect(errors).toEqual([]);
  await page.evaluate(() => localStorage.clear());
  await page.close();
  await browser.clearCookies();
});

const open = async (body: string, script: string) => {
  await servePage(page, body, () => script);
  await page.goto(`${app.url}/app/`);
};

test('the application with React logs in, lists the devices and logs out', async () => {
  await open('<div id="root"></div>', await bundleBlock('react/main.tsx'));
  await page.fill('[name=username]', 'alice');
  await page.fill('[name=password]', 'not her password');
  await page.keyboard.press('Enter');
  await page.locator('p', { hasText: /\w/ }).waitFor();
  await page.fill('[name=password]', PASSWORD);
  await page.keyboard.press('Enter');
  await page.locator('li').waitFor();
  await page.click('text=Log out here');
  await page.locator('p', { hasText: /\w/ }).waitFor();
});

test('the application with Vue logs in, lists the devices and logs out', async () => {
  await open('<div id="app"></div>', await bundleBlock('vue/main.ts'));
  await page.click('text=Log in');
  await page.locator('li').waitFor();
  await page.click('text=Log out');
  await page.locator('text=Log in').waitFor();
});

test('the application with Angular logs in and sends a request of the user', async () => {
  await open('<app-root></app-root>', await bundleBlock('angular/main.ts', "import '@angular/compiler';\n"));
  await page.click('text=Log in');
  await page.locator('p', { hasText: 'authenticated user 1' }).waitFor();
});

test('the page with elements logs in and lists the devices, in its own colors', async () => {
  const texts = guide.map(({ text }) => text);
  expect(texts).toContain(blockThatBegins('<session-login'));
  expect(texts).toContain(blockThatBegins('// elements/main.ts\n').replace('main.ts', 'page.ts'));
  const style = `<style>${blockThatBegins('session-login,')}</style>`;
  await open(style + blockThatBegins('<session-login'), await bundleBlock('elements/main.ts'));
  const button = page.locator('session-login button.primary');
  expect(await button.evaluate((element) => getComputedStyle(element).backgroundColor)).toBe('rgb(122, 31, 162)');
  await logIn(page);
  await devices(page, 1);
  const shadow = await page.locator('session-devices li').evaluate((element) => getComputedStyle(element).boxShadow);
  expect(shadow).toContain('rgba(0, 0, 0, 0.2)');
});

test("the page's own texts replace those of the elements", async () => {
  await open(blockThatBegins('<session-login'), await bundleBlock('elements/texts.ts'));
  await page.locator('button', { hasText: 'Sign in' }).waitFor();
  expect(await page.locator('session-login label').first().textContent()).toBe('Email');
});
