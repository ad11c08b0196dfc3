import { createSecretKey } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import ts from 'typescript';
import {
  MultiSessionModule,
  type MultiSessionModuleOptions,
  SessionsController,
  SHORT_AND_LONG,
} from 'nestjs-multisession';
import { readOptions } from '../../lib/engine/options.js';
import { readDocument, ROOT, tableRows } from './documents.js';
import { libraryProgram } from './program.js';

const DOCUMENT = 'docs/configuration.md';
/** The pages with the options, by the headings of their tables. */
const PAGES = [DOCUMENT, 'docs/configuration-keys.md', 'docs/configuration-policies.md'];

/** The interfaces of the options, and the heading under which a table explains each. */
const SECTIONS = [
  ['lib/engine/options.ts', 'MultiSessionStaticOptions', '## Static options'],
  ['lib/engine/options.ts', 'MultiSessionOptions', '## Values'],
  ['lib/http/cookie.options.ts', 'CookieOptions', '## `cookies`'],
  ['lib/token/options.ts', 'JwtOptions', '## `jwt`'],
  ['lib/token/key-options.ts', 'JwtKeyOptions', '### `jwt.keys`'],
  ['lib/token/options.ts', 'ManagedKeyOptions', '### `jwt.managed`'],
  ['lib/session/options.ts', 'SessionPolicyOptions', '# Policies'],
  ['lib/revocation/options.ts', 'RevocationOptions', '## `revocation`'],
  ['lib/session/cleanup-options.ts', 'CleanupOptions', '## `cleanup`'],
  ['lib/legacy/options.ts', 'LegacyTokenOptions', '## `legacyTokens`'],
] as const;

const program = libraryProgram([join(ROOT, 'lib/engine/options.ts'), join(ROOT, 'lib/swagger/index.ts')]);
const checker = program.getTypeChecker();

describe('the pages of the configuration', () => {
  test('docs/testing.md explains the options of documentSessions', () => {
    const documented = tableRows('docs/testing.md', '## Swagger').map((row) => unquoted(row.option));
    expect(documented.toSorted()).toEqual(optionNames('lib/swagger/index.ts', 'DocumentSessionsOptions').toSorted());
  });

  test.each(SECTIONS)('explains the options of %s: %s', (path, name, heading) => {
    const documented = rowsUnder(heading).map((row) => unquoted(row.Option));
    expect(documented.toSorted()).toEqual(optionNames(path, name).toSorted());
  });

  test('every option may be undefined, for applications with exactOptionalPropertyTypes', () => {
    const exact = SECTIONS.flatMap(([path, name]) =>
      declarationOf(path, name)
        .members.filter(ts.isPropertySignature)
        .filter(({ questionToken, type }) => questionToken && !/\bundefined\b/.test(type?.getText() ?? ''))
        .map((member) => `${name}.${member.name.getText()}`),
    );
    expect(exact).toEqual([]);
  });

  test.each(literalDefaults('## Values'))('Values: the default of %s is %s', (name, _, value) => {
    expect(read({ [name]: value })).toEqual(read());
  });

  test.each(literalDefaults('## `cookies`'))('cookies: the default of %s is %s', (name, _, value) => {
    expect(read({ cookies: { [name]: value } })).toEqual(read({ cookies: true }));
  });

  test.each(literalDefaults('## `jwt`'))('jwt: the default of %s is %s', (name, _, value) => {
    expect(read({ jwt: { ...MINIMAL.jwt, ...nested(name, value) } })).toEqual(read());
  });

  test.each(literalDefaults('### `jwt.keys`'))('jwt.keys: the default of %s is %s', (name, _, value) => {
    const key = { secret: MINIMAL.jwt.secret };
    expect(read({ jwt: { keys: [{ ...key, [name]: value }] } })).toEqual(read({ jwt: { keys: [key] } }));
  });

  test.each(literalDefaults('### `jwt.managed`'))('jwt.managed: the default of %s is %s', (name, _, value) => {
    const managed = { encryptionKey: 'an encryption key of more than thirty-two bytes' };
    expect(read({ jwt: { managed: { ...managed, [name]: value } } })).toEqual(read({ jwt: { managed } }));
  });

  test.each(literalDefaults('# Policies'))('policies: the default of %s is %s', (name, _, value) => {
    expect(read({ policies: { LONG: { ...MINIMAL.policies.LONG, [name]: value } } })).toEqual(read());
  });

  test.each(literalDefaults('## `revocation`'))('revocation: the default of %s is %s', (name, _, value) => {
    expect(read({ revocation: { [name]: value } })).toEqual(read());
  });

  test.each(literalDefaults('## `cleanup`'))('cleanup: the default of %s is %s', (name, _, value) => {
    expect(read({ cleanup: { [name]: value } })).toEqual(read());
  });

  test.each(literalDefaults('## `legacyTokens`'))('legacyTokens: the default of %s is %s', (name, _, value) => {
    const legacy = { system: 'simplejwt-multisessions', signingKey: 'an old key' } as const;
    expect(read({ legacyTokens: [{ ...legacy, [name]: value }] })).toEqual(read({ legacyTokens: [legacy] }));
  });

  test.each(['SHORT', 'LONG'] as const)('shows the values of SHORT_AND_LONG for %s', (type) => {
    const rows = rowsUnder('## The presets').filter((row) => row[`\`${type}\``] !== '');
    const shown = rows.map((row) => [unquoted(row['']), literal(unquoted(row[`\`${type}\``]))]);
    expect(Object.fromEntries(shown)).toEqual(SHORT_AND_LONG[type]);
  });

  test.each(literalDefaults('## Static options'))('Static options: the default of %s is %s', (name, _, value) => {
    expect(definition({ [name]: value })).toBe(definition());
  });
});

