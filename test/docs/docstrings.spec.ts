import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import ts from 'typescript';
import { ROOT } from './documents.js';
import { libraryProgram } from './program.js';

const ENTRIES = [
  'index.ts',
  'compat/django/index.ts',
  'migrations/index.ts',
  'passport/index.ts',
  'redis/index.ts',
  'swagger/index.ts',
  'testing/index.ts',
];

describe('every public name has a docstring', () => {
  const paths = ENTRIES.map((entry) => join(ROOT, 'lib', entry));
  const program = libraryProgram(paths);
  const checker = program.getTypeChecker();

  test.each(ENTRIES)('of lib/%s', (entry) => {
    const names = publicNames(join(ROOT, 'lib', entry));
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((name) => !name.documented).map(({ name }) => name)).toEqual([]);
  });

  function publicNames(path: string): { name: string; documented: boolean }[] {
    const source = program.getSourceFile(path);
    const module = source && checker.getSymbolAtLocation(source);
    if (!module) throw new Error(`${path} is no module`);
    return checker.getExportsOfModule(module).map((exported) => {
      const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
      const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
      return { name: exported.name, documented: symbol.getDocumentationComment(checker).length > 0 };
    });
  }
});
