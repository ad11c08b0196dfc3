import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { transformSync } from '@swc/core';
import { codeBlocks, ROOT, SWC } from '../docs/documents.js';

/** A new folder within the project, where modules find its packages. */
export function folderForBlocks(): string {
  const cache = join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  return mkdtempSync(join(cache, 'code-blocks-'));
}

/** Imports a code block of a document as it stands there. @param file what its first line names */
export async function importBlock(folder: string, document: string, file: string): Promise<unknown> {
  const block = codeBlocks([document]).find(({ text }) => text.startsWith(`// ${file}\n`));
  if (!block) throw new Error(`${document} has no ${file}`);
  const path = join(folder, file.replace(/ts$/, 'mjs'));
  writeFileSync(path, transformSync(block.text, SWC).code);
  return import(pathToFileURL(path).href);
}
