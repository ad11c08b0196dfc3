/**
 * The applications that use the tarball. Each combines a package manager, versions of Nest, TypeORM and TypeScript, a module
 * system, test runners and versions of Node:
 *
 * | application      | manager      | Nest, TypeORM  | TypeScript, module | and                                        |
 * | ---------------- | ------------ | -------------- | ------------------ | ------------------------------------------ |
 * | `nest11-oldest`  | npm          | 11.0.0, 0.3.20 | 5.7, CommonJS      | Jest without `esModuleInterop`; no Swagger |
 * | `nest12-pnpm`    | pnpm, strict | 12, 1          | 6, ES modules      | Vitest, Jest with ES modules               |
 * | `nest12-pnp`     | Yarn PnP     | 12, 1          | 6, ES modules      |                                            |
 * | `nest12-bundled` | npm          | 12, 1          | 6, CommonJS        | esbuild and webpack, nothing external      |
 * | `services-alone` | npm          | none           | 6, ES modules      | services without the database; then with Nest, without TypeORM |
 *
 * All of them have `exactOptionalPropertyTypes`. `nest11-oldest` has no `skipLibCheck`, so it checks the package's own types too.
 * It has no Swagger, because every version of @nestjs/swagger 11 needs Nest 11.0.1.
 */
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jsonTests, mustSucceed, nodeTests, report, run } from './report.mjs';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const NPM_INSTALL = ['install', '--no-package-lock', '--no-audit', '--no-fund'];

const MAIN = 'nestjs-multisession';
const ENTRIES = [
  ...['django', 'import', 'migrations', 'passport', 'redis'],
  ...['resource-server', 'swagger', 'testing', 'verifier'],
];
/** Packages that an application can do without, and the entry that needs each. No entry needs the database's driver. */
const OPTIONAL = {
  '@nestjs/passport': 'passport',
  '@nestjs/swagger': 'swagger',
  '@opentelemetry/api': undefined,
  passport: 'passport',
  'passport-jwt': 'passport',
  redis: 'redis',
  'sql.js': undefined,
};

