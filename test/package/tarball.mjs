/** Checks the files of the packed tarball itself. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { report } from './report.mjs';

const ROOT = resolve(import.meta.dirname, '../..');
/** In bytes. */
const MAX_SIZE = 250_000;
/** The name of a function or a class where it is declared. */
const FUNCTION_NAME = /\b(?:function|class) (?!extends\b)(\w+)/g;

/** Checks the size of the packed tarball. */
export function checkSize(tarball) {
  const { size } = statSync(tarball);
  report(`the tarball has at most ${MAX_SIZE} bytes`, size > MAX_SIZE ? `it has ${size}` : undefined);
}

/** @param directory the unpacked package */
export function checkFiles(directory) {
  const { dependencies, peerDependencies, ...manifest } = JSON.parse(
    readFileSync(join(directory, 'package.json'), 'utf8'),
  );
  const missing = ['repository', 'homepage', 'bugs'].filter((name) => !manifest[name]);
  report('the tarball names its repository, homepage and bugs', missing.length > 0 ? missing.join(', ') : undefined);

  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const maps = files.filter((file) => file.endsWith('.map'));
  report('the tarball has no source maps, because it has no sources', maps.length > 0 ? maps.join('\n') : undefined);

  const declared = [...Object.keys({ ...dependencies, ...peerDependencies }), ...builtinModules];
  const undeclared = files
    .filter((file) => /\.(js|d\.ts)$/.test(file))
    .flatMap((file) => packagesIn(readFileSync(join(directory, file), 'utf8')).map((name) => `${file}: ${name}`))
    .filter((use) => !declared.includes(use.slice(use.indexOf(': ') + 2)));
  report('code and types import only declared packages', undeclared.length > 0 ? undeclared.join('\n') : undefined);

  const dead = files.filter((file) => file.endsWith('.md')).flatMap((file) => deadLinks(directory, file));
  report('links of the README have a target in the repository', dead.length > 0 ? dead.join('\n') : undefined);

  const scripts = files.filter((file) => file.endsWith('.js'));
  const names = scripts.flatMap((file) => [...readFileSync(join(directory, file), 'utf8').matchAll(FUNCTION_NAME)]);
  const short = names.map(([, name]) => name).filter((name) => name.length < 3);
  const isReadable = names.length > 500 && short.length < names.length / 100;
  report(
    'stack traces name functions and classes',
    isReadable ? undefined : `${short.length} of ${names.length} are short`,
  );
}

/** The packages that a module imports. `node:` and relative paths are left out. */
function packagesIn(text) {
  const code = text.replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '');
  const specifiers = code.matchAll(/\b(?:from|import)\s*\(?\s*['"](@?[\w-][\w./:-]*)['"]|<reference types="([^"]+)"/g);
  return [...specifiers]
    .map(([, name, types]) => name ?? types)
    .filter((name) => !name.startsWith('node:'))
    .map((name) =>
      name
        .split('/')
        .slice(0, name.startsWith('@') ? 2 : 1)
        .join('/'),
    );
}

function deadLinks(directory, file) {
  const text = readFileSync(join(directory, file), 'utf8');
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)/gm)].map(
    ([, inline, defined]) => inline ?? defined,
  );
  // The page of a package resolves relative links in its repository.
  return targets
    .filter((target) => !/^([a-z]+:|#)/.test(target))
    .map((target) => join(dirname(file), target.split('#')[0]))
    .filter((path) => !existsSync(join(directory, path)) && !existsSync(join(ROOT, path)))
    .map((path) => `${file}: ${path}`);
}
