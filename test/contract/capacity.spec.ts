import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { MULTI_SESSION_ENTITIES } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { readDocument, ROOT } from '../docs/documents.js';
import { createDatabase } from '../helpers/databases.js';
import { FilledSessions, fillBlacklist, settle } from '../helpers/fill.js';
import { onEachSharedDatabase } from '../helpers/matrix.js';

interface Model {
  readonly OPTIONS: Readonly<Record<string, readonly [number, string]>>;
  readonly capacityOf: (given?: Readonly<Record<string, number>>) => {
    readonly sessions: number;
    readonly rates: Readonly<Record<'refresh' | 'login' | 'ending' | 'poll', number>>;
    readonly entries: number;
    readonly connections: number;
    readonly sizes: Readonly<Record<'sessions' | 'indexes' | 'entries' | 'memory', number>>;
    readonly loads: Readonly<Record<string, number>>;
  };
  readonly report: (capacity: object) => string;
}

const load = async () => (await import(pathToFileURL(join(ROOT, 'scripts/capacity.mjs')).href)) as Model;

describe('the model of capacity', () => {
  test('calculates as docs/scaling.md says', async () => {
    const { capacityOf } = await load();
    const { sessions, rates, entries, connections } = capacityOf({ users: 864_000, sessions: 2, peak: 1, access: 5 });
    expect(sessions).toBe(1_728_000);
    // 0.3 of the sessions, 60 minutes a day, every 4 minutes.
    expect(rates.refresh).toBeCloseTo((1_728_000 * 0.3 * 15) / 86_400, 6);
    expect([rates.login, rates.ending]).toEqual([1_728_000 / 30 / 86_400, rates.login]);
    expect(entries).toBeCloseTo(rates.ending * 370, 6);
    expect([connections, rates.poll]).toEqual([44, 4]);
  });

  test('grows with the users, and names what they use up first', async () => {
    const { capacityOf, report } = await load();
    const [small, large] = [capacityOf({ users: 1e5 }), capacityOf({ users: 1e8 })];
    expect(large.rates.refresh / small.rates.refresh).toBeCloseTo(1000, 6);
    expect(report(small)).toMatch(/The first limit is: connections of the database\.$/);
    expect(report(large)).toMatch(/Not enough: cores of the processes\.$/);
    expect(report(capacityOf({ users: 1e8, processes: 40, 'max-connections': 1000 }))).toMatch(
      /Not enough: memory of the database, for the indexes\.$/,
    );
  });

  test('refuses what is not a positive number', async () => {
    const { capacityOf } = await load();
    for (const users of [0, -1, NaN, Infinity]) expect(() => capacityOf({ users })).toThrow('--users');
  });

  test('has the numbers of the document', async () => {
    const { capacityOf } = await load();
    const document = readDocument('docs/scaling.md');
    const { sizes, sessions, entries } = capacityOf();
    for (const bytes of [sizes.sessions / sessions, sizes.indexes / sessions, sizes.entries / entries])
      expect(document).toMatch(new RegExp(`\\b${Math.round(bytes)}\\b`));
  });
});

onEachSharedDatabase((name) => {
  if (name !== 'postgres') return;

  test('its sizes are those of real tables, within 30 %', async () => {
    const { capacityOf } = await load();
    const database = await createDatabase(name);
    const dataSource = await new DataSource({
      ...database.options,
      entities: [...MULTI_SESSION_ENTITIES],
      synchronize: true,
    }).initialize();
    try {
      const rows = 20_000;
      await new FilledSessions(dataSource, { rows, kid: 'a-key' }).fill();
      await fillBlacklist(dataSource, { entries: rows });
      await settle(dataSource);
      const sizeOf = async (table: string) => {
        const [{ size }] = await dataSource.query<[{ size: string }]>('SELECT pg_total_relation_size($1) AS size', [
          table,
        ]);
        return Number(size) / rows;
      };
      const { sizes, sessions, entries } = capacityOf();
      for (const [table, expected] of [
        ['user_session', sizes.sessions / sessions],
        ['session_blacklist', sizes.entries / entries],
      ] as const) {
        const ratio = (await sizeOf(table)) / expected;
        expect([table, ratio > 0.7 && ratio < 1.3, ratio]).toEqual([table, true, ratio]);
      }
    } finally {
      await dataSource.destroy();
      await database.drop();
    }
  });
});
