/**
 * Makes the build in `dist/` small before it is packed: `npm pack` runs it after `npm run build`.
 *
 * - JavaScript: the modules of each entry in a few files, without comments, indents and long names of local variables. Functions,
 *   classes, methods and properties keep their names, and lines are short, so that stack traces stay readable.
 * - Types: see `slim-types.mjs`.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import 'reflect-metadata';
import { minifySync } from '@swc/core';
import { build, transformSync } from 'esbuild';
import { slimTypes } from './slim-types.mjs';

const ROOT = join(import.meta.dirname, '..');
const DIST = join(ROOT, 'dist');
const SLIM = join(ROOT, 'dist-slim');
/** The length after which a line is broken. */
const LINE = 4000;
/** The exports at the end of a bundled file, and its imports of others. */
const EXPORTS = /^export \{([^}]*)\};/m;
const IMPORTS = /^import \{([^}]*)\} from "((?:\.{1,2}\/)+(?:chunks\/)?)(\w+\.js)";/gm;
/** A helper of TypeScript at the begin of a module. */
const HELPER = /^var (__\w+) = \(this && this\.\1\) \|\| function [^]*?^};\n/gm;

const { bin, exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const modules = Object.values(exports).filter(({ types }) => types);
const inDist = (path) => path.replace(/^(\.\/)?dist\//, '');
const scripts = [...modules.map((entry) => entry.default), ...Object.values(bin)].map(inDist);

const classes = namesOfClasses();
rmSync(SLIM, { recursive: true, force: true });
await slimScripts();
for (const [path, text] of slimTypes(
  DIST,
  modules.map(({ types }) => inDist(types)),
))
  write(path, text);
for (const entry of modules) await isWhole(inDist(entry.default));
rmSync(DIST, { recursive: true });
renameSync(SLIM, DIST);

async function slimScripts() {
  await build({
    absWorkingDir: DIST,
    entryPoints: Object.fromEntries(scripts.map((path) => [path.replace(/\.js$/, ''), path])),
    outdir: SLIM,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'es2023',
    packages: 'external',
    legalComments: 'none',
    chunkNames: 'chunks/[hash]',
    plugins: [{ name: 'shared-helpers', setup: shareHelpers }],
  });
  const paths = readdirSync(SLIM, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.js'));
  const texts = new Map(paths.map((path) => [path, readFileSync(join(SLIM, path), 'utf8')]));
  for (const [path, text] of withShortExports(texts)) write(path, withoutComments(withOwnNames(text)));
}

/** @throws if an entry cannot be loaded, or exports something else than before, or under other names */
async function isWhole(path) {
  const [before, after] = await Promise.all(
    [DIST, SLIM].map((folder) => import(pathToFileURL(join(folder, path)).href)),
  );
  const described = (loaded) => Object.entries(loaded).map(([key, value]) => `${key}: ${value?.name}`);
  if (described(before).join() !== described(after).join()) throw new Error(`${path} is not what it was`);
}

/** Lets the files in `chunks/` export under short names. Only files of the package import them. */
function withShortExports(texts) {
  const shortNames = new Map();
  for (const [path, text] of texts) {
    if (!path.startsWith('chunks/')) continue;
    const [, list = ''] = EXPORTS.exec(text) ?? [];
    const names = list.split(',').map((clause) => clause.trim().split(' as ').at(-1));
    shortNames.set(basename(path), new Map(names.map((name, at) => [name, `_${at.toString(36)}`])));
  }
  const shortened = (list, chunk, write) =>
    list.split(',').map((clause) => {
      const [name, local = name] = clause.trim().split(' as ');
      return write(name, local, shortNames.get(chunk));
    });
  return [...texts].map(([path, text]) => {
    const imported = text.replaceAll(IMPORTS, (whole, list, folder, chunk) => {
      if (!shortNames.has(chunk)) return whole;
      const clauses = shortened(list, chunk, (name, local, names) => `${names.get(name)} as ${local}`);
      return `import {${clauses.join(', ')}} from "${folder}${chunk}";`;
    });
    if (!path.startsWith('chunks/')) return [path, imported];
    const exported = imported.replace(EXPORTS, (_, list) => {
      const clauses = shortened(list, basename(path), (local, name, names) => `${local} as ${names.get(name)}`);
      return `export {${clauses.join(', ')}};`;
    });
    return [path, exported];
  });
}

/** Lets all modules share one copy of each helper of TypeScript, such as `__decorate`. */
function shareHelpers({ onLoad, onResolve }) {
  const helpers = new Map();
  onLoad({ filter: /\.js$/ }, ({ path }) => {
    const used = [];
    const code = readFileSync(path, 'utf8').replaceAll(HELPER, (text, name) => {
      helpers.set(name, text);
      used.push(`import { ${name} } from 'helper:${name}';\n`);
      return '';
    });
    return { contents: used.join('') + code };
  });
  onResolve({ filter: /^helper:/ }, ({ path }) => ({ path, namespace: 'helper' }));
  onLoad({ filter: /^helper:/, namespace: 'helper' }, ({ path }) => {
    const name = path.slice('helper:'.length);
    return { contents: `${helpers.get(name)}export { ${name} };\n` };
  });
}

/**
 * Gives the classes their names back. The bundler renames the inner name of `var A = class A {}`, and the second of two classes with
 * one name. Nest, TypeORM and error messages show these names.
 *
 * @throws if two classes have the same name
 */
function withOwnNames(code) {
  // Its own name does not depend on the variable, which gets a short one.
  let restored = code.replaceAll(/\b(var|let|const) (\w+) = class(?= \{| extends\b)/g, '$1 $2 = class $2');
  for (const [, outer, inner] of code.matchAll(/\b(?:var|let|const) (\w+) = (?:\w+ = )?class (\w+) /g))
    // Within the class, both names mean the class.
    if (inner.includes(outer)) restored = restored.replaceAll(new RegExp(`\\b${inner}\\b`, 'g'), outer);
  const renamed = classesIn(restored).filter((name) => !classes.has(name));
  if (renamed.length > 0) throw new Error(`two classes must not have the same name: ${renamed.join(', ')}`);
  return restored;
}

function namesOfClasses() {
  const files = readdirSync(DIST, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.js'));
  return new Set(files.flatMap((file) => classesIn(readFileSync(join(DIST, file), 'utf8'))));
}

function classesIn(code) {
  return [...code.matchAll(/\bclass (?!extends\b)(\w+)/g)].map(([, name]) => name);
}

function withoutComments(code) {
  const mangle = { topLevel: true, keepClassNames: true, keepFnNames: true };
  // Statements become expressions, and short functions become parts of their callers.
  const steps = { if_return: true, conditionals: true, join_vars: true, booleans: true, dead_code: true, inline: 1 };
  const compress = { defaults: true, keep_classnames: true, keep_fnames: true, ...steps };
  const { code: mangled } = minifySync(code, { module: true, compress, mangle, format: { comments: false } });
  return transformSync(mangled, { minifyWhitespace: true, lineLimit: LINE, target: 'es2023' }).code;
}

function write(path, text) {
  mkdirSync(dirname(join(SLIM, path)), { recursive: true });
  writeFileSync(join(SLIM, path), text);
}
