import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import ts from 'typescript';
import { type CodeBlock, codeBlocks, DOCUMENTS, isForBrowsers, placeOf, readDocument, ROOT } from './documents.js';
import { typeErrors } from './program.js';

/** The languages that a test below checks, or that need no check. */
const LANGUAGES = ['ts', 'tsx', 'json', 'sh', 'sql', 'python', 'http', 'html', 'css', 'text', 'mermaid', 'yaml'];

const blocks = codeBlocks();
/** The file of the examples that a block quotes: its language is followed by the path. */
const quoted = ({ language }: CodeBlock) => /^\w+ (examples\/\S+)$/.exec(language)?.[1];
const written = (language: string) => blocks.filter((block) => block.language === language);
const modules = (platform: 'node' | 'browser') =>
  [...written('ts'), ...written('tsx')].filter((block) => isForBrowsers(block) === (platform === 'browser'));

describe('the code blocks of the documents', () => {
  test('are in languages that the tests know', () => {
    const unknown = blocks.filter((block) => !LANGUAGES.includes(block.language) && !quoted(block));
    expect(unknown.map((block) => `${placeOf(block)}: "${block.language}"`)).toEqual([]);
  });

  test.each(['node', 'browser'] as const)(
    'in TypeScript are modules that compile, for the platform %s',
    (platform) => {
      expect(modules(platform).length).toBeGreaterThan(4);
      const texts = new Map([[join(ROOT, '.blocks/vite.d.ts'), VITE]]);
      for (const block of modules(platform)) {
        const path = pathOf(block);
        if (texts.has(path)) throw new Error(`${placeOf(block)}: ${path} exists twice`);
        texts.set(path, block.text + inTheOption(authenticatorsIn(block)) + inTheirOptions(block));
      }
      // TypeORM's own options do not accept undefined with `exactOptionalPropertyTypes`.
      const isOfTypeOrm = (error: string) =>
        /exactOptionalPropertyTypes: true'/.test(error) && /DataSourceOptions/.test(error);
      expect(typeErrors(texts, platform).filter((error) => !isOfTypeOrm(error))).toEqual([]);
    },
    240_000,
  );

  test('in TypeScript define classes that the option authenticator accepts', () => {
    const classes = written('ts').flatMap(authenticatorsIn);
    expect(classes.length).toBeGreaterThan(4);
    const path = join(ROOT, '.blocks/authenticators.ts');
    expect(typeErrors(new Map([[path, AUTHENTICATORS]]))).toEqual([
      expect.stringMatching(/:\d+: Type 'typeof WrongUsers' is not assignable/),
    ]);
  }, 120_000);

  test('in TypeScript have no top-level await, which CommonJS does not know', () => {
    const awaiting = written('ts').filter(({ text }) =>
      hasTopLevelAwait(ts.createSourceFile('block.ts', text, ts.ScriptTarget.Latest)),
    );
    expect(awaiting.map(placeOf)).toEqual([]);
    expect(hasTopLevelAwait(ts.createSourceFile('block.ts', 'const a = await b();', ts.ScriptTarget.Latest))).toBe(
      true,
    );
  });

  test('that quote an example are in it, and are short', () => {
    const quotes = blocks.filter(quoted);
    expect(quotes.length).toBeGreaterThan(8);
    const wrong = quotes.filter((block) => !readDocument(quoted(block) as string).includes(block.text));
    expect(wrong.map(placeOf)).toEqual([]);
    expect(quotes.filter(({ text }) => text.split('\n').length > 20).map(placeOf)).toEqual([]);
  });

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

/** The classes that a document may extend or implement, and a value of the options that has the class. */
const OPTIONS_OF: readonly (readonly [of: RegExp, option: (name: string) => string])[] = [
  [/extends SessionsController\b/, (name) => `{ controller: ${name} }`],
  [/extends SessionManagementController\b/, (name) => `{ management: ${name} }`],
  [/extends DevicesController\b/, (name) => `{ devices: ${name} }`],
  [/extends AdminSessionsController\b/, (name) => `{ admin: { guard: [], controller: ${name} } }`],
  [/implements CanActivate\b/, (name) => `{ loginGuards: [${name}], admin: { guard: ${name} } }`],
];

/** Code that gives the other classes of a block to the option that they are for. */
function inTheirOptions({ text }: CodeBlock): string {
  const classes = [...text.matchAll(/^(?:export )?class (\w+) (.*)\{$/gm)];
  const values = classes.flatMap(([, name, heritage]) =>
    OPTIONS_OF.filter(([of]) => of.test(heritage)).map(([, option]) => option(name)),
  );
  const type = "Partial<import('nestjs-multisession').MultiSessionModuleOptions>";
  return values.length === 0 ? '' : `\nexport const inTheirOptions: ${type}[] = [${values.join(', ')}];\n`;
}

function hasTopLevelAwait(node: ts.Node): boolean {
  if (ts.isFunctionLike(node)) return false;
  return ts.isAwaitExpression(node) || ts.forEachChild(node, (child) => hasTopLevelAwait(child) || undefined) === true;
}

/** What the documents use of Vite, which is not a dependency of the repository. */
const VITE = `
declare module 'vite' {
  interface UserConfig { plugins: object[]; server: { proxy: Record<string, string> } }
  export function defineConfig(config: UserConfig): UserConfig;
}
declare module '@vitejs/plugin-react' { export default function react(): object; }
`;

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
function pathOf({ document, line, language, text }: CodeBlock): string {
  const named = /^\/\/ ([\w./-]+\.tsx?)\n/.exec(text)?.[1];
  return join(ROOT, '.blocks', document, named ?? `line-${line}.${language}`);
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
