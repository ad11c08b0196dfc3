import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, selectedDatabases, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import {
  createFreely,
  createUnder,
  newRow,
  NO_GRACE,
  startProcess,
  type TestProcess,
  tokenOf,
  shown,
} from './process.js';

onEachDatabase((name) => {
  let database: TestDatabase;
  let process: TestProcess;
  beforeEach(async () => {
    database = await createDatabase(name);
    process = await startProcess(database, { synchronize: true });
  });
  afterEach(async () => {
    await process.close();
    await database.drop();
  });

  test('the SQL text of a statement is reused, with the values of each call', async () => {
    const rows = [newRow('alice', { info: 'one', data: { a: 1 } }), newRow('bob', { info: 'two', data: null })];
    for (const row of rows) await createFreely(process, row);
    const { statements } = await process.log.during(async () => {
      for (const row of rows) expect(await process.store.find(row.id)).toEqual(row);
    });
    expect(statements.map(({ query }) => query)).toEqual([statements[0].query, statements[0].query]);
    expect(statements.map(({ parameters }) => parameters)).toEqual(rows.map(({ id }) => [id]));
    expect(await process.store.listActive('bob')).toEqual([shown(rows[1])]);
  });

  test('a list is refused as a parameter, because the SQL text would depend on its length', async () => {
    const text = 'SELECT id FROM user_session WHERE id IN (:...ids)';
    const ask = () => process.database.query({ entities: [SessionEntity], columns: 'id', text }, { ids: 'a' });
    await expect(ask()).rejects.toThrow(TypeError);
  });
});

if (selectedDatabases().includes('postgres')) {
  describe('prepared statements on PostgreSQL', () => {
    let database: TestDatabase;
    let process: TestProcess;
    beforeEach(async () => {
      database = await createDatabase('postgres');
      process = await startProcess(database, { synchronize: true, poolSize: 1 });
    });
    afterEach(async () => {
      await process.close();
      await database.drop();
    });

    const known = async () => {
      const [{ count }] = await process.dataSource.query<[{ count: string }]>(
        "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'multisession_%'",
      );
      return Number(count);
    };
    /** Drops the prepared statements. A pooler that gives each transaction another connection has the same effect. */
    const forget = () => process.dataSource.query('DEALLOCATE ALL');

    test('are prepared once per connection', async () => {
      const row = newRow('alice');
      await createFreely(process, row);
      for (let count = 0; count < 3; count++) await process.store.find(row.id);
      expect(await known()).toBe(2);
    });

    test('are no longer used once a connection has lost them; the failed statement is retried', async () => {
      const row = newRow('alice');
      await createFreely(process, row);
      await process.store.find(row.id);
      await forget();
      expect(await process.store.find(row.id)).toEqual(row);
      const rotated = await process.refreshStore.rotate(tokenOf(row), { jti: 'f'.repeat(32), kid: 'a-key' }, NO_GRACE);
      expect(rotated?.generation).toBe(1);
      expect(await known()).toBe(0);
    });

    test('can be lost on all connections: concurrent queries still return their rows', async () => {
      const several = await startProcess(database, { poolSize: 5 });
      try {
        const row = newRow('alice');
        await createFreely(several, row);
        const findAll = () => Promise.all(Array.from({ length: 20 }, () => several.store.find(row.id)));
        await findAll();
        await Promise.all(
          Array.from({ length: 5 }, () => several.dataSource.query('DEALLOCATE ALL; SELECT pg_sleep(0.1)')),
        );
        expect(await findAll()).toEqual(Array.from({ length: 20 }, () => row));
      } finally {
        await several.close();
      }
    });

    test('can be lost in a transaction, which is retried as a whole and takes effect once', async () => {
      const create = () => createUnder(process, newRow('alice'), (active) => active.slice(1));
      await create();
      await create();
      await forget();
      await create();
      expect(await process.store.listActive('alice')).toHaveLength(2);
    });

    test('survive a change of their table', async () => {
      const row = newRow('alice');
      await createFreely(process, row);
      await process.store.find(row.id);
      await process.dataSource.query('ALTER TABLE user_session ADD COLUMN later text');
      expect(await process.store.find(row.id)).toEqual(row);
      expect(await known()).toBeGreaterThan(0);
      await process.dataSource.query('ALTER TABLE user_session ALTER COLUMN info TYPE varchar(9999)');
      expect(await process.store.find(row.id)).toEqual(row);
    });
  });
}
