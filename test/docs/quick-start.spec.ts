import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  GETTING_STARTED,
  makeApplicationFolder,
  type QuickStart,
  startApplication,
  writeApplication,
} from '../helpers/quick-start.js';
import { codeBlocks, readDocument, ROOT } from './documents.js';

const blocks = codeBlocks([GETTING_STARTED]);
const requests = blocks.filter((block) => block.language === 'sh').flatMap((block) => curlLines(block.text));

const { peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  peerDependencies: object;
};
/** The peers of the main entry. For npm, all are optional, because services without Nest install none of them. */
const REQUIRED_PEERS = [
  '@nestjs/common',
  '@nestjs/core',
  '@nestjs/jwt',
  '@nestjs/typeorm',
  'class-transformer',
  'class-validator',
  'reflect-metadata',
  'rxjs',
  'typeorm',
];
const OPTIONAL_PEERS = Object.keys(peerDependencies).filter((peer) => !REQUIRED_PEERS.includes(peer));

/** Makes the optional peers unresolvable in a process: `node --import=HIDE_OPTIONAL_PEERS`. */
const HIDE_OPTIONAL_PEERS = moduleUrl(
  `import { register } from 'node:module'; register(${JSON.stringify(
    moduleUrl(`export async function resolve(specifier, context, nextResolve) {
      const hidden = ${JSON.stringify(OPTIONAL_PEERS)}.find((name) => (specifier + '/').startsWith(name + '/'));
      if (!hidden) return nextResolve(specifier, context);
      const error = new Error(\`Cannot find package '\${hidden}' imported from \${context.parentURL}\`);
      throw Object.assign(error, { code: 'ERR_MODULE_NOT_FOUND' });
    }`),
  )});`,
);

function moduleUrl(code: string): string {
  return `data:text/javascript,${encodeURIComponent(code)}`;
}

describe('the install section of the README', () => {
  const [, install] = /^## Install$([^]*?)^## /m.exec(readDocument('README.md')) ?? [];

  test('names every peer of the main entry', () => {
    const names = install.split(/[\s`,]+/).map((word) => word.replace(/(?<=.)@.*$/, ''));
    // A new Nest application has the packages that the section does not install.
    expect(REQUIRED_PEERS.filter((peer) => !names.includes(peer) && !install.includes(`\`${peer}\``))).toEqual([]);
  });

  test('installs at most five packages besides TypeORM and its driver', () => {
    const lines = [...install.matchAll(/^npm install (.*)$/gm)].map(([, packages]) => packages.split(' '));
    // One pair of lines for each major version of Nest.
    expect(lines).toHaveLength(4);
    for (const ours of [lines[0], lines[2]]) {
      expect(ours).toContain('nestjs-multisession');
      expect(ours.length).toBeLessThanOrEqual(5);
      expect(ours.filter((name) => OPTIONAL_PEERS.includes(name.replace(/(?<=.)@.*$/, '')))).toEqual([]);
    }
    for (const typeorm of [lines[1], lines[3]])
      expect(typeorm).toEqual([expect.stringMatching(/^typeorm@/), expect.stringMatching(/^better-sqlite3@/)]);
  });
});

describe('the quick start, without any optional peer', () => {
  let folder: string;
  let application: QuickStart | undefined;

  beforeAll(() => {
    folder = makeApplicationFolder();
  });
  afterEach(() => application?.stop());
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(OPTIONAL_PEERS)('cannot load %s', (peer) => {
    const load = ['--input-type=module', '-e', `import ${JSON.stringify(peer)}`];
    const run = (...options: string[]) => spawnSync(process.execPath, [...options, ...load], { cwd: folder });
    expect(run(`--import=${HIDE_OPTIONAL_PEERS}`).stderr.toString()).toContain('ERR_MODULE_NOT_FOUND');
    expect(run().status).toBe(0);
  });

  test.each([GETTING_STARTED, 'README.md'])('with the files of %s, answers 200 to each curl line', async (document) => {
    expect(requests.length).toBeGreaterThanOrEqual(4);
    // Those of the README replace the ones of the page.
    expect(writeApplication(folder, GETTING_STARTED)).toContain('src/sessions.module.ts');
    expect(writeApplication(folder, document)).toContain('src/sessions.module.ts');
    application = await startApplication(folder, [`--import=${HIDE_OPTIONAL_PEERS}`]);
    const { host } = new URL(application.url);
    const variables = new Map<string, string>();
    for (const line of requests) {
      const { url, ...request } = readCurl(line, variables);
      const response = await fetch(url.replace(/localhost:\d+/, host), request);
      const body = await response.text();
      expect({ line, status: response.status, body }).toEqual({ line, status: 200, body });
      const { access, refresh } = JSON.parse(body) as { access?: string; refresh?: string };
      if (access) variables.set('ACCESS', access);
      if (refresh) variables.set('REFRESH', refresh);
    }
  });
});

/** The curl commands of a block, each joined to one line. */
function curlLines(text: string): string[] {
  const lines = text.replaceAll(/\\\n\s*/g, '').split('\n');
  return lines.filter((line) => line.startsWith('curl '));
}

/**
 * Parses a curl line. `$ACCESS` and `$REFRESH` come from the last answer that had them.
 *
 * @throws if the line has anything but a URL, -X, -H and -d, because it would go unchecked
 */
function readCurl(line: string, variables: ReadonlyMap<string, string>) {
  const words = [...line.matchAll(/'([^']*)'|"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, single, double, bare]) => single ?? substitute(double?.replaceAll('\\"', '"') ?? bare, variables),
  );
  const request = {
    url: '',
    method: 'GET',
    headers: {} as Record<string, string>,
    body: undefined as string | undefined,
  };
  for (let at = 1; at < words.length; at++) {
    if (words[at] === '-X') request.method = words[++at];
    else if (words[at] === '-H') addHeader(request.headers, words[++at]);
    else if (words[at] === '-d') [request.method, request.body] = ['POST', words[++at]];
    else if (/^(http:\/\/)?localhost:/.test(words[at])) request.url = words[at].replace(/^(http:\/\/)?/, 'http://');
    else throw new Error(`unknown word ${words[at]} in ${line}`);
  }
  return request;
}

function addHeader(headers: Record<string, string>, line: string): void {
  const colon = line.indexOf(':');
  headers[line.slice(0, colon)] = line.slice(colon + 1).trim();
}

function substitute(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replaceAll(/\$([A-Z]+)/g, (_, name: string) => {
    const value = variables.get(name);
    if (value === undefined) throw new Error(`no answer has contained $${name} yet`);
    return value;
  });
}
