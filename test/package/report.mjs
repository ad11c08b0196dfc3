/** Runs commands and counts what passed. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const count = { passed: 0, failed: 0 };

export const total = () => ({ ...count });

export function report(title, failure) {
  count[failure === undefined ? 'passed' : 'failed']++;
  console.log(`${failure === undefined ? 'ok' : 'FAILED'}  ${title}`);
  if (failure) console.log(failure.replace(/^/gm, '    '));
}

/** Runs a command. Its environment has no settings of the npm that runs this script. */
export async function run(directory, command, args, environment = {}) {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^npm_(package|lifecycle|config_local)/i.test(name),
  );
  const env = { ...Object.fromEntries(inherited), ...environment };
  const child = spawn(command, args, { cwd: directory, env, timeout: 600_000, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const why = await new Promise((resolve) => {
    child.on('error', (error) => resolve(`${error.message}\n`));
    child.on('close', (code, signal) =>
      resolve(signal ? `ended by ${signal}\n` : code === 0 ? '' : `exit code ${code}\n`),
    );
  });
  return { succeeded: why === '', stdout, stderr, all: `${why}${stdout}${stderr}` };
}

/**
 * Runs a command that must succeed.
 *
 * @returns whether it did
 */
export async function mustSucceed(title, directory, command, args, environment) {
  const { succeeded, all } = await run(directory, command, args, environment);
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

/** Runs compiled tests of `node:test`. */
export async function nodeTests(title, directory, [command, ...args], files, environment) {
  const outcome = await run(directory, command, [...args, '--test', '--test-reporter=tap', ...files], environment);
  const number = (name) => Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(outcome.stdout)?.[1] ?? 0);
  addTests(title, outcome, {
    passed: number('pass'),
    failed: number('fail') + number('cancelled'),
    leftOut: number('skipped') + number('todo'),
  });
}

/** Runs Jest, or Vitest, whose JSON has the same members. */
export async function jsonTests(title, directory, command, args, file) {
  const outcome = await run(directory, command, [...args, `--outputFile=${file}`]);
  const path = join(directory, file);
  const result = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  addTests(title, outcome, {
    passed: result.numPassedTests ?? 0,
    failed: (result.numFailedTests ?? 0) + (result.numRuntimeErrorTestSuites ?? 0),
    leftOut: (result.numPendingTests ?? 0) + (result.numTodoTests ?? 0),
  });
}
