/**
 * `npm run pictures`: photographs the devices page of the built sample application in Chromium, for the README and the documents.
 * Build the application first: `npm run pretest`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const ROOT = join(import.meta.dirname, '..');
const FOLDER = join(ROOT, 'docs/pictures');
/** In bytes. */
const LIMIT = 60_000;
/** Around the list, in pixels. */
const MARGIN = 16;
const ALICE = { username: 'alice', password: 'alice-demo-password', session: 'LONG' };

/** Her other devices, the earliest first. */
const DEVICES = [
  {
    'x-forwarded-for': '203.0.113.7',
    'user-agent':
      'Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Mobile Safari/537.36',
    'x-device-model': 'Pixel 9',
  },
  {
    'x-forwarded-for': '198.51.100.23',
    'user-agent':
      'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
  },
  {
    'x-forwarded-for': '192.0.2.140',
    'user-agent': 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0',
  },
];

const app = spawn(process.execPath, ['dist-app/main.js'], {
  cwd: ROOT,
  env: { PATH: process.env.PATH, PORT: '0', TRUST_PROXY: '1' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});
try {
  const url = await addressOf(app);
  for (const headers of DEVICES) await logIn(url, headers);
  mkdirSync(FOLDER, { recursive: true });
  await photograph(url, join(FOLDER, 'devices.png'));
} finally {
  await browser.close();
  app.kill();
}

/** Resolves to the address that the application prints. */
async function addressOf(child) {
  let printed = '';
  child.stdout.on('data', (text) => (printed += text));
  for (;;) {
    const [, url] = /listens on (http:\S+),/.exec(printed) ?? [];
    if (url) return url;
    if (child.exitCode !== null) throw new Error(`the application did not start:\n${printed}`);
    await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  }
}

async function logIn(url, headers) {
  const response = await fetch(`${url}/api/session/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(ALICE),
  });
  if (!response.ok) throw new Error(`the login failed: ${response.status} ${await response.text()}`);
}

async function photograph(url, path) {
  const page = await browser.newPage({
    viewport: { width: 720, height: 900 },
    userAgent: 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36',
    extraHTTPHeaders: { 'x-forwarded-for': '203.0.113.50' },
    locale: 'en',
    colorScheme: 'light',
  });
  await page.goto(url);
  await page.fill('#username', ALICE.username);
  await page.fill('#password', ALICE.password);
  await page.press('#password', 'Enter');
  const list = page.locator('session-devices');
  await list.locator('li').nth(DEVICES.length).waitFor();
  const { x, y, width, height } = await list.boundingBox();
  const clip = { x: x - MARGIN, y: y - MARGIN, width: width + 2 * MARGIN, height: height + 2 * MARGIN };
  await page.screenshot({ path, clip, animations: 'disabled' });
  const { size } = statSync(path);
  if (size > LIMIT) throw new Error(`${path} has ${size} bytes, and must have at most ${LIMIT}`);
  console.log(`${path}: ${size} bytes`);
}
