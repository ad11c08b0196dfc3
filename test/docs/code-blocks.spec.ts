import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { type CodeBlock, codeBlocks, DOCUMENTS, placeOf, readDocument, ROOT } from './documents.js';
import { typeErrors } from './program.js';

/** A block in another language would be checked by nobody. */
const LANGUAGES = ['ts', 'json', 'sh', 'sql', 'python', 'http', 'text', 'mermaid'];

const blocks = codeBlocks();
const written = (language: string) => blocks.filter((block) => block.language === language);

describe('the code blocks of the documents', () => {
  test('are in languages that are known here', () => {
    const unknown = blocks.filter(({ language }) => !LANGUAGES.includes(language));
    expect(unknown.map((block) => `${placeOf(block)}: «${block.language}»`)).toEqual([]);
  });

  test('in TypeScript are modules that compile', () => {
    expect(written('ts').length).toBeGreaterThan(10);
    const modules = new Map<string, string>();
    for (const block of written('ts')) {
      const path = pathOf(block);
      if (modules.has(path)) throw new Error(`${placeOf(block)}: ${path} is there twice`);
      modules.set(path, block.text);
    }
    expect(typeErrors(modules)).toEqual([]);
  }, 120_000);

  test('in JSON are JSON', () => {
    const broken = written('json').filter((block) => !isJson(block.text));
    expect(broken.map(placeOf)).toEqual([]);
  });

  test('in the shell name npm scripts that are there', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    const named = written('sh').flatMap((block) => npmScripts(block.text).map((script) => ({ block, script })));
    const unknown = named.filter(({ script }) => !(script in scripts));
    expect(named.length).toBeGreaterThan(3);
    expect(unknown.map(({ block, script }) => `${placeOf(block)}: npm run ${script}`)).toEqual([]);
  });
});

test('links between the documents lead somewhere', () => {
  const linked = DOCUMENTS.flatMap((document) => linksOf(document).map((target) => ({ document, target })));
  expect(linked.length).toBeGreaterThan(10);
  expect(linked.filter(({ document, target }) => !leadsSomewhere(document, target))).toEqual([]);
});

/**
 * Where a block would be as a file. Blocks of one document can import each other: the first line names the file,
 * `// users/app-user-authenticator.ts`. In the path stands the line, so that an error leads back to the block.
 */
function pathOf({ document, line, text }: CodeBlock): string {
  const named = /^\/\/ ([\w./-]+\.ts)\n/.exec(text)?.[1];
  return join(ROOT, '.blocks', document, named ?? `line-${line}.ts`);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function npmScripts(text: string): string[] {
  const commands = text.matchAll(/\bnpm (?:run(?: -s)? ([\w:-]+)|(test|start)\b)/g);
  return [...commands].map(([, run, short]) => run ?? short);
}

function linksOf(document: string): string[] {
  const links = readDocument(document).matchAll(/\]\(([^)\s]+)\)/g);
  return [...links].map(([, target]) => target).filter((target) => !/^[a-z]+:/.test(target));
}

function leadsSomewhere(document: string, target: string): boolean {
  const [path, anchor] = target.split('#');
  const file = path === '' ? document : relative(ROOT, join(ROOT, dirname(document), path));
  if (!existsSync(join(ROOT, file))) return false;
  return anchor === undefined || anchorsOf(file).includes(anchor);
}

/** The anchors of a document's headings, as GitHub makes them. */
function anchorsOf(document: string): string[] {
  const headings = readDocument(document).matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
