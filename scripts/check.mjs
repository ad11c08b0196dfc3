/** `npm run check`: runs these parts in parallel, and prints the output of each part that fails. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** The fast ones. `npm test` and CI also compile the code blocks and run the quick start. */
const DOCUMENTATION = ['configuration', 'docstrings', 'security'].map((name) => `test/docs/${name}`);

const PARTS = {
  'types and ESLint': ['node', 'scripts/types-and-lint.mjs'],
  Prettier: ['prettier', '--check', '--cache', '--cache-strategy', 'content', '.'],
  'import rules': ['npm', 'run', '-s', 'deps'],
  'unit tests and documentation': ['npm', 'run', '-s', 'jest', '--', '--maxWorkers=50%', 'test/unit', ...DOCUMENTATION],
};

const passed = await Promise.all(Object.entries(PARTS).map(([title, command]) => run(title, command)));
process.exitCode = passed.every(Boolean) ? 0 : 1;

/** Runs a command and prints its result. Resolves to true if it exited with code 0. */
async function run(title, [command, ...args]) {
  const started = performance.now();
  const { code, output } = await execute(command, args);
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${title} (${seconds} s)`);
  if (code !== 0) console.log(output.replace(/^/gm, '       '));
  return code === 0;
}

/** Runs a command. Resolves to its exit code and its output. The code is 1 if the command could not be started. */
function execute(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text));
    child.on('error', (error) => resolve({ code: 1, output: error.message }));
    child.on('close', (code) => resolve({ code, output }));
  });
}
