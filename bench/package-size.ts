import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { say, sayTitle, table, whole } from './report.js';

/** The size of installed packages. */
interface Size {
  readonly packages: number;
  readonly files: number;
  readonly bytes: number;
}

interface PackageJson {
  name: string;
  dependencies?: Record<string, string>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** The peers of the main entry that an application with Nest and TypeORM may not have. For npm all peers are optional. */
const NEEDED_PEERS = ['@nestjs/jwt', 'class-transformer', 'class-validator'];

/** Reports the size of the package and its dependencies, compared with other libraries. */
export function reportSizes(): void {
  const { packed, own } = pack();
  const library = manifestOf(ROOT);
  const dependencies = installed(Object.keys(library.dependencies ?? {}));
  const rows: [string, Size][] = [
    [library.name, own],
    [`${library.name} with its dependencies`, add(own, dependencies)],
    ['its required peers besides Nest and TypeORM', installed(NEEDED_PEERS)],
    ['passport-jwt and @nestjs/passport', installed(['passport-jwt', '@nestjs/passport', 'passport'])],
    ['better-auth', installed(['better-auth'])],
  ];
  sayTitle('Size');
  // `npm pack` makes the build small. Other builds are measured as they are.
  const state = existsSync(join(ROOT, 'dist/chunks'))
    ? ''
    : ' This is not the build that `npm pack` packs: run it first.';
  say(`The packed tarball is ${kilobytes(packed)} kB.${state}`);
  const cells = rows.map(([title, { packages, files, bytes }]) => [
    title,
    ...[packages, files].map(whole),
    kilobytes(bytes),
  ]);
  say(table(['installed', 'packages', 'files', 'kB'], cells));
}

const kilobytes = (bytes: number): string => whole(bytes / 1000);

const add = (one: Size, other: Size): Size => ({
  packages: one.packages + other.packages,
  files: one.files + other.files,
  bytes: one.bytes + other.bytes,
});

function pack(): { packed: number; own: Size } {
  const args = ['pack', '--json', '--ignore-scripts', '--dry-run'];
  const [{ size, unpackedSize, entryCount }] = JSON.parse(
    execFileSync('npm', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  ) as { size: number; unpackedSize: number; entryCount: number }[];
  return { packed: size, own: { packages: 1, files: entryCount, bytes: unpackedSize } };
}

/** Returns the size of packages with all their dependencies, each counted once. */
function installed(names: readonly string[]): Size {
  const folders = new Set<string>();
  const visit = (name: string, from: string) => {
    const folder = folderOf(name, from);
    if (folders.has(folder)) return;
    folders.add(folder);
    for (const dependency of Object.keys(manifestOf(folder).dependencies ?? {})) visit(dependency, folder);
  };
  for (const name of names) visit(name, ROOT);
  return [...folders].map(sizeOf).reduce(add);
}

/** Finds a package as Node does: in the nearest `node_modules` upwards. */
function folderOf(name: string, from: string): string {
  const folder = join(from, 'node_modules', name);
  if (existsSync(join(folder, 'package.json'))) return folder;
  if (dirname(from) === from) throw new Error(`${name} is not installed`);
  return folderOf(name, dirname(from));
}

function manifestOf(folder: string): PackageJson {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as PackageJson;
}

/** Returns the size of a package without the packages nested in it. */
function sizeOf(folder: string): Size {
  const sizes = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !relative(folder, file).split(/[\\/]/).includes('node_modules'))
    .map((file) => statSync(file).size);
  return { packages: 1, files: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}
