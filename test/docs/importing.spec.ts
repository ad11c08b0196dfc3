import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, describe, expect, test } from '@jest/globals';
import { DataSource } from 'typeorm';
import { runCommand } from '../../lib/cli/command.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { type OldDatabaseName, openOldDatabase } from '../helpers/old-systems.js';
import { codeBlocks, readDocument, tableRows } from './documents.js';

/** The pages with commands, the database of each old system, and how many of its sessions the page's policies import. */
const PAGES: readonly (readonly [page: string, old: OldDatabaseName, imported: number])[] = [
  ['docs/coming-from-django.md', 'simplejwt-multisessions', 52],
  ['docs/coming-from-drf-jwt-devices.md', 'other-systems', 24],
  ['docs/coming-from-supertokens.md', 'other-systems', 20],
  ['docs/coming-from-django-token-manager.md', 'other-systems', 18],
];

const opened: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** Returns the commands of a page, in order. */
const commandsOf = (page: string) =>
  codeBlocks([page])
    .filter(({ language }) => language === 'sh')
    .flatMap(({ text }) => text.split('\n'))
    .filter((line) => line.startsWith('npx nestjs-multisession import'));

/** Returns the file `sessions.json` of a page. */
function configOf(page: string): string {
  const [config] = codeBlocks([page]).filter(
    ({ language, text }) => language === 'json' && text.includes('legacyTokens'),
  );
  return config.text;
}

async function scene(page: string, oldName: OldDatabaseName) {
  const folder = await mkdtemp(join(tmpdir(), 'importing-'));
  opened.push(() => rm(folder, { recursive: true }));
  const old = await openOldDatabase(oldName);
  opened.push(() => old.drop());
  // The devices were last used on the day when the database was made.
  if (oldName === 'other-systems')
    await old.run("UPDATE jwt_devices_device SET last_request_datetime = datetime('now')");
  const to = join(folder, 'new.sqlite');
  const dataSource = new DataSource({
    type: 'better-sqlite3',
    database: to,
    entities: [...MULTI_SESSION_ENTITIES],
    synchronize: true,
  });
  await dataSource.initialize();
  opened.push(() => dataSource.destroy());
  const config = join(folder, 'sessions.json');
  await writeFile(config, configOf(page));
  const env = { OLD_DATABASE_URL: old.url, DATABASE_URL: to };
  const run = async (command: string) => {
    const texts = { out: '', err: '' };
    const stream = (name: 'out' | 'err') =>
      new PassThrough().on('data', (text) => (texts[name] += text)) as unknown as NodeJS.WriteStream;
    const args = command.replace('sessions.json', config).split(' ').slice(2);
    const { signal } = new AbortController();
    const code = await runCommand(args, { env, out: stream('out'), err: stream('err'), signal });
    return { code, ...texts };
  };
  return { run, dataSource };
}

describe.each(PAGES)('the commands of %s', (page, oldName, imported) => {
  test('import the sessions', async () => {
    const { run, dataSource } = await scene(page, oldName);
    const commands = commandsOf(page);
    expect(commands).toHaveLength(3);
    const [dry, first, cutover] = commands;
    expect(dry).toContain('--dry-run');
    expect(cutover).toContain('--cutover');
    expect(await run(dry)).toMatchObject({ code: 0, out: expect.stringContaining('This was a dry run.') });
    expect(await dataSource.manager.count(SessionEntity)).toBe(0);
    expect(await run(first)).toMatchObject({
      code: 0,
      out: expect.stringMatching(new RegExp(`^imported +${imported}$`, 'm')),
    });
    expect(await run(cutover)).toMatchObject({ code: 0, out: expect.stringMatching(/^imported +0$/m) });
    expect(await dataSource.manager.count(SessionEntity)).toBe(imported);
  });
});

describe('docs/importing.md', () => {
  test('has commands that work', async () => {
    const { run } = await scene('docs/coming-from-django.md', 'simplejwt-multisessions');
    const commands = commandsOf('docs/importing.md');
    expect(commands).toHaveLength(2);
    for (const command of commands) expect(await run(command)).toMatchObject({ code: 0 });
  });

  test('lists the options that --help lists', async () => {
    const { run } = await scene('docs/coming-from-django.md', 'simplejwt-multisessions');
    const { out } = await run('npx nestjs-multisession --help');
    const [ofImport] = out.split('nestjs-multisession report');
    const shown = [...ofImport.matchAll(/^ {2}(--[\w-]+(?: <[\w.]+>)?)/gm)].map(([, option]) => option);
    const listed = tableRows('docs/importing.md', '## Options').map(({ option }) => option.replaceAll('`', ''));
    expect(listed).toEqual(shown.filter((option) => option !== '--help'));
  });

  test('explains each line of the table of results', () => {
    const text = readDocument('docs/importing.md');
    for (const line of ['imported', 'updated', 'removed', 'failed'])
      expect(text).toMatch(new RegExp(`^\\| ${line} +\\|`, 'm'));
  });
});
