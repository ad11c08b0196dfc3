import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Options } from '@swc/core';

/** The options with which SWC compiles a code block to a program that runs. */
export const SWC: Options = {
  swcrc: false,
  jsc: {
    target: 'es2022',
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
  },
};

export const ROOT = join(import.meta.dirname, '../..');

/** A fenced code block of a document. */
export interface CodeBlock {
  readonly document: string;
  /** The line of the opening fence, from 1. */
  readonly line: number;
  /** The text after the opening fence. */
  readonly language: string;
  readonly text: string;
}

/** The documents whose code must be true, by their paths from the root. */
export const DOCUMENTS: readonly string[] = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'client/README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/** Whether a code block runs in a browser, or is for the build of a page. Getting started has a page in its folder `web`. */
export function isForBrowsers({ document, text }: CodeBlock): boolean {
  return document.startsWith('client/') || document === 'docs/front-end.md' || text.startsWith('// web/');
}

export function readDocument(document: string): string {
  return readFileSync(join(ROOT, document), 'utf8');
}

/**
 * Returns the fenced code blocks of the given documents. Default: of all documents.
 *
 * @throws if a code block is not closed
 */
export function codeBlocks(documents: readonly string[] = DOCUMENTS): CodeBlock[] {
  return documents.flatMap((document) => blocksOf(document, readDocument(document)));
}

export function placeOf({ document, line }: CodeBlock): string {
  return `${document}:${line}`;
}

function blocksOf(document: string, text: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  let open: { line: number; indent: number; language: string; lines: string[] } | undefined;
  for (const [at, line] of text.split('\n').entries()) {
    const fence = /^( *)```(.*)$/.exec(line);
    if (open && fence && fence[2].trim() === '') {
      blocks.push({ document, line: open.line, language: open.language, text: `${open.lines.join('\n')}\n` });
      open = undefined;
    } else if (open) {
      open.lines.push(line.slice(open.indent));
    } else if (fence) {
      open = { line: at + 1, indent: fence[1].length, language: fence[2].trim(), lines: [] };
    }
  }
  if (open) throw new Error(`${document}:${open.line}: the code block is not closed`);
  return blocks;
}

/** Returns the rows of the tables between a heading and the next one. Each row maps column names to cells. */
export function tableRows(document: string, heading: string): Record<string, string>[] {
  const lines = readDocument(document).split('\n');
  const start = lines.indexOf(heading);
  if (start === -1) throw new Error(`${document} has no heading "${heading}"`);
  const end = lines.findIndex((line, at) => at > start && line.startsWith('#'));
  const rows = lines.slice(start, end === -1 ? undefined : end).filter((line) => line.startsWith('|'));
  const [names, , ...cells] = rows.map((row) =>
    row
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim()),
  );
  return cells.map((row) => Object.fromEntries(row.map((cell, at) => [names[at], cell])));
}
