import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { DailyCounts } from '../../lib/admin/statistics/daily-counts.js';
import { SessionDailyCountEntity } from '../../lib/admin/statistics/session-daily-count.entity.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { toSession } from '../../lib/session/session.js';
import { SessionEvents } from '../../lib/session/events.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { configOf } from '../helpers/options.js';
import { until } from '../helpers/until.js';
import { createFreely, isEmbedded, newRow, startProcesses, type TestProcess } from './process.js';

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
  const countsOf = (process: TestProcess, pageSize?: number) => {
    const events = new SessionEvents();
    const counts = new DailyCounts(process.database, events, true, () => now, pageSize);
    const login = async (type = 'LONG') => {
      const row = newRow('alice', { type });
      await createFreely(process, row);
      events.emit('session.created', { session: toSession(row, tokens) });
      return row;
    };
    const end = async (row: SessionEntity) => {
      await process.endingStore.end(row, 'logout');
      events.emit('session.ended', { session: toSession(row, tokens), reason: 'logout' });
    };
    return { counts, login, end };
  };
  /** Returns the number of sessions in the table, by type. */
  const stored = async () => {
    const active: Record<string, number> = {};
    for (const { type } of await processes[0].dataSource.manager.find(SessionEntity))
      active[type] = (active[type] ?? 0) + 1;
    return active;
  };

  test('a session that starts before the first flush is counted once', async () => {
    await createFreely(processes[0], newRow('bob'));
    const { counts, login } = countsOf(processes[0]);
    await login();
    await login('SHORT');
    await counts.flush();
    expect((await counts.statistics({ days: 1 })).active).toEqual({ LONG: 2, SHORT: 1 });
  });

  test('processes that write at the same time lose no counts', async () => {
    const all = processes.map((process) => countsOf(process));
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

  test('processes that start to count at the same time count the existing sessions once', async () => {
    await createFreely(processes[0], newRow('bob'));
    for (let round = 0; round < 20; round++) {
      await processes[0].dataSource.manager.deleteAll(SessionDailyCountEntity);
      const all = processes.map((process) => countsOf(process).counts);
      await Promise.all(all.map((counts) => counts.flush()));
      expect((await all[0].statistics()).active).toEqual({ LONG: 1 });
    }
  });

  test('existing sessions are counted page by page, and sessions that begin and end meanwhile are counted once', async () => {
    const [{ counts }, other] = [countsOf(processes[0], 1), countsOf(processes[1])];
    // Otherwise it would count the existing sessions too, and be done first.
    await other.counts.start();
    const rows: SessionEntity[] = [];
    // On a server, so many that the changes below come before the end.
    const count = isEmbedded(database) ? 40 : 600;
    for (let at = 0; at < count; at++) rows.push(newRow(`user ${at}`, { type: at % 3 ? 'LONG' : 'SHORT' }));
    for (let at = 0; at < count; at += 50)
      await processes[0].dataSource.manager.insert(SessionEntity, rows.slice(at, at + 50) as object[]);
    rows.sort((a, b) => (a.id < b.id ? -1 : 1));
    await processes[0].log.during(async () => {
      const started = counts.start();
      // The snapshot has begun before the first statement that counts. On SQLite, the others wait until its end.
      if (isEmbedded(database)) await started;
      else await until(() => processes[0].log.has('COUNT(*) AS amount'));
      for (const row of [rows[0], rows[count / 2], rows[count - 1]]) await other.end(row);
      for (const type of ['LONG', 'SHORT', 'NEW']) await other.login(type);
      await other.counts.flush();
      await started;
    });
    await counts.flush();
    const { active } = await counts.statistics();
    expect(active).toEqual(await stored());
  });

  test('counting existing sessions goes on with the next process if the first one stops', async () => {
    for (let at = 0; at < 5; at++) await createFreely(processes[0], newRow('bob'));
    const [first, second] = [countsOf(processes[0], 1).counts, countsOf(processes[1], 2).counts];
    await first.stop();
    expect((await second.statistics()).active).toEqual({});
    await second.start();
    expect((await second.statistics()).active).toEqual({ LONG: 5 });
    await second.recount();
    expect((await second.statistics()).active).toEqual({ LONG: 5 });
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
