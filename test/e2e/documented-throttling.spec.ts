import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { transformSync } from '@swc/core';
import { afterAll, afterEach, expect, test } from '@jest/globals';
import { codeBlocks, ROOT, SWC } from '../docs/documents.js';
import { ADAPTERS } from '../helpers/app.js';
import { folderForBlocks } from '../helpers/code-block.js';

/** An application with the recipe, in a process of its own, because Jest cannot load @nestjs/throttler. */
const APPLICATION = `
  import { NestFactory } from '@nestjs/core';
  import { ExpressAdapter } from '@nestjs/platform-express';
  import { FastifyAdapter } from '@nestjs/platform-fastify';
  import { TypeOrmModule } from '@nestjs/typeorm';
  import { MultiSessionModule, SHORT_AND_LONG, UserAuthenticator } from 'nestjs-multisession';
  import { PasswordThrottlingModule } from './password-throttling.module.mjs';

  class Users extends UserAuthenticator {
    async authenticate({ username, password }) {
      return username === 'alice' && password === 'alice-password' ? { id: 'alice' } : null;
    }
  }
  class Root {}
  const imports = [
    TypeOrmModule.forRoot({ type: 'better-sqlite3', database: ':memory:', autoLoadEntities: true, synchronize: true }),
    PasswordThrottlingModule,
    MultiSessionModule.forRoot({
      authenticator: { useClass: Users },
      jwt: { secret: 'a signing secret of more than thirty-two bytes' },
      secretKey: false,
      policies: SHORT_AND_LONG,
    }),
  ];
  const adapter = process.argv[2] === 'fastify' ? new FastifyAdapter({ trustProxy: true }) : new ExpressAdapter();
  const app = await NestFactory.create({ module: Root, imports }, adapter, { logger: ['error'] });
  if (adapter instanceof ExpressAdapter) adapter.set('trust proxy', 1);
  await app.listen(0, '127.0.0.1');
  process.send(await app.getUrl());
`;

const folder = folderForBlocks();
let child: ChildProcess | undefined;
afterEach(() => void child?.kill('SIGKILL'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function start(adapter: string): Promise<string> {
  if (!existsSync(join(ROOT, 'dist/index.js'))) throw new Error('dist does not exist. Run: npm run build');
  const recipe = codeBlocks(['docs/custom-flows.md']).find(({ text }) =>
    text.startsWith('// password-throttling.module.ts\n'),
  );
  write('password-throttling.module.mjs', transformSync(recipe?.text ?? '', SWC).code);
  write('main.mjs', APPLICATION);
  child = spawn(process.execPath, [join(folder, 'main.mjs'), adapter], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const [url] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as [unknown];
  if (typeof url !== 'string') throw new Error(`the application ended with code ${String(url)}`);
  return url;
}

/** Writes a module. A package has no name for itself below its own node_modules. */
function write(file: string, code: string): void {
  const library = pathToFileURL(join(ROOT, 'dist/index.js')).href;
  writeFileSync(join(folder, file), code.replaceAll(/(['"])nestjs-multisession\1/g, `'${library}'`));
}

test.each(ADAPTERS)(
  'the documented throttling stops guesses at every route with a password, on %s',
  async (adapter) => {
    const url = await start(adapter);
    const post = async (route: string, body: object, access?: string, address = 1) => {
      const headers = {
        'content-type': 'application/json',
        'x-forwarded-for': `203.0.113.${address}`,
        ...(access && { authorization: `Bearer ${access}` }),
      };
      return fetch(`${url}/api/session/${route}`, { method: 'POST', headers, body: JSON.stringify(body) });
    };
    /** All at once, because the limit is for a minute. */
    const statuses = async (one: (at: number) => Promise<Response>, length = 30) =>
      (await Promise.all(Array.from({ length }, (_, at) => one(at)))).map(({ status }) => status).sort();
    const alice = { username: 'alice', password: 'alice-password', session: 'LONG' };
    const { access } = (await (await post('login', alice)).json()) as { access: string };
    const guess = { username: 'alice', password: 'a guess' };
    const repeated = (status: number, times: number) => Array<number>(times).fill(status);
    expect(await statuses(() => post('reauthenticate', guess, access))).toEqual([
      ...repeated(401, 20),
      ...repeated(429, 10),
    ]);
    // The login of this test was the first of the twenty.
    expect(await statuses(() => post('login', { ...guess, session: 'LONG' }))).toEqual([
      ...repeated(401, 19),
      ...repeated(429, 11),
    ]);
    expect((await post('login', alice)).status).toBe(429);
    // Of a hundred guesses at one user in an hour, 40 were let in from one address.
    const fromOthers = (at: number) =>
      post('login', { ...guess, username: at % 2 ? ' Alice' : 'alice', session: 'LONG' }, undefined, at + 2);
    expect(await statuses(fromOthers, 65)).toEqual([...repeated(401, 60), ...repeated(429, 5)]);
    expect((await post('login', { ...guess, username: 'bob', session: 'LONG' }, undefined, 90)).status).toBe(401);
    expect(await statuses(() => post('list', { session: 'ALL' }, access))).toEqual(repeated(200, 30));
  },
);
