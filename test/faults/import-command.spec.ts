import { afterEach, describe, expect, test } from '@jest/globals';
import { SessionAliasEntity } from '../../lib/session/alias.entity.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { selectedDatabases } from '../helpers/databases.js';
import {
  argumentsFor,
  Command,
  configFile,
  counted,
  opened,
  openOld,
  openTarget,
  runOn,
  SESSIONS,
} from '../helpers/import-command.js';
import { onEachSharedDatabase } from '../helpers/matrix.js';
import { openOldDatabase } from '../helpers/old-systems.js';
import { variants } from '../helpers/size.js';

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

onEachSharedDatabase((name) => {
  describe(`nestjs-multisession import to ${name}`, () => {
    test('imports, and prints plain lines and a table', async () => {
      const { url, dataSource } = await openTarget(name);
      const args = await argumentsFor(await openOld(), url);
      const dry = await Command.run([...args, '--dry-run']).ended;
      expect(dry).toMatchObject({ code: 0 });
      expect(dry.out).toMatch(/^would be imported +52$/m);
      expect(await dataSource.manager.count(SessionAliasEntity)).toBe(0);

      const first = await Command.run(args).ended;
      expect(first).toMatchObject({ code: 0 });
      expect(first.err).toMatch(/^reading sessions: 56 of 56 \(100 %\), [\d,]+ a second, done\n$/);
      expect(first.out).toBe(
        [
          'read                                56',
          'imported                            52',
          'updated                              0',
          'removed                              0',
          'skipped: expired in the old system   4',
          'failed                               0',
          '',
        ].join('\n'),
      );
      const again = await Command.run([...args, '--cutover']).ended;
      expect(again).toMatchObject({ code: 0, out: expect.stringMatching(/^imported +0$/m) });
      expect(again.out).toContain('The move is declared done.');
      expect(await dataSource.manager.count(SessionEntity)).toBe(52);
    });

    test.each(variants([['SIGINT'], ['SIGTERM'], ['SIGKILL']] as const, selectedDatabases().indexOf(name)))(
      'after %s in the middle, the next run completes the import',
      async (signal) => {
        const { url, dataSource } = await openTarget(name);
        const total = 12_000;
        const args = await argumentsFor(await openOld(total), url);
        const command = Command.run(args);
        const imported = () => dataSource.manager.count(SessionAliasEntity);
        while ((await imported()) === 0 && command.isRunning) await new Promise((done) => setTimeout(done, 5));
        command.kill(signal);
        const ended = await command.ended;
        expect(ended.signal).toBe(signal);
        if (signal !== 'SIGKILL') {
          expect(ended.out).toContain('Interrupted. Run the command again to continue.');
          expect(ended.out).toMatch(/^imported +[\d,]+$/m);
        }
        const before = await imported();
        expect(before).toBeGreaterThan(0);
        expect(before).toBeLessThan(total + 52);
        // Whatever the moment, each session has its alias.
        expect(await dataSource.manager.count(SessionEntity)).toBe(before);

        const second = await Command.run(args).ended;
        expect(second).toMatchObject({ code: 0 });
        expect([await imported(), await dataSource.manager.count(SessionEntity)]).toEqual([total + 52, total + 52]);
        const third = await Command.run(args).ended;
        expect(third).toMatchObject({ code: 0, out: expect.stringMatching(/^imported +0$/m) });
      },
    );

    test('two at once import each session once, and log no fault', async () => {
      const { url, dataSource } = await openTarget(name);
      const total = 12_000;
      const old = await openOld(total);
      const args = await argumentsFor(old, url);
      const race = async () => {
        const commands = [Command.run(args), Command.run(args)];
        const ended = await Promise.all(commands.map((command) => command.ended));
        for (const { code, err } of ended) {
          const faults = err.split('\n').filter((line) => !/^(reading|looking for) |^$/.test(line));
          expect({ code, faults }).toEqual({ code: 0, faults: [] });
        }
        return (line: string) => ended.map((one) => counted(one, line));
      };
      const sum = ([first, second]: number[]) => first + second;
      const whole = total + 52;

      const imports = await race();
      expect(sum(imports('imported'))).toBe(whole);
      expect(sum(imports('skipped: imported already, unchanged'))).toBe(whole);
      expect(await dataSource.manager.count(SessionEntity)).toBe(whole);
      expect(await dataSource.manager.count(SessionAliasEntity)).toBe(whole);

      await runOn(old, `UPDATE ${SESSIONS} SET lastUpdateDate = '2026-09-01 10:00:00' WHERE session_id LIKE 'more-%5'`);
      await runOn(old, `DELETE FROM ${SESSIONS} WHERE session_id LIKE 'more-%7'`);
      const updates = await race();
      expect(sum(updates('updated'))).toBeGreaterThanOrEqual(total / 10);
      expect(updates('skipped: imported already, used here since')).toEqual([0, 0]);
      expect(sum(updates('removed'))).toBe(total / 10);
      expect(await dataSource.manager.count(SessionEntity)).toBe(whole - total / 10);
      const last = await Command.run(args).ended;
      expect(['imported', 'updated', 'removed'].map((line) => counted(last, line))).toEqual([0, 0, 0]);
    });
  });
});

