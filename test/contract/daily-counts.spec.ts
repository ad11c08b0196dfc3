import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { DailyCounts } from '../../lib/admin/statistics/daily-counts.js';
import { toSession } from '../../lib/session/session.js';
import { SessionEvents } from '../../lib/session/events.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { configOf } from '../helpers/options.js';
import { newRow, startProcesses, type TestProcess } from './process.js';

const DAY = 86_400_000;
const { tokens } = configOf();
const MIDNIGHT = Date.UTC(2026, 10, 24);

onEachDatabase((name) => {
  let database: TestDatabase;
  let processes: TestProcess[];
  let now: number;

  beforeEach(async () => {
    database = await createDatabase(name);
    processes = await startProcesses(database, 3);
    now = MIDNIGHT;
  });
  afterEach(async () => {
    for (const process of processes) await process.close();
    await database.drop();
  });

  /** Returns the counts of one process, which have not been started, and a function that logs in there. */
  const countsOf = (process: TestProcess) => {
    const events = new SessionEvents();
    const counts = new DailyCounts(process.database, events, true, () => now);
    const login = async (type = 'LONG') => {
      const row = newRow('alice', { type });
      await process.store.create(row);
      events.emit('session.created', { session: toSession(row, tokens) });
      return row;
    };
    return { counts, login };
  };

  test('a session that starts before the first flush is counted once', async () => {
    await processes[0].store.create(newRow('bob'));
    const { counts, login } = countsOf(processes[0]);
    await login();
    await login('SHORT');
    await counts.flush();
    expect((await counts.statistics({ days: 1 })).active).toEqual({ LONG: 2, SHORT: 1 });
  });

  test('processes that write at the same time lose no counts', async () => {
    const all = processes.map(countsOf);
    await Promise.all(
      all.map(async ({ counts, login }) => {
        for (let at = 0; at < 10; at++) {
          await login(at % 2 ? 'LONG' : 'SHORT');
          if (at % 3 === 0) await counts.flush();
        }
        await counts.flush();
      }),
    );
    expect((await all[0].counts.statistics()).days).toEqual([
      { day: '2026-11-24', logins: { LONG: 15, SHORT: 15 }, endings: {} },
    ]);
  });

  test('a day starts at midnight in UTC, and statistics go back the given number of days', async () => {
    const { counts, login } = countsOf(processes[0]);
    await counts.start();
    for (const at of [-DAY - 1, -DAY, -1, 0]) {
      now = MIDNIGHT + at;
      await login();
    }
    await counts.flush();
    const days = async (back: number) =>
      (await counts.statistics({ days: back })).days.map(({ day, logins }) => [day, logins]);
    expect(await days(1)).toEqual([['2026-11-24', { LONG: 1 }]]);
    expect(await days(2)).toEqual([
      ['2026-11-24', { LONG: 1 }],
      ['2026-11-23', { LONG: 2 }],
    ]);
    expect(await days(3)).toHaveLength(3);
    expect((await counts.statistics({ days: 1 })).active).toEqual({ LONG: 4 });
  });
});