export const APPLICATIONS = {
  async 'nest11-oldest'(name, directory, tarball, { nodes }) {
    prepare(name, directory, tarball);
    if (!(await mustSucceed(`${name}: npm install`, directory, 'npm', NPM_INSTALL))) return;
    if (await mustSucceed(`${name}: TypeScript 5.7`, directory, 'node_modules/.bin/tsc', ['-p', '.'])) {
      await onEach(nodes, name, directory);
    }
    await jsonTests(`${name}: Jest, in CommonJS`, directory, 'node_modules/.bin/jest', ['--json'], 'jest-result.json');
    await checkEntries(name, directory);
  },

  async 'nest12-pnpm'(name, directory, tarball, { nodes, pnpm }) {
    prepare(name, directory, tarball);
    const install = [pnpm, 'install', '--no-frozen-lockfile'];
    if (!(await mustSucceed(`${name}: pnpm install`, directory, process.execPath, install))) return;
    if (!(await mustSucceed(`${name}: TypeScript 6`, directory, 'node_modules/.bin/tsc', ['-p', '.']))) return;
    await onEach(nodes, name, directory);
    const vitest = [join(directory, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter=json'];
    await jsonTests(`${name}: Vitest`, directory, process.execPath, vitest, 'vitest-result.json');
    const jest = ['--experimental-vm-modules', join(directory, 'node_modules/jest/bin/jest.js')];
    const options = ['--config=jest.config.json', '--json'];
    await jsonTests(
      `${name}: Jest, with ES modules`,
      directory,
      process.execPath,
      [...jest, ...options],
      'jest-result.json',
    );
  },

  async 'nest12-pnp'(name, directory, tarball, { yarn }) {
    prepare(name, directory, tarball);
    // Without a lock file of its own, Yarn would look for a project in the folders above.
    writeFileSync(join(directory, 'yarn.lock'), '');
    const registry = (await run(directory, 'npm', ['config', 'get', 'registry'])).stdout.trim();
    const environment = { YARN_NPM_REGISTRY_SERVER: registry, YARN_GLOBAL_FOLDER: join(directory, '.global') };
    if (!(await mustSucceed(`${name}: yarn install`, directory, process.execPath, [yarn, 'install'], environment)))
      return;
    const tsc = [yarn, 'tsc', '-p', '.'];
    if (!(await mustSucceed(`${name}: TypeScript 6`, directory, process.execPath, tsc, environment))) return;
    const node = [process.execPath, yarn, 'node'];
    await nodeTests(`${name}: the application`, directory, node, testsIn(directory), environment);
    report(`${name}: there is no node_modules`, existsSync(join(directory, 'node_modules')) ? 'there is' : undefined);
  },

  async 'nest12-bundled'(name, directory, tarball) {
    prepare(name, directory, tarball);
    if (!(await mustSucceed(`${name}: npm install`, directory, 'npm', NPM_INSTALL))) return;
    if (!(await mustSucceed(`${name}: TypeScript 6`, directory, 'node_modules/.bin/tsc', ['-p', '.']))) return;
    for (const absent of ['@nestjs/websockets', '@opentelemetry/api'])
      report(
        `${name}: ${absent} is not installed`,
        existsSync(join(directory, 'node_modules', absent)) ? 'it is' : undefined,
      );
    for (const bundler of ['esbuild', 'webpack']) {
      const args = ['bundle.mjs', bundler];
      if (await mustSucceed(`${name}: ${bundler} bundles everything`, directory, process.execPath, args)) {
        // Away from node_modules, where the bundle could find what it lacks.
        const alone = join(directory, '..', `${bundler}-alone`);
        renameSync(join(directory, bundler), alone);
        await mustSucceed(`${name}: the bundle of ${bundler} works`, alone, process.execPath, [
          bundler === 'esbuild' ? 'main.mjs' : 'main.cjs',
        ]);
      }
    }
  },

  async 'services-alone'(name, directory, tarball, { nodes }) {
    prepare(name, directory, tarball, { isShared: false });
    if (!(await mustSucceed(`${name}: npm install`, directory, 'npm', NPM_INSTALL))) return;
    const nest = existsSync(join(directory, 'node_modules/@nestjs')) ? 'it is' : undefined;
    report(`${name}: Nest is not installed`, nest);
    const tsc = 'node_modules/.bin/tsc';
    if (!(await mustSucceed(`${name}: TypeScript 6, without Nest`, directory, tsc, ['-p', '.']))) return;
    await onEach(nodes, name, directory);
    const peers = ['@nestjs/common@12.5.1', '@nestjs/core@12.5.1', 'reflect-metadata@0.2.2', 'rxjs@7.8.2'];
    const install = ['install', '--no-package-lock', '--no-audit', '--no-fund', ...peers];
    if (!(await mustSucceed(`${name}: npm install of Nest`, directory, 'npm', install))) return;
    for (const absent of ['typeorm', '@nestjs/typeorm', '@nestjs/jwt', 'class-validator'])
      report(
        `${name}: ${absent} is not installed`,
        existsSync(join(directory, 'node_modules', absent)) ? 'it is' : undefined,
      );
    const load = ['--input-type=module', '-e', `import 'reflect-metadata'; await import('${MAIN}/resource-server')`];
    await mustSucceed(`${name}: the module of a service loads without TypeORM`, directory, process.execPath, load);
  },
};

/** Copies an application, and makes the tarball one of its dependencies. */
function prepare(name, directory, tarball, { isShared = true } = {}) {
  if (isShared) cpSync(join(FIXTURES, 'shared'), join(directory, 'src'), { recursive: true });
  cpSync(join(FIXTURES, name), directory, { recursive: true });
  const path = join(directory, 'package.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  manifest.dependencies[MAIN] = `file:${tarball}`;
  writeFileSync(path, JSON.stringify(manifest));
}

const testsIn = (directory) =>
  readdirSync(join(directory, 'dist'))
    .filter((file) => file.endsWith('.test.js'))
    .map((file) => join('dist', file));

/** Runs the compiled tests of an application on each version of Node. */
async function onEach(nodes, name, directory) {
  for (const node of nodes)
    await nodeTests(`${name}: the application on ${node.name}`, directory, [node.path], testsIn(directory));
}

/** Loads each entry, also without the packages that it does not need. */
async function checkEntries(name, directory) {
  const load = (entry) => run(directory, process.execPath, ['-e', `require('${entry}')`]);
  const names = [MAIN, ...ENTRIES.map((entry) => `${MAIN}/${entry}`)];
  const installed = Object.keys(OPTIONAL).filter((one) => existsSync(join(directory, 'node_modules', one)));
  const needs = (entry, packages) => packages.some((one) => OPTIONAL[one] && entry === `${MAIN}/${OPTIONAL[one]}`);
  const loadsQuietly = async (title, entry) => {
    const { succeeded, all } = await load(entry);
    report(title, succeeded && all === '' ? undefined : all || 'failed');
  };
  const absent = Object.keys(OPTIONAL).filter((one) => !installed.includes(one));
  for (const entry of names.filter((one) => !needs(one, absent)))
    await loadsQuietly(`${name}: ${entry} loads, without a warning`, entry);
  const move = (from, to) =>
    installed.forEach((one) => {
      const path = join(directory, 'node_modules', one);
      renameSync(path + from, path + to);
    });
  move('', '.hidden');
  try {
    for (const entry of names) {
      if (needs(entry, Object.keys(OPTIONAL))) {
        const isHidden = !(await load(entry)).succeeded;
        report(`${name}: ${entry} does not load without its package`, isHidden ? undefined : 'it loads');
      } else {
        await loadsQuietly(`${name}: ${entry} loads without the optional packages`, entry);
      }
    }
  } finally {
    move('.hidden', '');
  }
}