const MINIMAL = {
  jwt: { secret: createSecretKey('a signing secret of more than thirty-two bytes', 'utf8') },
  secretKey: false,
  policies: { LONG: { refreshTokenLifetime: '30d' } },
} as const;

function read(options: Partial<MultiSessionModuleOptions> = {}): unknown {
  return readOptions({ ...MINIMAL, ...options }, ['LONG']);
}

/** Returns what `forRoot` passes to Nest as JSON, with the source text of each function. */
function definition(options: Partial<MultiSessionModuleOptions> = {}): string {
  const module = MultiSessionModule.forRoot({ ...MINIMAL, ...options });
  return JSON.stringify(module, (_, value: unknown) => (typeof value === 'function' ? String(value) : value));
}

/** Builds an object with one option, where `header.name` is a nested member. */
function nested(name: string, value: unknown): Record<string, unknown> {
  const [outer, inner] = name.split('.');
  return { [outer]: inner === undefined ? value : { [inner]: value } };
}

/** Returns the rows of the table under a heading that only one of the pages has. */
function rowsUnder(heading: string): Record<string, string>[] {
  const [page = DOCUMENT] = PAGES.filter((each) => readDocument(each).split('\n').includes(heading));
  return tableRows(page, heading);
}

/** Returns the defaults of a table that are written as code. Setting such a default explicitly must change nothing. */
function literalDefaults(heading: string): [name: string, text: string, value: unknown][] {
  const rows = rowsUnder(heading).filter((row) => row.Default.startsWith('`'));
  return rows.map((row) => [unquoted(row.Option), row.Default, literal(unquoted(row.Default))]);
}

function literal(text: string): unknown {
  if (text === 'SessionsController') return SessionsController;
  return JSON.parse(
    text
      .replaceAll("'", '"')
      .replaceAll(/(\w+):/g, '"$1":')
      .replaceAll(/(?<=\d)_(?=\d)/g, ''),
  );
}

function unquoted(cell: string): string {
  return cell.replaceAll('`', '');
}

/** Returns the names of an interface's members. A member with an inline object type is replaced by its own members. */
function optionNames(path: string, name: string): string[] {
  return checker.getTypeAtLocation(declarationOf(path, name)).getProperties().flatMap(namesOf);
}

function declarationOf(path: string, name: string): ts.InterfaceDeclaration {
  const source = program.getSourceFile(join(ROOT, path));
  const declaration = source?.statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === name,
  );
  if (!declaration) throw new Error(`${path} has no interface ${name}`);
  return declaration;
}

function namesOf(member: ts.Symbol): string[] {
  const { type } = member.valueDeclaration as ts.PropertySignature;
  const [object] = (type && ts.isUnionTypeNode(type) ? type.types : [type]).filter(
    (one): one is ts.TypeLiteralNode => one !== undefined && ts.isTypeLiteralNode(one),
  );
  // An object beside other types, such as `{ whenRemainingBelow }`, is a value of the option.
  const isOnlyObject = object && (type === object || (type as ts.UnionTypeNode).types.length === 2);
  if (!isOnlyObject) return [member.name];
  return object.members.map((inner) => `${member.name}.${inner.name?.getText()}`);
}
