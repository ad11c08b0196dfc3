/**
 * Installs the packed tarball in real applications and uses it there: `npm run test:package [-- tarball]`. Packs a tarball if
 * none is given. It is not part of `npm test`, because it needs the npm registry.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const ROOT = resolve(import.meta.dirname, '../..');
/** Packages that an application can do without. An entry may need some of them; no entry needs the driver. */
const OPTIONAL = [
  '@nestjs/passport',
  '@nestjs/swagger',
  '@opentelemetry/api',
  'passport',
  'passport-jwt',
  'redis',
  'sql.js',
];
/** The entries that need one of them. */
const NEEDY = ['passport', 'redis', 'swagger'];

const APPLICATIONS = [
  {
    name: 'nest11-cjs',
    builds: [
      { tsconfig: 'tsconfig.json', out: 'dist/node10' },
      { tsconfig: 'tsconfig.nodenext.json', out: 'dist/nodenext' },
    ],
    load: (entry) => ['-e', `require('${entry}')`],
    jest: true,
  },
  {
    name: 'nest12-esm',
    builds: [{ tsconfig: 'tsconfig.json', out: 'dist' }],
    load: (entry) => ['--input-type=module', '-e', `import '${entry}'`],
    jest: false,
  },
];

const MAIN = 'nestjs-multisession';
const ENTRIES = ['django', 'migrations', 'passport', 'redis', 'swagger', 'testing'].map((name) => `${MAIN}/${name}`);

const count = { passed: 0, failed: 0 };

function report(title, failure) {
  count[failure === undefined ? 'passed' : 'failed']++;
  console.log(`${failure === undefined ? 'ok' : 'FAILED'}  ${title}`);
  if (failure) console.log(failure.replace(/^/gm, '    '));
}

function run(directory, command, args) {
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, {
    cwd: directory,
    encoding: 'utf8',
    timeout: 300_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  const why = error ? `${error.message}\n` : signal ? `ended by ${signal}\n` : '';
  return {
    succeeded: status === 0,
    stdout: stdout ?? '',
    stderr: stderr ?? '',
    all: `${why}${stdout ?? ''}${stderr ?? ''}`,
  };
}

/**
 * Runs a command that must succeed.
 *
 * @returns whether it did
 */
function mustSucceed(title, directory, command, args) {
  const { succeeded, all } = run(directory, command, args);
  report(title, succeeded ? undefined : all);
  return succeeded;
}

/** Adds the counts of a test runner. A skipped test counts as failed, and so does a run without tests. */
function addTests(title, { succeeded, all }, { passed, failed, leftOut }) {
  const asExpected = succeeded && passed > 0 && failed + leftOut === 0;
  console.log(`${asExpected ? 'ok' : 'FAILED'}  ${title}: ${passed} passed, ${failed + leftOut} failed`);
  if (!asExpected) console.log(all.replace(/^/gm, '    '));
  count.passed += passed;
  count.failed += asExpected ? 0 : Math.max(1, failed + leftOut);
}

function runNodeTests(title, directory, out) {
  const files = readdirSync(join(directory, out)).filter((file) => file.endsWith('.test.js'));
  const outcome = run(directory, process.execPath, [
    '--test',
    '--test-reporter=tap',
    ...files.map((file) => join(out, file)),
  ]);
  const number = (name) => Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(outcome.stdout)?.[1] ?? 0);
  addTests(title, outcome, {
    passed: number('pass'),
    failed: number('fail') + number('cancelled'),
    leftOut: number('skipped') + number('todo'),
  });
}

function runJest(title, directory) {
  const file = join(directory, 'jest.json');
  const outcome = run(directory, 'node_modules/.bin/jest', ['--json', `--outputFile=${file}`]);
  const result = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  addTests(title, outcome, {
    passed: result.numPassedTests ?? 0,
    failed: (result.numFailedTests ?? 0) + (result.numRuntimeErrorTestSuites ?? 0),
    leftOut: (result.numPendingTests ?? 0) + (result.numTodoTests ?? 0),
  });
}

/** Hides installed packages from an application while `action` runs. */
function without(packages, directory, action) {
  const path = (name) => join(directory, 'node_modules', name);
  for (const name of packages) renameSync(path(name), `${path(name)}.hidden`);
  try {
    action();
  } finally {
    for (const name of packages) renameSync(`${path(name)}.hidden`, path(name));
  }
}

function checkEntries(name, directory, load) {
  const loads = (entry) => run(directory, process.execPath, load(entry));
  const quietly = (title, { succeeded, all }) => report(title, succeeded && all === '' ? undefined : all || 'failed');
  for (const entry of [MAIN, ...ENTRIES]) quietly(`${name}: ${entry} loads, without a warning`, loads(entry));
  without(OPTIONAL, directory, () => {
    const others = ENTRIES.filter((entry) => !NEEDY.some((name) => entry.endsWith(`/${name}`)));
    for (const entry of [MAIN, ...others])
      quietly(`${name}: ${entry} loads without the optional packages`, loads(entry));
    for (const needy of NEEDY) {
      const isHidden = !loads(`${MAIN}/${needy}`).succeeded;
      report(
        `${name}: ${MAIN}/${needy} does not load without its package`,
        isHidden ? undefined : 'it loads, so its package was not hidden',
      );
    }
  });
  const sockets = existsSync(join(directory, 'node_modules/@nestjs/websockets'));
  report(`${name}: @nestjs/websockets is not needed`, sockets ? 'it is installed' : undefined);
}

function checkApplication({ name, builds, load, jest }, tarball, directory) {
  cpSync(join(FIXTURES, name), directory, { recursive: true });
  cpSync(join(FIXTURES, 'shared'), join(directory, 'src'), { recursive: true });
  const install = ['install', '--no-package-lock', '--no-audit', '--no-fund', '--save=false', tarball];
  if (!mustSucceed(`${name}: npm install with the tarball`, directory, 'npm', install)) return;
  for (const { tsconfig, out } of builds) {
    if (mustSucceed(`${name}: tsc -p ${tsconfig}`, directory, 'node_modules/.bin/tsc', ['-p', tsconfig])) {
      runNodeTests(`${name}: the application in ${out}`, directory, out);
    }
  }
  checkEntries(name, directory, load);
  if (jest) runJest(`${name}: Jest in CommonJS`, directory);
}

const workplace = mkdtempSync(join(tmpdir(), 'multisession-package-'));
try {
  let tarball = process.argv[2] && resolve(process.argv[2]);
  if (!tarball && mustSucceed('npm pack', ROOT, 'npm', ['pack', '--silent', '--pack-destination', workplace])) {
    tarball = join(
      workplace,
      readdirSync(workplace).find((file) => file.endsWith('.tgz')),
    );
  }
  if (tarball) {
    for (const application of APPLICATIONS) checkApplication(application, tarball, join(workplace, application.name));
  }
} finally {
  rmSync(workplace, { recursive: true, force: true });
}
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exitCode = count.failed === 0 ? 0 : 1;
