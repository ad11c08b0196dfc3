import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { readDocument, ROOT } from './documents.js';

const DOCUMENTS = ['docs/security.md', 'docs/attacks.md', 'docs/security-standards.md'];

/** A test that the document cites: `[name]: path 'title'`, where the title is the test's own. */
interface Evidence {
  readonly name: string;
  readonly path: string;
  readonly title: string;
}

describe.each(DOCUMENTS)('the tests that %s cites', (document) => {
  const [text, evidence] = readEvidence(document);

  test('exist, with the cited file and title', () => {
    expect(evidence.length).toBeGreaterThan(20);
    expect(evidence.filter((cited) => !isThere(cited))).toEqual([]);
  });

  test('are each defined once, and cited', () => {
    const defined = evidence.map(({ name }) => name);
    const cited = new Set([...text.matchAll(/\[([\w-]+)\](?!\()/g)].map(([, name]) => name));
    expect([...new Set(defined)]).toEqual(defined);
    expect([...cited].sort()).toEqual([...defined].sort());
  });
});

function readEvidence(document: string): [string, Evidence[]] {
  const lines = readDocument(document).split('\n');
  const definition = /^\[([\w-]+)\]: (\S+) (["'])(.*)\3$/;
  const cited = lines.flatMap((line) => {
    const [, name, path, , title] = definition.exec(line) ?? [];
    return name ? [{ name, path, title }] : [];
  });
  return [lines.filter((line) => !/^\[[\w-]+\]:/.test(line)).join('\n'), cited];
}

function isThere({ path, title }: Evidence): boolean {
  const file = join(ROOT, 'docs', path);
  if (!path.startsWith('../test/') || !path.endsWith('.spec.ts') || !existsSync(file)) return false;
  const source = readFileSync(file, 'utf8');
  return ["'", '"', '`'].some((quote) => source.includes(`${quote}${title}${quote}`));
}