describe('the exit code of nestjs-multisession import', () => {
  test('is 1 if rows failed, which are named', async () => {
    const { url } = await openTarget('sqlite');
    const old = await openOldDatabase('simplejwt-multisessions');
    opened.push(() => old.drop());
    await old.run(`UPDATE ${SESSIONS} SET refresh = 'broken' WHERE session_id = 'an91nm3nwg-1'`);
    const ended = await Command.run(await argumentsFor(old.url, url)).ended;
    expect(ended).toMatchObject({ code: 1, out: expect.stringMatching(/^imported +51$/m) });
    expect(ended.out).toContain('failed: an91nm3nwg-1: the column refresh holds no refresh token of simplejwt\n');
  });

  test.each<[string, string[], RegExp]>([
    ['no command', [], /^nestjs-multisession import <system>/],
    ['another command', ['export'], /the command must be "import" or "report"; got "export"/],
    ['an unknown system', ['import', 'kratos'], /the system must be one of simplejwt-multisessions, .*; got "kratos"/],
    ['an unknown option', ['import', 'drf-jwt-devices', '--form', 'x'], /--form/],
    ['no --from', ['import', 'drf-jwt-devices', '--to', 'x'], /--from is missing/],
    ['no --to', ['import', 'drf-jwt-devices', '--from', 'x'], /--to is missing/],
    [
      'a wrong URL',
      ['import', 'drf-jwt-devices', '--from', 'oracle://u:hunter2@x', '--to', 'x'],
      /from: must begin with/,
    ],
    [
      'a wrong kind of id',
      ['import', 'drf-jwt-devices', '--from', 'x', '--to', 'x', '--user-id', 'uuid'],
      /--user-id must/,
    ],
    [
      'wrong types',
      ['import', 'drf-jwt-devices', '--from', 'x', '--to', 'x', '--types', 'SHORT'],
      /--types must look like/,
    ],
    [
      'no such file',
      ['import', 'drf-jwt-devices', '--from', 'x', '--to', 'x', '--config', 'none'],
      /--config must be the path/,
    ],
  ])('is 2 for %s', async (_, args, message) => {
    const { code, err, out } = await Command.run(args).ended;
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(message);
    expect(err).not.toContain('hunter2');
  });

  test('is 2 for a config that is not JSON, without quoting it', async () => {
    const config = await configFile('{ "secretKey": "hunter2');
    const args = ['import', 'drf-jwt-devices', '--from', 'x', '--to', 'x', '--config', config];
    const { code, err } = await Command.run(args).ended;
    expect(code).toBe(2);
    expect(err).toMatch(/is not valid JSON/);
    expect(err).not.toContain('hunter2');
  });

  test('is 3 for a database that cannot be used. The URLs may come from the environment', async () => {
    const env = { OLD_DATABASE_URL: await openOld(), DATABASE_URL: 'postgres://user:hunter2@127.0.0.1:1/none' };
    const refused = await Command.run(['import', 'simplejwt-multisessions'], env).ended;
    expect(refused).toMatchObject({ code: 3, err: expect.stringMatching(/to: cannot connect/) });
    expect(refused.err).not.toContain('hunter2');
    const empty = await Command.run(['import', 'drf-jwt-devices', '--to', await openOld()], env).ended;
    expect(empty).toMatchObject({ code: 3, err: expect.stringMatching(/the source has no table jwt_devices_device/) });
    expect(empty.err).toMatch(/to: tables: the database lacks user_session, .*session_alias, .*; run the migrations/);
  });

  test('is 0 for --help', async () => {
    const { code, out, err } = await Command.run(['--help']).ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/--cutover/);
  });
});
