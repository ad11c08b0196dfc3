import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { transformFileSync, transformSync } from '@swc/core';
import { codeBlocks, ROOT, SWC } from '../docs/documents.js';
import { freePort } from './free-port.js';

/** The page with all files of an application. The README has one of them, in a shorter form. */
export const GETTING_STARTED = 'docs/getting-started.md';

/** An application from the documents, in its own process. */
export interface QuickStart {
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** Makes an empty folder below `node_modules`, so that Node resolves the peers, and the library by its package name. */
export function makeApplicationFolder(): string {
  const cache = join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'quick-start-'));
  writeLibrary(join(folder, 'node_modules/nestjs-multisession'));
  return folder;
}

/**
 * Writes the files of the Nest application that a document shows.
 *
 * @returns their paths
 */
export function writeApplication(folder: string, document: string): string[] {
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return codeBlocks([document]).flatMap(({ language, text }) => {
    const file = /^\/\/ (?:api\/)?(src\/[\w./-]+\.ts)\n/.exec(text)?.[1];
    if (language !== 'ts' || !file) return [];
    write(folder, file, transformSync(text, { ...SWC, filename: file }).code);
    return [file];
  });
}

/**
 * Starts the application in a folder.
 *
 * @param nodeOptions options of Node itself
 * @throws if it ends, or does not answer in time
 */
export async function startApplication(folder: string, nodeOptions: readonly string[] = []): Promise<QuickStart> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let output = '';
  const child = spawn(process.execPath, [...nodeOptions, 'src/main.js'], {
    cwd: folder,
    env: { ...process.env, PORT: String(port), JWT_SECRET: 'a signing secret of more than thirty-two bytes' },
  });
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const stop = async () => {
    if (child.exitCode === null && child.kill()) await once(child, 'exit');
  };
  const giveUp = performance.now() + 220_000;
  while (!(await fetch(url).catch(() => undefined))) {
    if (child.exitCode !== null || performance.now() > giveUp) {
      await stop();
      throw new Error(`the application did not start:\n${output}`);
    }
    await sleep(50);
  }
  return { url, stop };
}

function writeLibrary(folder: string): void {
  const lib = join(ROOT, 'lib');
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  for (const file of files) write(folder, file, transformFileSync(join(lib, file), SWC).code);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module", "exports": { ".": "./index.js" } }');
}

function write(folder: string, file: string, code: string): void {
  const path = join(folder, file.replace(/\.ts$/, '.js'));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, code);
}
