import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { BlacklistEntity, MULTI_SESSION_ENTITIES, SessionEntity } from 'nestjs-multisession';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { createDatabase, selectedDatabases, type TestDatabase } from '../helpers/databases.js';
import { SMALL } from '../helpers/size.js';

/** How many processes are killed on each database. */
const KILLS = Number(process.env.EVENT_KILLS ?? (SMALL ? 8 : 60));
/** How many of them run at the same time: they share the work of delivering. */
const AT_ONCE = 2;
/** The last statement before which a process may be killed. */
const MAX_STATEMENTS = 80;

interface Delivered {
  readonly id: string;
  readonly name: string;
  readonly sessionId: string;
}

describe.each(selectedDatabases().filter((name) => name !== 'sqljs'))('%s', (name) => {
  const folder = mkdtempSync(join(tmpdir(), 'events-'));
  const log = join(folder, 'log');
  let database: TestDatabase;
  let options: DataSourceOptions;
  let dataSource: DataSource;

  beforeAll(async () => {
    writeFileSync(log, '');
    database = await createDatabase(name);
    options =
      name === 'sqlite'
        ? {
            type: 'better-sqlite3',
            database: join(folder, 'db'),
            enableWAL: true,
            timeout: 10_000,
          }
        : database.options;
    dataSource = await new DataSource({
      ...options,
      entities: [...MULTI_SESSION_ENTITIES],
      synchronize: true,
    }).initialize();
  });
  afterAll(async () => {
    await dataSource.destroy();
    await database.drop();
    rmSync(folder, { recursive: true });
  });

  /** Runs a process to its end. Returns whether it was killed. */
  async function run(more: { killBefore?: number; drain?: boolean }): Promise<boolean> {
    const { PATH = '' } = process.env;
    const env = { PATH, EVENT_VICTIM: JSON.stringify({ database: options, log, ...more }) };
    const victim = fork('test/faults/event-victim.mjs', {
      env,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const [code, signal] = (await once(victim, 'close')) as [number | null, NodeJS.Signals | null];
    if (signal !== 'SIGKILL' && code !== 0) throw new Error(`a process exited with code ${code}`);
    return signal === 'SIGKILL';
  }

  test(
    'loses no event of a committed change, delivers none of a rollback, and repeats one only with the same id',
    async () => {
      let left = KILLS;
      const work = async () => {
        while (left-- > 0) expect(await run({ killBefore: 1 + Math.floor(Math.random() * MAX_STATEMENTS) })).toBe(true);
      };
      await Promise.all(Array.from({ length: name === 'sqlite' ? 1 : AT_ONCE }, work));
      expect(await run({ drain: true })).toBe(false);

      const lines = readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .map((line) => line.split(' '));
      const noted = (word: string) => lines.filter(([first]) => first === word).map(([, id]) => id);
      const delivered: Delivered[] = lines
        .filter(([first]) => first === 'delivered')
        .map(([, id, event, sessionId]) => ({ id, name: event, sessionId }));
      const of = (event: string) =>
        new Set(delivered.filter((one) => one.name === event).map(({ sessionId }) => sessionId));

      // What is in the database was committed.
      const live = (await dataSource.manager.find(SessionEntity))
        .filter(({ preparedAt }) => !preparedAt)
        .map(({ id }) => id);
      const ended = (await dataSource.manager.find(BlacklistEntity)).map(({ sessionId }) => sessionId);
      const created = of('session.created');
      expect([...created].sort()).toEqual([...live, ...ended].sort());
      expect([...of('session.ended')].sort()).toEqual([...ended].sort());
      for (const id of noted('created')) expect(created).toContain(id);
      for (const id of noted('ended')) expect(of('session.ended')).toContain(id);
      for (const id of noted('recovered')) expect(of('refresh.recovered')).toContain(id);
      for (const id of noted('reused')) expect(of('refresh.reused')).toContain(id);
      for (const id of noted('rolled-back')) expect(created).not.toContain(id);

      // A duplicate has the id of the first delivery, and the first deliveries of a session are in order.
      const idOf = new Map<string, string>();
      for (const { id, name: event, sessionId } of delivered) {
        const key = `${event} ${sessionId}`;
        if (!/^session\.(created|ended)$/.test(event)) continue;
        if (event === 'session.ended' && !idOf.has(key)) expect(idOf.has(`session.created ${sessionId}`)).toBe(true);
        if (!idOf.has(key)) idOf.set(key, id);
        expect(id).toBe(idOf.get(key));
      }
      const unique = new Set(delivered.map(({ id }) => id)).size;
      process.stdout.write(
        `${name}: ${KILLS} kills, ${unique} events, ${delivered.length - unique} delivered twice, 0 lost\n`,
      );
    },
    KILLS * 20_000,
  );
});
