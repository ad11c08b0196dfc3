import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { userBucketOf } from '../../lib/session/id.js';
import { createDatabase, type DatabaseName, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { startProcess, type TestProcess } from './process.js';

/** The bucket as docs/scaling.md computes it in SQL. SQLite has no SHA-256. */
const BUCKET_SQL: Partial<Record<DatabaseName, string>> = {
  postgres: "left(encode(sha256(convert_to(user_id, 'UTF8')), 'hex'), 3)",
  mariadb: 'LEFT(SHA2(CONVERT(user_id USING utf8mb4), 256), 3)',
};
const USERS = ['alice', 'Alice', 'BÖB📱', '42'];

onEachDatabase((name) => {
  describe(`session ids on ${name}`, () => {
    let database: TestDatabase;
    let process: TestProcess;

    beforeEach(async () => {
      database = await createDatabase(name);
      process = await startProcess(database, { synchronize: true });
      await process.poller.poll();
    });
    afterEach(async () => {
      await process?.close();
      await database?.drop();
    });

    test('of one user contain the bucket of the user, however the session began', async () => {
      const { sessions, store, dataSource } = process;
      for (const user of USERS) {
        await sessions.create(user, { type: 'LONG' });
        await sessions.create(user, { type: 'SHORT' });
        const prepared = await dataSource.transaction((manager) => sessions.prepare(user, { type: 'LONG' }, manager));
        await prepared.issue();
        const found = await store.listActive(user);
        const bucket = userBucketOf(user);
        expect(found.map(({ id }) => id.slice(15, 18))).toEqual([bucket, bucket, bucket]);
      }
    });

    const expression = BUCKET_SQL[name];
    if (!expression) return;

    test('contain the bucket that the database computes from the user id', async () => {
      const { sessions, dataSource } = process;
      for (const user of USERS) await sessions.create(user, { type: 'LONG' });
      const rows = await dataSource.query<{ in_id: string; computed: string }[]>(
        `SELECT substr(id, 16, 3) AS in_id, ${expression} AS computed FROM user_session`,
      );
      expect(rows).toHaveLength(USERS.length);
      for (const { in_id, computed } of rows) expect(in_id).toBe(computed);
    });
  });
});
