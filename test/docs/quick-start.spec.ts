import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { transformFileSync, transformSync } from '@swc/core';
import { codeBlocks, readDocument, ROOT, SWC } from './documents.js';

const blocks = codeBlocks(['README.md']);
const requests = blocks.filter((block) => block.language === 'sh').flatMap((block) => curlLines(block.text));

const { peerDependencies, peerDependenciesMeta } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  peerDependencies: object;
  peerDependenciesMeta: object;
};
const OPTIONAL_PEERS = Object.keys(peerDependenciesMeta);

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

  test('names every peer that is not optional', () => {
    const words = install.split(/[\s`,.]+/);
    const required = Object.keys(peerDependencies).filter((peer) => !OPTIONAL_PEERS.includes(peer));
    expect(required.filter((peer) => !words.includes(peer))).toEqual([]);
  });

  test('installs at most five packages besides TypeORM and its driver', () => {
    const lines = [...install.matchAll(/^npm install (.*)$/gm)].map(([, packages]) => packages.split(' '));
    const [ours, typeorm] = lines;
    expect(lines).toHaveLength(2);
    expect(ours).toContain('nestjs-multisession');
    expect(ours.length).toBeLessThanOrEqual(5);
    expect(typeorm).toEqual(['typeorm', expect.stringMatching(/^better-sqlite3@/)]);
    expect(ours.filter((name) => OPTIONAL_PEERS.includes(name))).toEqual([]);
  });
});

describe('the quick start of the README, without any optional peer', () => {
  let folder: string;
  let application: ChildProcess;
  let output = '';
  let port: number;

  beforeAll(async () => {
    // Below node_modules, so that Node resolves the peers, and the library by its package name.
    const cache = join(ROOT, 'node_modules/.cache');
    mkdirSync(cache, { recursive: true });
    folder = mkdtempSync(join(cache, 'quick-start-'));
    writeLibrary(join(folder, 'node_modules/nestjs-multisession'));
    writeApplication(folder);
    port = await freePort();
    application = spawn(process.execPath, [`--import=${HIDE_OPTIONAL_PEERS}`, 'src/main.js'], {
      cwd: folder,
      env: { ...process.env, PORT: String(port), JWT_SECRET: 'a signing secret of more than thirty-two bytes' },
    });
    application.stdout?.on('data', (text) => (output += text));
    application.stderr?.on('data', (text) => (output += text));
    await listening();
  });

  afterAll(async () => {
    if (application?.exitCode === null && application.kill()) await once(application, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });

  test.each(OPTIONAL_PEERS)('cannot load %s', (peer) => {
    const load = ['--input-type=module', '-e', `import ${JSON.stringify(peer)}`];
    const run = (...options: string[]) => spawnSync(process.execPath, [...options, ...load], { cwd: folder });
    expect(run(`--import=${HIDE_OPTIONAL_PEERS}`).stderr.toString()).toContain('ERR_MODULE_NOT_FOUND');
    expect(run().status).toBe(0);
  });

  test('answers 200 to each of its curl lines', async () => {
    expect(requests.length).toBeGreaterThanOrEqual(4);
    const variables = new Map<string, string>();
    for (const line of requests) {
      const { url, ...request } = readCurl(line, variables);
      const response = await fetch(url.replace(/localhost:\d+/, `127.0.0.1:${port}`), request);
      const body = await response.text();
      expect({ line, status: response.status, body }).toEqual({ line, status: 200, body });
      const { access, refresh } = JSON.parse(body) as { access?: string; refresh?: string };
      if (access) variables.set('ACCESS', access);
      if (refresh) variables.set('REFRESH', refresh);
    }
  });

  async function listening(): Promise<void> {
    const giveUp = performance.now() + 20_000;
    for (;;) {
      if (application.exitCode !== null || performance.now() > giveUp)
        throw new Error(`the application did not start:\n${output}`);
      const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
      if (answer) return;
      await sleep(50);
    }
  }
});

function writeLibrary(folder: string): void {
  const lib = join(ROOT, 'lib');
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  for (const file of files) write(folder, file, transformFileSync(join(lib, file), SWC).code);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module", "exports": { ".": "./index.js" } }');
}

function writeApplication(folder: string): void {
  for (const { language, text } of blocks) {
    const file = /^\/\/ (src\/[\w./-]+\.ts)\n/.exec(text)?.[1];
    if (language === 'ts' && file) write(folder, file, transformSync(text, { ...SWC, filename: file }).code);
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
}

function write(folder: string, file: string, code: string): void {
  const path = join(folder, file.replace(/\.ts$/, '.js'));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, code);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

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
