import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { type CodeBlock, codeBlocks, DOCUMENTS, placeOf, readDocument, ROOT } from './documents.js';
import { typeErrors } from './program.js';

/** The languages that a test below checks, or that need no check. */
const LANGUAGES = ['ts', 'json', 'sh', 'sql', 'python', 'http', 'text', 'mermaid'];

const blocks = codeBlocks();
const written = (language: string) => blocks.filter((block) => block.language === language);

describe('the code blocks of the documents', () => {
  test('are in languages that the tests know', () => {
    const unknown = blocks.filter(({ language }) => !LANGUAGES.includes(language));
    expect(unknown.map((block) => `${placeOf(block)}: "${block.language}"`)).toEqual([]);
  });

  test('in TypeScript are modules that compile', () => {
    expect(written('ts').length).toBeGreaterThan(10);
    const modules = new Map<string, string>();
    for (const block of written('ts')) {
      const path = pathOf(block);
      if (modules.has(path)) throw new Error(`${placeOf(block)}: ${path} exists twice`);
      modules.set(path, block.text + inTheOption(authenticatorsIn(block)));
    }
    expect(typeErrors(modules)).toEqual([]);
  }, 120_000);

  test('in TypeScript define classes that the option authenticator accepts', () => {
    const classes = written('ts').flatMap(authenticatorsIn);
    expect(classes.length).toBeGreaterThan(4);
    const path = join(ROOT, '.blocks/authenticators.ts');
    expect(typeErrors(new Map([[path, AUTHENTICATORS]]))).toEqual([
      expect.stringMatching(/:\d+: Type 'typeof WrongUsers' is not assignable/),
    ]);
  }, 120_000);

  test('in JSON are valid', () => {
    const broken = written('json').filter((block) => !isJson(block.text));
    expect(broken.map(placeOf)).toEqual([]);
  });

  test('in the shell name npm scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    const named = written('sh').flatMap((block) => npmScripts(block.text).map((script) => ({ block, script })));
    const unknown = named.filter(({ script }) => !(script in scripts));
    expect(named.length).toBeGreaterThan(3);
    expect(unknown.map(({ block, script }) => `${placeOf(block)}: npm run ${script}`)).toEqual([]);
  });
});

test('links between the documents have a target', () => {
  const linked = DOCUMENTS.flatMap((document) => linksOf(document).map((target) => ({ document, target })));
  expect(linked.length).toBeGreaterThan(10);
  expect(linked.filter(({ document, target }) => !hasTarget(document, target))).toEqual([]);
});

/** The names of the classes in a block that are made for the option `authenticator`. */
function authenticatorsIn({ text }: CodeBlock): string[] {
  return [...text.matchAll(/^(?:export )?class (\w+) extends User(?:Authenticator|Directory)\b/gm)].map(
    ([, name]) => name,
  );
}

/** Code that gives each of these classes to the option, in every way that the option knows. */
function inTheOption(classes: readonly string[]): string {
  if (classes.length === 0) return '';
  const providers = classes.map(
    (name) => `{ useClass: ${name} }, { useExisting: ${name} }, { useFactory: (users: ${name}) => users }`,
  );
  const type = "import('nestjs-multisession').MultiSessionModuleOptions['authenticator']";
  return `\nexport const inTheOption: (${type})[] = [${providers.join(', ')}];\n`;
}

/** Classes that do not occur in a document. The option accepts all but the last. */
const AUTHENTICATORS = `
import { type AuthenticatedUser, type Credentials, type Session, UserAuthenticator, UserDirectory } from 'nestjs-multisession';

type WithRoles = AuthenticatedUser & { roles: string[] };

class NoPasswords extends UserDirectory {}

class Roles extends UserDirectory<WithRoles> {
  override async findActive(id: string | number): Promise<WithRoles | null> {
    return { id, roles: ['editor'] };
  }

  override buildClaims(session: Session, { roles = [] }: AuthenticatedUser & Partial<WithRoles>) {
    return { type: session.type, roles };
  }
}

class Passwords extends UserAuthenticator<WithRoles> {
  async authenticate({ username }: Credentials): Promise<WithRoles | null> {
    return { id: username, roles: [] };
  }

  override buildClaims(_session: Session, { roles }: { roles?: string[] }) {
    return { roles };
  }
}

class WrongUsers {
  authenticate(): string {
    return 'no promise of a user';
  }
}
${inTheOption(['NoPasswords', 'Roles', 'Passwords'])}
export const wrong: (typeof inTheOption)[number] = { useClass: WrongUsers };
`;

/**
 * The path of a block as a file. Blocks of one document can import each other: the first line names the file,
 * `// users/app-user-authenticator.ts`. Otherwise the path has the line of the block, so that an error leads back to it.
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

function hasTarget(document: string, target: string): boolean {
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
