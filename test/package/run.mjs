/**
 * Installs the packed tarballs in real applications and uses them there: `npm run test:package [-- library client]`. Packs
 * tarballs if none are given. It is not part of `npm test`, because it needs the npm registry. The client's applications need
 * Chromium and the built sample application: `npm run build && npm run build:client && npm run build:app`.
 *
 * Set `TEST_APPLICATIONS` to try only some, for example `TEST_APPLICATIONS=nest12-pnp,nest12-bundled`.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { APPLICATIONS as OF_THE_LIBRARY } from './applications.mjs';
import { CLIENT_APPLICATIONS } from './pages.mjs';
import { mustSucceed, report, total } from './report.mjs';
import { checkFiles, checkSize } from './tarball.mjs';
import { installTools } from './tools.mjs';

const ROOT = resolve(import.meta.dirname, '../..');
const PARALLEL = 2;
const APPLICATIONS = { ...CLIENT_APPLICATIONS, ...OF_THE_LIBRARY };

const workplace = mkdtempSync(join(tmpdir(), 'multisession-package-'));
try {
  const tarball = await tarballOf(process.argv[2], 'library');
  const client = tarball && (await tarballOf(process.argv[3], 'client', ['--workspace', 'client']));
  const tools = client && (await installTools(join(workplace, 'tools')));
  if (tools) {
    await mustSucceed('the tarball can be unpacked', workplace, 'tar', ['-xzf', tarball]);
    checkSize(tarball);
    checkFiles(join(workplace, 'package'));
    const names = process.env.TEST_APPLICATIONS?.split(',') ?? Object.keys(APPLICATIONS);
    const waiting = names.map((name) => [name, APPLICATIONS[name]]);
    await Promise.all(Array.from({ length: PARALLEL }, () => tryAll(waiting, tarball, { ...tools, client })));
  }
} finally {
  rmSync(workplace, { recursive: true, force: true });
}
const { passed, failed } = total();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function tarballOf(given, title, options = []) {
  if (given) return resolve(given);
  const folder = join(workplace, title);
  mkdirSync(folder);
  const args = ['pack', '--silent', '--pack-destination', folder, ...options];
  if (!(await mustSucceed(`npm pack of the ${title}`, ROOT, 'npm', args))) return undefined;
  return join(folder, readdirSync(folder)[0]);
}

/** Tries applications, one after the other, until none is waiting. */
async function tryAll(waiting, tarball, tools) {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const [name, check] = next;
    const started = performance.now();
    try {
      await check(name, join(workplace, name), tarball, tools);
    } catch (error) {
      report(name, String(error?.stack ?? error));
    }
    console.log(`      ${name}: ${Math.round((performance.now() - started) / 1000)} s`);
  }
}
