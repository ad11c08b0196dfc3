/**
 * Pages that use the tarball of the client. Each is built, served together with the sample application, and opened in Chromium,
 * where a user logs in:
 *
 * | application      | pages                                                                                           |
 * | ---------------- | ----------------------------------------------------------------------------------------------- |
 * | `client-pages`   | Vite with React (types checked) and with Vue, webpack, and `<script type="module">` without any |
 * | `client-angular` | the Angular CLI, compiled ahead of time                                                         |
 */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { mustSucceed, report, run } from './report.mjs';
import { serveWithApplication } from './serve.mjs';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const CLIENT = 'nestjs-multisession-client';
const NPM_INSTALL = ['install', '--no-package-lock', '--no-audit', '--no-fund'];
/** In milliseconds. A busy machine is slow, which is no failure. */
const PATIENCE = 60_000;

export const CLIENT_APPLICATIONS = {
  async 'client-pages'(name, directory, _tarball, { client }) {
    if (!(await install(name, directory, client))) return;
    await mustSucceed(`${name}: TypeScript 6`, directory, 'node_modules/.bin/tsc', ['-p', '.']);
    const built = (page) => join(directory, 'built', page);
    const builders = {
      react: ['node_modules/vite/bin/vite.js', 'build', 'react', ...viteOptions(directory, built('react'))],
      vue: ['node_modules/vite/bin/vite.js', 'build', 'vue', ...viteOptions(directory, built('vue'))],
      webpack: ['webpack/build.mjs', built('webpack')],
    };
    for (const [page, args] of Object.entries(builders))
      await mustSucceed(`${name}: ${page} is built`, directory, process.execPath, args);
    mkdirSync(built('webpack'), { recursive: true });
    cpSync(join(directory, 'webpack/index.html'), join(built('webpack'), 'index.html'));
    cpSync(join(directory, 'plain'), built('plain'), { recursive: true });
    cpSync(join(directory, 'node_modules', CLIENT, 'dist'), join(built('plain'), 'client'), { recursive: true });
    await logInOn(name, join(directory, 'built'), [...Object.keys(builders), 'plain']);
  },

  async 'client-angular'(name, directory, _tarball, { client }) {
    if (!(await install(name, directory, client))) return;
    const ng = ['node_modules/@angular/cli/bin/ng.js', 'build'];
    const environment = { NG_CLI_ANALYTICS: 'false' };
    const { succeeded, all } = await run(directory, process.execPath, ng, environment);
    const warning = /warning/i.test(all) ? all : undefined;
    report(`${name}: the Angular CLI builds it, without a warning`, succeeded ? warning : all);
    if (succeeded) await logInOn(name, directory, ['built']);
  },
};

const viteOptions = (directory, folder) => [
  '--config',
  join(directory, 'vite.config.mjs'),
  '--outDir',
  folder,
  '--emptyOutDir',
  '--logLevel',
  'warn',
];

/** Copies the application, makes the tarball one of its dependencies, and installs them. */
async function install(name, directory, tarball) {
  cpSync(join(FIXTURES, name), directory, { recursive: true });
  const path = join(directory, 'package.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  manifest.dependencies[CLIENT] = `file:${tarball}`;
  writeFileSync(path, JSON.stringify(manifest));
  return mustSucceed(`${name}: npm install`, directory, 'npm', NPM_INSTALL);
}

/** Opens each page in Chromium, logs in, and reads a route behind the guard. */
async function logInOn(name, folder, pages) {
  if (!existsSync(CHROMIUM)) {
    report(`${name}: Chromium`, `none at ${CHROMIUM}: install Debian's package chromium, or set CHROMIUM to its path`);
    return;
  }
  const server = await serveWithApplication(folder);
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    for (const page of pages)
      report(`${name}: a user logs in on the page "${page}"`, await logIn(browser, server, page));
  } finally {
    await browser.close();
    await server.close();
  }
}

/** @returns what went wrong, if anything */
async function logIn(browser, { url }, name) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  const shows = (selector, text) => page.locator(selector, { hasText: text }).waitFor({ timeout: PATIENCE });
  try {
    await page.goto(`${url}/${name}/`);
    await shows('#status', /^anonymous$/);
    await page.locator('button').click();
    await shows('#user', '{"user_id":1}');
    await shows('#status', /^authenticated$/);
    await page.reload();
    await shows('#status', /^authenticated$/);
  } catch (error) {
    errors.push(String(error), await page.content());
  } finally {
    await context.close();
  }
  return errors.length > 0 ? errors.join('\n') : undefined;
}
