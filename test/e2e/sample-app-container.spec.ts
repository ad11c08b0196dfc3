import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseEnv, promisify } from 'node:util';
import { afterAll, describe, expect, test } from '@jest/globals';
import { validate } from 'dockerfile-utils';
import { load } from 'js-yaml';
import { readEnvironment } from '../../sample-app/src/environment.js';
import { until } from '../helpers/until.js';
import { freePort } from '../helpers/free-port.js';

const read = (path: string) => readFileSync(path, 'utf8');
const readJson = (path: string) => JSON.parse(read(path)) as Record<string, Record<string, string>>;
const folder = mkdtempSync(join(tmpdir(), 'sample-image-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** The instructions of each stage. */
const stages = readStages(read('sample-app/Dockerfile'));
const [build, final] = stages;
const of = (stage: readonly Instruction[], name: string) =>
  stage.filter((instruction) => instruction.name === name).map(({ text }) => text);

function readStages(text: string): Instruction[][] {
  const lines = text
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n');
  const found: Instruction[][] = [];
  for (const line of lines.filter((each) => each.trim() !== '')) {
    const [, name, rest] = /^(\w+)\s+(.*)$/.exec(line) as RegExpExecArray;
    if (name === 'FROM') found.push([]);
    found.at(-1)?.push({ name, text: rest });
  }
  return found;
}

/** The words of a JSON list, such as that of `CMD`. */
const words = (text: string) => JSON.parse(text.slice(text.indexOf('['))) as string[];

/** Sources and target of a `COPY` from the context. */
const copies = (stage: readonly Instruction[]) =>
  of(stage, 'COPY')
    .filter((text) => !text.startsWith('--from'))
    .map((text) => text.split(' '))
    .map((paths) => ({ sources: paths.slice(0, -1), target: paths.at(-1) as string }));

describe('the Dockerfile', () => {
  test('has no fault that the linter knows', () => {
    expect(validate(read('sample-app/Dockerfile'))).toEqual([]);
  });

  test('copies only what its ignore file lets in, and no secrets', () => {
    const [first, ...allowed] = read('sample-app/Dockerfile.dockerignore')
      .split('\n')
      .filter((line) => line && !line.startsWith('#'));
    expect(first).toBe('*');
    const paths = allowed.map((line) => line.replace(/^!/, ''));
    const copied = stages.flatMap(copies).flatMap(({ sources }) => sources);
    expect(copied.length).toBeGreaterThan(8);
    const isIn = (path: string) =>
      paths.some((one) => one === path || one.startsWith(`${path}/`) || path.startsWith(`${one}/`));
    expect(copied.filter((path) => !isIn(path))).toEqual([]);
    expect(paths.filter((path) => 'sample-app/.env'.startsWith(path))).toEqual([]);
  });

  test('builds as the checkout does', () => {
    expect(of(build, 'RUN').at(-1)).toBe(readJson('package.json').scripts.pretest);
    const made = of(final, 'COPY').flatMap((text) => /^--from=build \/app\/(\S+) (\S+)$/.exec(text)?.slice(1) ?? []);
    expect(made).toEqual(['dist', 'dist', 'client/dist', 'client/dist', 'dist-app', 'dist-app']);
  });

  test('installs the versions that the tests use', () => {
    const { dependencies } = readJson('sample-app/runtime/package.json');
    const { devDependencies } = readJson('package.json');
    expect(devDependencies).toMatchObject(dependencies);
    expect(of(final, 'RUN')).toEqual([
      expect.stringMatching(/^npm ci --omit=dev .*--workspace nestjs-multisession-sample-app /),
    ]);
  });

  test('starts with the packages of the image alone, is healthy, and stops at SIGTERM', async () => {
    for (const { sources, target } of copies(final))
      for (const source of sources)
        cpSync(source, join(folder, target, target.endsWith('/') ? (source.split('/').at(-1) as string) : ''), {
          recursive: true,
        });
    // The checkout's own build takes the place of the first stage, and its packages that of `npm ci`.
    for (const path of ['dist', 'client/dist', 'dist-app']) cpSync(path, join(folder, path), { recursive: true });
    const installed = [
      ...Object.keys(readJson('package.json').dependencies),
      ...Object.keys(readJson('sample-app/runtime/package.json').dependencies),
    ];
    for (const name of installed) {
      mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true });
      symlinkSync(resolve('node_modules', name), join(folder, 'node_modules', name));
    }
    symlinkSync(join(folder, 'client'), join(folder, 'node_modules/nestjs-multisession-client'));

    const declared = Object.fromEntries(
      of(final, 'ENV').flatMap((text) => text.split(' ').map((pair) => pair.split('='))),
    );
    expect(declared).toEqual({ NODE_ENV: 'production', HOST: '0.0.0.0', PORT: '3000' });
    const env = {
      PATH: process.env.PATH,
      ...declared,
      PORT: String(await freePort()),
      JWT_SECRET: 'a signing secret of more than thirty-two bytes',
    };
    const [command, ...args] = words(of(final, 'CMD')[0]);
    const app = spawn(command, args, { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'] });
    let printed = '';
    app.stderr.on('data', (chunk) => (printed += String(chunk)));
    const [probe, ...probeArgs] = words(of(final, 'HEALTHCHECK')[0]);
    const isHealthy = async () =>
      promisify(execFile)(probe, probeArgs, { env }).then(
        () => true,
        () => false,
      );
    const answers = async () => {
      if (app.exitCode !== null) throw new Error(`the application exited:\n${printed}`);
      return (await fetch(`http://127.0.0.1:${env.PORT}/health`).catch(() => undefined))?.ok === true;
    };
    try {
      expect(await isHealthy()).toBe(false);
      await until(answers, 120_000);
      expect(await isHealthy()).toBe(true);
      app.kill('SIGTERM');
      expect(await once(app, 'exit')).toEqual([0, null]);
    } finally {
      app.kill('SIGKILL');
    }
  });
});

describe('compose.yaml', () => {
  const { services } = load(read('sample-app/compose.yaml')) as { services: Record<string, any> };

  test('has no fault that the linter knows', () => {
    const linted = spawnSync(process.execPath, ['node_modules/.bin/dclint', 'sample-app/compose.yaml'], {
      encoding: 'utf8',
    });
    expect([linted.status, linted.stdout]).toEqual([0, expect.not.stringMatching(/warning|error/)]);
  });

  test('sets variables with which the application starts, and no secret of its own', () => {
    const { POSTGRES_PASSWORD, ...example } = parseEnv(read('sample-app/.env.example'));
    expect(POSTGRES_PASSWORD).toBe('');
    const text = read('sample-app/compose.yaml');
    expect(text.match(/\$\{[^}]*\}/g)).toEqual(Array(2).fill(expect.stringMatching(/^\$\{POSTGRES_PASSWORD:\?/)));
    const set = Object.entries<string>(services.app.environment).map(([name, value]) => [
      name,
      value.replaceAll(/\$\{[^}]*\}/g, 'secret1'),
    ]);
    expect(Object.keys(example)).toEqual(expect.arrayContaining(set.map(([name]) => name)));
    const environment = readEnvironment({
      ...example,
      ...Object.fromEntries(set),
      JWT_SECRET: 'a signing secret of more than thirty-two bytes',
    });
    expect(environment).toMatchObject({ host: '0.0.0.0', port: 3000, push: expect.anything() });
    expect(environment.database).toMatchObject({ type: 'postgres', url: 'postgres://sample:secret1@postgres/sample' });
  });

  test('lets only this machine in, and gives the application time to stop', () => {
    expect(services.app.ports).toEqual(['127.0.0.1:3000:3000']);
    expect([services.postgres.ports, services.redis.ports]).toEqual([undefined, undefined]);
    const [, limit] = /^const LIMIT = (\d+);/m.exec(read('sample-app/src/draining.ts')) ?? [];
    expect(parseInt(String(services.app.stop_grace_period)) * 1000).toBeGreaterThan(Number(limit));
  });
});
