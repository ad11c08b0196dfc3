import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { runCommand } from '../../../lib/cli/command.js';

const folder = mkdtempSync(join(tmpdir(), 'report-'));
afterAll(() => rmSync(folder, { recursive: true }));

const LONG = { refreshTokenLifetime: '30d', extendSession: 'every-refresh', maxActiveSessions: 5 };

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

async function run(...args: string[]) {
  const written = { out: '', err: '' };
  const stream = (name: 'out' | 'err') =>
    ({ write: (text: string) => ((written[name] += text), true) }) as unknown as NodeJS.WriteStream;
  const terminal = { env: {}, out: stream('out'), err: stream('err'), signal: new AbortController().signal };
  const code = await runCommand(['report', ...args], terminal);
  return { code, ...written };
}

describe('nestjs-multisession report', () => {
  test('prints the rows of a JSON file, without a secret in it', async () => {
    const { code, out, err } = await run('--config', file('options.json', { policies: { LONG } }));
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(
      /^OWASP ASVS 5\.0\n\nyours {4}7\.1\.1 \(level 2\): .*\n {9}here: LONG 30 d without activity, no limit/,
    );
    expect(out).toMatch(/\nnot met {2}7\.3\.2 .*\n.*\n.*\n {9}to do: set absoluteLifetime of LONG\n/);
    expect(out).toMatch(/\nRFC 9700\n\nnot met {2}2\.2\.1: /);
    expect(out).toMatch(/\n\d+ met, \d+ not met, \d+ up to your application\n$/);
  });

  test('exits with 1 if a row of the level is not met', async () => {
    // No level requires the rows of RFC 9700 that are not met either.
    const config = file('level.json', { policies: { LONG } });
    expect(await run('--config', config, '--level', '2')).toMatchObject({ code: 1 });
    expect(await run('--config', config, '--level', '1')).toMatchObject({ code: 0 });
    expect(await run('--config', config)).toMatchObject({ code: 0 });
  });

  test.each([
    ['default.mjs', (options: string) => `export default ${options}`],
    ['options.mjs', (options: string) => `export const options = ${options}`],
    ['factory.mjs', (options: string) => `export default async () => (${options})`],
  ])('reads the module %s, with static options', async (name, module) => {
    const options = { jwt: {}, secretKey: false, admin: { guard: 'a guard' }, policies: { LONG } };
    const { code, out } = await run('--config', file(name, module(JSON.stringify(options))), '--json');
    expect(code).toBe(0);
    const rows = JSON.parse(out) as { row: string; verdict: string }[];
    expect(rows.find(({ row }) => row === '7.4.5')).toMatchObject({ verdict: 'met' });
  });

  test.each<[string, string[] | (() => string[]), RegExp]>([
    ['no file', [], /--config is missing/],
    ['a missing file', ['--config', '/no/such/file.json'], /path of a JSON file; ENOENT/],
    ['an unknown argument', ['--from', 'x'], /--from/],
    ['an unknown level', () => ['--config', file('a.json', {}), '--level', '4'], /must be 1, 2 or 3; got "4"/],
    ['an unknown option', () => ['--config', file('b.json', { polices: {} })], /--config: polices: is not an option/],
    [
      'lifetimes that break the level',
      () => ['--config', file('c.json', { policies: { LONG: { ...LONG, assurance: 'AAL2' } } })],
      /--config: policies\.LONG\.assurance: is AAL2/,
    ],
    [
      'a module that throws',
      () => ['--config', file('d.mjs', 'throw new Error("no way")')],
      /cannot be loaded: no way/,
    ],
    ['a module without options', () => ['--config', file('e.mjs', 'export const x = 1')], /must export the options/],
  ])('refuses %s', async (_, given, message) => {
    const { code, out, err } = await run(...(typeof given === 'function' ? given() : given));
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(message);
  });
});
