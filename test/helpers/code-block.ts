import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { transformSync } from '@swc/core';
import { codeBlocks, ROOT, SWC } from '../docs/documents.js';

/** Creates a folder within the project, so that modules in it find the project's packages. */
export function folderForBlocks(): string {
  const cache = join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  return mkdtempSync(join(cache, 'code-blocks-'));
}

/**
 * Imports a code block of a document.
 * @param file the file name in the block's first line
 */
export async function importBlock(folder: string, document: string, file: string): Promise<unknown> {
  const block = codeBlocks([document]).find(({ text }) => text.startsWith(`// ${file}\n`));
  if (!block) throw new Error(`${document} has no ${file}`);
  const path = join(folder, file.replace(/ts$/, 'mjs'));
  // Other blocks are written as .mjs too. Import them first.
  const code = transformSync(block.text, SWC).code.replaceAll(/(from ["']\.\/[^"']+)\.js(["'])/g, '$1.mjs$2');
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, code);
  return import(pathToFileURL(path).href);
}
