import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseEnv } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { codeBlocks, DOCUMENTS, readDocument, ROOT, tableRows } from './documents.js';

const PAGES = DOCUMENTS.filter((document) => document.startsWith('docs/'));

describe('the site', () => {
  test('has each page once in its sidebar', async () => {
    const sidebar = pathToFileURL(join(ROOT, 'docs/.vitepress/sidebar.mjs')).href;
    const { SIDEBAR } = (await import(sidebar)) as { SIDEBAR: { pages: Record<string, string> }[] };
    const listed = SIDEBAR.flatMap(({ pages }) => Object.keys(pages)).map((page) => `docs/${page}.md`);
    expect(listed.toSorted()).toEqual(PAGES.toSorted());
  });

  test('has no page that takes longer than ten minutes to read', () => {
    const minutes = PAGES.map((page) => ({ page, minutes: Math.round(wordsOf(page) / WORDS_PER_MINUTE) }));
    expect(minutes.filter((each) => each.minutes > 10)).toEqual([]);
    expect(minutes.filter((each) => each.minutes > 3).length).toBeGreaterThan(5);
  });
});

/** A slow reader of technical English. */
const WORDS_PER_MINUTE = 230;

/** Counts the words of a page without its code, its tables' borders and the definitions of its links. */
function wordsOf(page: string): number {
  const text = codeBlocks([page]).reduce((rest, block) => rest.replace(block.text, ''), readDocument(page));
  const visible = text.replaceAll(/^\[[^\]]+\]: .*$/gm, '').replaceAll(/\]\([^)]*\)/g, ']');
  return visible.split(/\s+/).filter((word) => /\p{L}|\d/u.test(word)).length;
}

describe('docs/troubleshooting.md', () => {
  /** Texts of other packages, and the file that has each. */
  const OTHERS: Record<string, string> = {
    "Nest can't resolve dependencies of the": 'node_modules/@nestjs/core/errors/messages.js',
    'Could not locate the bindings file': 'node_modules/bindings/bindings.js',
  };
  /** Texts of SQLite, Node and npm, which are no JavaScript files of ours. */
  const ELSEWHERE = [
    'cannot start a transaction within a transaction',
    'Cannot use import statement outside a module',
    'ERESOLVE unable to resolve dependency tree',
  ];
  const sources = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(join(ROOT, 'lib', file), 'utf8'))
    // Long texts are joined from several lines.
    .map((text) => text.replaceAll(/['`] \+\n\s*['`]/g, ''))
    .join('\n');
  const texts = [...readDocument('docs/troubleshooting.md').matchAll(/^### .*$|^\| `.*$/gm)]
    .flatMap(([line]) => [...line.matchAll(/`([^`]+)`/g)].slice(0, line.startsWith('|') ? 1 : undefined))
    .flatMap(([, text]) => text.split('…'))
    .map((text) => text.trim())
    .filter((text) => text.length > 3);

  test.each(texts)('names an error that exists: %s', (text) => {
    if (ELSEWHERE.includes(text)) return;
    const file = OTHERS[text];
    expect(file === undefined ? sources : readFileSync(join(ROOT, file), 'utf8')).toContain(text);
  });
});

test('docs/deployment.md names variables that the sample application has', () => {
  const example = Object.keys(parseEnv(readDocument('sample-app/.env.example')));
  const named = tableRows('docs/deployment.md', '## Environment').map(({ variable }) => variable.replaceAll('`', ''));
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !example.includes(name))).toEqual([]);
});
