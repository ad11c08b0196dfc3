import { expect, test } from '@jest/globals';
import { Database } from '../../lib/database/database.js';
import type { Sql } from '../../lib/database/sql.js';
import { openDataSource } from '../contract/process.js';
import { openProxy } from '../contract/proxy.js';
import { createDatabase } from '../helpers/databases.js';
import { until } from '../helpers/until.js';

const LOCK = 4711;
const WAIT_FOR_LOCK: Sql<object> = { entities: [], text: `SELECT 1 FROM (SELECT pg_advisory_lock(${LOCK})) AS locked` };
const NEXT: Sql<object> = { entities: [], text: 'SELECT 2' };

test('a connection that is lost while the pool hands it out does not end the process', async () => {
  const target = await createDatabase('postgres');
  const proxy = await openProxy(target);
  const beside = await openDataSource(target, {});
  const dataSource = await openDataSource(proxy.database, { poolSize: 1 });
  const holder = beside.createQueryRunner();
  const uncaught: Error[] = [];
  const note = (error: Error) => void uncaught.push(error);
  process.on('uncaughtException', note);
  try {
    const database = new Database(dataSource, 10);
    await holder.query(`SELECT pg_advisory_lock(${LOCK})`);
    const answered = database.execute(WAIT_FOR_LOCK, {});
    const next = database.execute(NEXT, {}).catch((error: unknown) => error);
    const backend = async (condition: string) =>
      (
        await beside.query<{ pid: number }[]>(
          `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT 1 FROM%' AND ${condition}`,
        )
      )[0]?.pid;
    await until(async () => (await backend("wait_event_type = 'Lock'")) !== undefined);
    // The answer and the farewell of the server now arrive in one packet.
    proxy.stall();
    await holder.query(`SELECT pg_advisory_unlock(${LOCK})`);
    await until(async () => (await backend("state = 'idle'")) !== undefined);
    await beside.query('SELECT pg_terminate_backend($1)', [await backend('true')]);
    await until(async () => (await backend('true')) === undefined);
    proxy.mend();
    expect(await answered).toBe(1);
    await next;
    await until(() =>
      database.execute(NEXT, {}).then(
        () => true,
        () => false,
      ),
    );
    expect(uncaught).toEqual([]);
  } finally {
    process.off('uncaughtException', note);
    await holder.release();
    await dataSource.destroy();
    await beside.destroy();
    await proxy.close();
    await target.drop();
  }
});
