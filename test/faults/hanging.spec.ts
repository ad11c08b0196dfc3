import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { Database } from '../../lib/database/database.js';
import { UnavailableError } from '../../lib/errors.js';
import { openDataSource } from '../contract/process.js';
import { openProxy, type Proxy } from '../contract/proxy.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { SMALL } from '../helpers/size.js';
import { selectedServers } from './matrix.js';
import { until } from './outage.js';

const POOL = 2;
const LOCK_WAIT = 1;
/** How long the library waits for an answer, in milliseconds: five seconds longer than for a lock. */
const BOUND = LOCK_WAIT * 1000 + 5000;
const SLACK = 1000;

describe.each(SMALL ? selectedServers().slice(0, 1) : selectedServers())('%s', (name) => {
  let target: TestDatabase;
  let proxy: Proxy;
  let dataSource: DataSource;
  let database: Database;

  beforeEach(async () => {
    target = await createDatabase(name);
    proxy = await openProxy(target);
    // Without any timeouts of the driver.
    dataSource = await openDataSource(proxy.database, { poolSize: POOL });
    database = new Database(dataSource, LOCK_WAIT);
  });
  afterEach(async () => {
    await dataSource.destroy();
    await proxy.close();
    await target.drop();
  });

  const ask = () => database.run((manager) => manager.query('SELECT 1'));
  const askInTurn = () => database.transaction('a user', (manager) => manager.query('SELECT 1'));

  test('a server that does not answer delays no caller beyond the timeout, and the pool recovers', async () => {
    await Promise.all([ask(), ask(), ask()]);
    proxy.freeze();
    const begun = performance.now();
    // More callers than the pool has connections. Some of them wait in the queue of one user.
    const asked = [ask, ask, ask, askInTurn, askInTurn, askInTurn, askInTurn].map(async (one) => {
      await expect(one()).rejects.toBeInstanceOf(UnavailableError);
      return performance.now() - begun;
    });
    const took = await Promise.all(asked);
    expect(Math.min(...took)).toBeGreaterThan(BOUND - 50);
    expect(Math.max(...took)).toBeLessThan(BOUND + SLACK);

    proxy.mend();
    const mended = performance.now();
    await until('the pool does not recover', BOUND + SLACK, () =>
      Promise.all([ask(), ask(), askInTurn()]).then(
        () => true,
        () => false,
      ),
    );
    expect(performance.now() - mended).toBeLessThan(BOUND + SLACK);
    await Promise.all(Array.from({ length: 10 * POOL }, (_, at) => (at % 2 ? ask() : askInTurn())));
  });

  test('waiting in a queue that makes progress never times out', async () => {
    const SLEEP = { postgres: 'SELECT pg_sleep(0.1)', mariadb: 'SELECT SLEEP(0.1)' };
    const begun = performance.now();
    const inTurn = () => database.transaction('a user', (manager) => manager.query(SLEEP[name]));
    await Promise.all(Array.from({ length: BOUND / 100 + 20 }, inTurn));
    expect(performance.now() - begun).toBeGreaterThan(BOUND);
  });

  test('work that throws synchronously leaves no timer behind', async () => {
    const late: unknown[] = [];
    const note = (error: unknown) => void late.push(error);
    process.on('unhandledRejection', note);
    const thrown = new TypeError('at once');
    const work = () => {
      throw thrown;
    };
    await expect(database.run(work)).rejects.toBe(thrown);
    await sleep(BOUND + SLACK);
    process.off('unhandledRejection', note);
    expect(late).toEqual([]);
  });
});
