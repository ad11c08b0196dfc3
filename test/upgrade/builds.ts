import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MIGRATIONS = 'lib/migrations';

/** Commits of versions. A checkout without history takes the sources from the archive in this folder. */
const VERSIONS = { '0.1.0': '44149f31928d226f4e93303dcde84c895e75ba05' } as const;
export type Version = keyof typeof VERSIONS;

/** The library as JavaScript, in the `dist/` of a folder. */
export interface Build {
  readonly name: string;
  readonly folder: string;
  remove(): void;
}

/** The build of this checkout. */
export const CURRENT: Build = { name: 'current', folder: process.cwd(), remove: () => undefined };

/** Builds an earlier version. */
export async function buildVersion(version: Version): Promise<Build> {
  const commit = VERSIONS[version];
  if (await hasCommit(commit)) return build(version, await archiveOf(commit));
  console.log(`the history has no commit ${commit}: the sources are those of test/upgrade/${version}.tar.gz`);
  return build(version, join('test/upgrade', `${version}.tar.gz`));
}

/**
 * Builds the last commit that lacks the newest migration. Without the history, builds the last version, which lacks it too:
 * the archive of a version is replaced when the next one is released.
 */
export async function buildWithoutNewestMigration(): Promise<Build> {
  const newest = readdirSync(MIGRATIONS)
    .filter((file) => /^\d+-.*\.ts$/.test(file))
    .sort()
    .at(-1) as string;
  const file = join(MIGRATIONS, newest);
  const added = await git('log', '--diff-filter=A', '--format=%H', '--', file).catch(() => '');
  const before = `${added.split('\n').at(-1)}~1`;
  if (!added || !(await hasCommit(before))) return buildVersion('0.1.0');
  return build(`the commit before ${newest}`, await archiveOf(before));
}

async function build(name: string, archive: string): Promise<Build> {
  const folder = mkdtempSync(join(tmpdir(), 'build-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    await run('tar', ['-xf', resolve(archive), '-C', folder]);
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
    // Its types were checked when it was current.
    const project = { extends: './tsconfig.build.json', compilerOptions: { noCheck: true, declaration: false } };
    writeFileSync(join(folder, 'tsconfig.old.json'), JSON.stringify(project));
    await run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', join(folder, 'tsconfig.old.json')]);
  } catch (error) {
    remove();
    throw error;
  } finally {
    if (archive.startsWith(tmpdir())) rmSync(archive);
  }
  return { name, folder, remove };
}

/** Writes the sources of a commit to an archive in a temporary file. */
async function archiveOf(commit: string): Promise<string> {
  const file = join(tmpdir(), `sources-${process.pid}-${Date.now()}.tar`);
  await git('archive', '--output', file, commit, 'lib', 'package.json', 'tsconfig.json', 'tsconfig.build.json');
  return file;
}

function hasCommit(commit: string): Promise<boolean> {
  return git('cat-file', '-e', commit).then(
    () => true,
    () => false,
  );
}

async function git(...args: string[]): Promise<string> {
  return (await run('git', args)).stdout.trim();
}
