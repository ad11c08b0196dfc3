import { randomBytes } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type DataSource, type DataSourceOptions, DefaultNamingStrategy } from 'typeorm';
import { partitionBlacklist, partitionSessions } from '../../examples/partitions/partitions.js';
import { IndexCleanupTime1806000000000, multiSessionMigrations } from '../../lib/migrations/index.js';
import { SchemaCheck } from '../../lib/database/schema-check.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { READ_PAGE } from '../../lib/revocation/revocation-sql.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { fillBlacklist, FilledSessions, settle } from '../helpers/fill.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { migrate } from '../helpers/partitions.js';
import { accessesOf, isPlanned } from '../helpers/plans.js';
import { until } from '../helpers/until.js';
import {
  createUnder,
  insertRow,
  newJti,
  newRow,
  NO_GRACE,
  openDataSource,
  REVOCATION,
  shown,
  startProcess,
  type TestProcess,
  tokenOf,
} from './process.js';

const DAY = 86_400_000;
const PARTITIONS = 4;
const SESSIONS = partitionSessions({ partitions: PARTITIONS });
const BLACKLIST = partitionBlacklist({ days: 1 });
const SPLIT = { migrations: [...multiSessionMigrations, SESSIONS, BLACKLIST], migrationsRun: true };

/** Puts every name in capitals. */
class CapitalNames extends DefaultNamingStrategy {
  override tableName(entity: string, given: string | undefined): string {
    return super.tableName(entity, given).toUpperCase();
  }
  override columnName(property: string, given: string, prefixes: string[]): string {
    return super.columnName(property, given, prefixes).toUpperCase();
  }
}

onEachDatabase((name) => {
  const opened: { close(): Promise<unknown> }[] = [];
  const use = <T extends { close(): Promise<unknown> }>(resource: T): T => {
    opened.push(resource);
    return resource;
  };
  let database: TestDatabase;
  const start = async (options: Partial<DataSourceOptions>) => use(await startProcess(database, options));
  let warnings: unknown[];

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    warnings = [];
    jest.spyOn(Logger.prototype, 'warn').mockImplementation((text) => void warnings.push(text));
    database = await createDatabase(name);
    use({ close: () => database.drop() });
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const resource of opened.splice(0).reverse()) await resource.close();
  });

  if (name === 'sqlite' || name === 'sqljs') {
    test.each([SESSIONS, BLACKLIST])('the migration says that SQLite has no partitions', async (Migration) => {
      const { dataSource } = await start({ migrations: multiSessionMigrations, migrationsRun: true });
      for (const way of ['up', 'down'] as const)
        await expect(migrate(dataSource, way, Migration)).rejects.toThrow(/ has no partitions for .* leave /);
    });
    return;
  }

  const isPostgres = name === 'postgres';
  const escape = ({ driver }: DataSource, path: string) =>
    path
      .split('.')
      .map((each) => driver.escape(each))
      .join('.');
  const tableOf = (dataSource: DataSource, entity: new () => object = BlacklistEntity) =>
    escape(dataSource, dataSource.getMetadata(entity).tablePath);
  /** Returns the SQL that `synchronize` would run on this table. */
  const pending = async (dataSource: DataSource, entity: new () => object) => {
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    const { tableName } = dataSource.getMetadata(entity);
    return upQueries.map(({ query }) => query).filter((query) => query.includes(tableName));
  };
  /** Returns the names of a table's partitions. */
  const partitionsOf = async (
    dataSource: DataSource,
    entity: new () => object = BlacklistEntity,
  ): Promise<string[]> => {
    const rows = await dataSource.query<{ name: string | null }[]>(
      isPostgres
        ? `SELECT relname AS name FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = '${tableOf(dataSource, entity)}'::regclass`
        : `SELECT partition_name AS name FROM information_schema.partitions
           WHERE table_schema = database() AND table_name = '${dataSource.getMetadata(entity).tableName}'`,
    );
    return rows.flatMap((row) => row.name?.replace(/.*_(?=p\d|rest)/, '') ?? []).sort();
  };
  /** Counts the transactions that wait for a row. */
  const WAITING = isPostgres
    ? "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    : // `innodb_trx` is not brought up to date while it is read again and again.
      "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE 'SELECT%FOR UPDATE'";
  const daysFromNow = (days: number) => Math.floor(Date.now() / DAY + days) * DAY;
  const writeEntry = async ({ dataSource }: TestProcess, id: string, expiresAt: number, userId = 'alice') => {
    const values = { id, kind: 'session', sessionId: id, userId, reason: 'logout' } as const;
    const now = new Date();
    await dataSource.manager.insert(BlacklistEntity, { ...values, createdAt: now, expiresAt: new Date(expiresAt) });
  };
  const entriesIn = async ({ dataSource }: TestProcess) =>
    (await dataSource.manager.find(BlacklistEntity, { order: { expiresAt: 'ASC' } })).map(({ id }) => id);
  /** Moves the bounds into the past, as if the last cleanup was that long ago. */
  const age = async ({ dataSource }: TestProcess, days: number) => {
    jest.spyOn(Date, 'now').mockReturnValue(Date.now() - days * DAY);
    await migrate(dataSource, 'up', BLACKLIST);
    jest.mocked(Date.now).mockRestore();
  };

  describe.each([
    ['default', {}],
    ['prefixed', { entityPrefix: 'auth_' }],
    ['capital', { namingStrategy: new CapitalNames(), entityPrefix: 'X' }],
    ...(isPostgres ? [['schema', { schema: 'auth', entityPrefix: 'a_' }] as const] : []),
  ] as [string, Partial<DataSourceOptions>][])('tables with %s names', (_, variant) => {
    beforeEach(async () => {
      if (!('schema' in variant)) return;
      const admin = await openDataSource(database);
      await admin.query(`CREATE SCHEMA ${variant.schema}`);
      await admin.destroy();
    });

    test.each(['all', 'none'] as const)(
      'are split with their rows and joined again, in the transaction mode %s',
      async (migrationsTransactionMode) => {
        const plain = { ...variant, migrations: multiSessionMigrations, migrationsRun: true };
        const process = await start(plain);
        const { dataSource } = process;
        const rows = Array.from({ length: 20 }, (_, at) => newRow(`user ${at}`));
        for (const row of rows) await insertRow(process, row);
        const [kept, late] = [newRow('a').id, newRow('b').id];
        await writeEntry(process, kept, Date.now());
        await writeEntry(process, late, Date.now() + 100 * DAY);

        const split = await start({ ...variant, ...SPLIT, migrationsTransactionMode });
        expect(await partitionsOf(dataSource, SessionEntity)).toEqual(['p0', 'p1', 'p2', 'p3']);
        expect(await partitionsOf(dataSource)).toHaveLength(9);
        expect(await pending(split.dataSource, SessionEntity)).toEqual([]);
        expect(await new SchemaCheck(split.dataSource, MULTI_SESSION_ENTITIES).tableFaults()).toEqual([]);
        expect(await entriesIn(split)).toEqual([kept, late]);
        for (const row of rows) expect(await split.store.find(row.id)).toEqual(row);

        // The same session with another expiry, which one table cannot hold.
        await writeEntry(split, kept, Date.now() + DAY);
        for (let undone = 0; undone < 2; undone++)
          await split.dataSource.undoLastMigration({ transaction: migrationsTransactionMode });
        for (const entity of [SessionEntity, BlacklistEntity]) {
          expect(await partitionsOf(dataSource, entity)).toEqual([]);
          expect(await pending(dataSource, entity)).toEqual([]);
        }
        expect(await entriesIn(process)).toEqual([kept, late]);
        expect(await dataSource.manager.count(SessionEntity)).toBe(rows.length);
        for (const row of rows) expect(await process.store.listActive(row.userId)).toEqual([shown(row)]);
      },
    );

    test.each(['all', 'none'] as const)(
      'let later migrations replace indexes, in the transaction mode %s',
      async (migrationsTransactionMode) => {
        const process = await start({ ...variant, ...SPLIT, migrationsTransactionMode });
        const runner = process.dataSource.createQueryRunner();
        const migration = new IndexCleanupTime1806000000000();
        const row = newRow('alice');
        await insertRow(process, row);
        for (const way of ['down', 'up', 'up'] as const) {
          if (migrationsTransactionMode === 'all') await runner.startTransaction();
          await migration[way](runner);
          if (runner.isTransactionActive) await runner.commitTransaction();
        }
        await runner.release();
        expect(await pending(process.dataSource, SessionEntity)).toEqual([]);
        expect(await process.store.listActive('alice')).toEqual([shown(row)]);
      },
    );

    test('get new partitions from the cleanup, which drops the expired ones', async () => {
      const process = await start({ ...variant, migrations: multiSessionMigrations, migrationsRun: true });
      await age(process, 5);
      const [first, second, live, far, farther] = Array.from({ length: 5 }, (_, at) => newRow(`user ${at}`).id);
      await writeEntry(process, first, daysFromNow(-5));
      await writeEntry(process, second, daysFromNow(-2));
      await writeEntry(process, live, Date.now() + 60_000);
      await writeEntry(process, far, daysFromNow(4.5));
      await writeEntry(process, farther, daysFromNow(50));
      const { statements, result } = await process.log.during(() => process.cleanup.run());
      expect(result.blacklistEntries).toBe(0);
      expect(statements.filter(({ query }) => query.startsWith('DELETE'))).toEqual([]);
      const bounds = Array.from({ length: 8 }, (_, at) => `p${daysFromNow(at + 1)}`);
      expect(await partitionsOf(process.dataSource)).toEqual([...bounds, 'rest']);
      expect(await entriesIn(process)).toEqual([live, far, farther]);
      expect(warnings).toEqual([]);
      // It finds that it has done everything.
      const again = await process.log.during(() => process.cleanup.run());
      expect(again.statements.filter(({ query }) => /^\s*(ALTER|CREATE|DROP|LOCK|SET LOCAL lock)/.test(query))).toEqual(
        [],
      );
    });
  });

  test('a cleanup after months away deletes what has expired since, and creates partitions for the present', async () => {
    const process = await start({ migrations: multiSessionMigrations, migrationsRun: true });
    await age(process, 100);
    const [old, expired, live] = Array.from({ length: 3 }, (_, at) => newRow(`user ${at}`).id);
    await writeEntry(process, old, daysFromNow(-95));
    await writeEntry(process, expired, daysFromNow(-20));
    await writeEntry(process, live, Date.now() + 60_000);
    await process.cleanup.run();
    // One partition spans all of the time that has passed.
    expect((await partitionsOf(process.dataSource)).length).toBeLessThan(20);
    await process.cleanup.run();
    expect((await entriesIn(process)).filter((id) => id !== expired)).toEqual([live]);
    expect(await partitionsOf(process.dataSource)).toHaveLength(9);
    expect(await partitionsOf(process.dataSource)).toContain(`p${daysFromNow(8)}`);
  });

  test('another entry of the same session that expires later survives the deletion of the earlier one', async () => {
    const process = await start(SPLIT);
    const { id } = newRow('alice');
    const now = process.clock.now();
    await writeEntry(process, id, now - DAY / 1000);
    await writeEntry(process, id, now + DAY);
    expect(await process.cleanupStore.deleteExpiredEntries(10)).toBe(1);
    expect(await entriesIn(process)).toEqual([id]);
    await process.poller.poll();
    expect(process.revoked.has(id)).toBe(true);
  });

  test('a full load knows the later expiry of a session whose entries are on two pages', async () => {
    const process = use(await startProcess(database, { ...SPLIT, revocation: { ...REVOCATION, maxEntries: 20_000 } }));
    await fillBlacklist(process.dataSource, { entries: 9999 });
    const [id, earlier, later] = ['ffffffff', process.clock.now() + 60_000, process.clock.now() + 3 * DAY];
    await writeEntry(process, id, earlier);
    await writeEntry(process, id, later);
    await process.poller.poll();
    const { entries } = process.revoked.page(0, 20_000);
    expect(entries).toHaveLength(10_000);
    expect(new Map(entries).get(id)).toBe(later);
    // Whichever of them is the last one of a page, the next page repeats it with the other one.
    const next = await process.database.query(READ_PAGE, { after: id, now: process.clock.now(), limit: 10 });
    expect(next.map(({ expiresAt }) => expiresAt).sort()).toEqual([earlier, later]);
  });

  test('two processes that restore the same endings write one entry each', async () => {
    const [one, two] = [await start(SPLIT), await start({})];
    for (const process of [one, two]) await process.poller.poll();
    const logins = await Promise.all(
      Array.from({ length: 30 }, (_, at) => one.sessions.create(`user ${at}`, { type: 'LONG' })),
    );
    const rows = await one.dataSource.manager.find(SessionEntity);
    for (const { refresh } of logins) await one.sessions.logout(refresh);
    await two.poller.poll();
    // As after a fail-over that has lost the endings.
    await one.dataSource.manager.deleteAll(BlacklistEntity);
    for (const row of rows) await insertRow(one, row);
    // Both processes find out that the entries are missing before one of them writes them.
    const locking = one.dataSource.createQueryRunner();
    await locking.startTransaction();
    await locking.query('SELECT id FROM user_session FOR UPDATE');
    const restoring = Promise.all([one.lost.restore(), two.lost.restore()]);
    await until(async () => Number((await one.dataSource.query<[{ n: unknown }]>(WAITING))[0].n) === 2);
    await locking.rollbackTransaction();
    await locking.release();
    await restoring;
    // TypeORM's `find` would merge the entries of a session.
    const entries = await one.dataSource.query(
      'SELECT id, user_id AS "userId" FROM session_blacklist'.replaceAll('"', isPostgres ? '"' : '`'),
    );
    const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1);
    expect(entries.sort(byId)).toEqual(rows.map(({ id, userId }) => ({ id, userId })).sort(byId));
  });

  test('synchronize cannot change the partitioned table, and leaves its rows', async () => {
    const process = await start(SPLIT);
    const { id } = newRow('alice');
    await writeEntry(process, id, Date.now() + DAY);
    await expect(process.dataSource.synchronize()).rejects.toThrow();
    expect(await partitionsOf(process.dataSource)).toHaveLength(9);
    expect(await entriesIn(process)).toEqual([id]);
    await writeEntry(process, id, Date.now() + 2 * DAY);
  });

  if (isPostgres) {
    test('the copy of a table has its foreign keys and triggers', async () => {
      const { dataSource } = await start({ migrations: multiSessionMigrations, migrationsRun: true });
      const statements = [
        'CREATE TABLE account (id varchar PRIMARY KEY)',
        'ALTER TABLE user_session ADD CONSTRAINT its_account FOREIGN KEY (user_id) REFERENCES account (id)',
        'CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$',
        'CREATE TRIGGER looks AFTER INSERT ON user_session FOR EACH ROW EXECUTE FUNCTION same()',
      ];
      for (const statement of statements) await dataSource.query(statement);
      const additions = () =>
        dataSource.query(`
          SELECT conname AS name FROM pg_constraint WHERE contype = 'f' AND conrelid = 'user_session'::regclass
          UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'user_session'::regclass ORDER BY 1`);
      for (const way of ['up', 'down'] as const) {
        await migrate(dataSource, way, SESSIONS);
        expect(await additions()).toEqual([{ name: 'its_account' }, { name: 'looks' }]);
      }
    });
  }

  test('a user of the database that may not change the table gets one warning, and the rows are deleted', async () => {
    const admin = await start({ migrations: multiSessionMigrations, migrationsRun: true });
    const role = `role_${randomBytes(6).toString('hex')}`;
    const { database: databaseName } = admin.dataSource.driver;
    const dml = 'SELECT, INSERT, UPDATE, DELETE';
    for (const statement of isPostgres
      ? [`CREATE ROLE ${role} LOGIN PASSWORD 'a'`, `GRANT ${dml} ON ALL TABLES IN SCHEMA public TO ${role}`]
      : [`CREATE USER ${role} IDENTIFIED BY 'a'`, `GRANT ${dml} ON ${databaseName}.* TO ${role}`])
      await admin.dataSource.query(statement);
    const revoke = isPostgres ? [`DROP OWNED BY ${role}`, `DROP ROLE ${role}`] : [`DROP USER ${role}`];
    use({ close: async () => Promise.all(revoke.map((statement) => admin.dataSource.query(statement))) });
    // The migrations keep the rights.
    await migrate(admin.dataSource, 'up', SESSIONS);
    await age(admin, 5);
    const { url } = database.options as { url: string };
    const limited = url.replace(/\/\/[^@]*@/, `//${role}:a@`);
    const process = use(
      await startProcess({ ...database, options: { ...database.options, url: limited } as DataSourceOptions }),
    );
    const row = newRow('alice');
    await createUnder(process, row, () => []);
    expect(await process.store.listActive('alice')).toHaveLength(1);
    const [expired, live] = [newRow('a').id, newRow('b').id];
    await writeEntry(process, expired, daysFromNow(-4));
    await writeEntry(process, live, daysFromNow(60));
    const names = await partitionsOf(admin.dataSource);
    expect((await process.cleanup.run()).blacklistEntries).toBe(1);
    await process.cleanup.run();
    expect(await entriesIn(process)).toEqual([live]);
    expect(await partitionsOf(admin.dataSource)).toEqual(names);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^the cleanup cannot change the partitions of session_blacklist, so it deletes the rows: .*; (let|grant) the database user /,
      ),
    ]);
  });

  test('a table that somebody reads for long is left to the next cleanup', async () => {
    const process = await start({ migrations: multiSessionMigrations, migrationsRun: true });
    await age(process, 2);
    await writeEntry(process, newRow('a').id, daysFromNow(-2));
    const names = await partitionsOf(process.dataSource);
    const backup = process.dataSource.createQueryRunner();
    await backup.startTransaction();
    await backup.query('SELECT COUNT(*) FROM session_blacklist');
    const cleaning = process.cleanup.run();
    // Endings go on while the cleanup waits.
    await process.endingStore.end(newRow('nobody'), 'logout');
    expect((await cleaning).blacklistEntries).toBe(0);
    // MariaDB and PostgreSQL let it do what needs no exclusive lock.
    expect(await partitionsOf(process.dataSource)).toEqual(expect.arrayContaining(names));
    expect(warnings).toEqual([]);
    await backup.rollbackTransaction();
    await backup.release();
    await process.cleanup.run();
    expect(await partitionsOf(process.dataSource)).not.toContain(names[0]);
    expect(await entriesIn(process)).toEqual([]);
    if (isPostgres) return;
    const waits = await process.dataSource.query(
      'SELECT DISTINCT @@lock_wait_timeout = @@global.lock_wait_timeout AS same',
    );
    expect(waits).toEqual([{ same: 1 }]);
  });

  test('two processes keep a limit exactly', async () => {
    const one = await start(SPLIT);
    const two = await start({});
    const limit = (active: { id: string }[]) => active.slice(0, Math.max(0, active.length - 4));
    await Promise.all(
      Array.from({ length: 40 }, (_, at) =>
        createUnder([one, two][at % 2], newRow('alice'), (active) => limit(active) as never),
      ),
    );
    expect(await one.store.listActive('alice')).toHaveLength(5);
    expect(await entriesIn(one)).toHaveLength(35);
  });

  test('statements by id look into one partition, and all others use an index', async () => {
    const process = await start(SPLIT);
    const filled = new FilledSessions(process.dataSource, { rows: 20_000, kid: 'a-key' });
    await filled.fill();
    await fillBlacklist(process.dataSource, { entries: 20_000 });
    await settle(process.dataSource);
    await process.poller.poll();
    const row = (await process.store.find(filled.session(1).id)) as SessionEntity;
    const next = () => ({ jti: newJti(), kid: 'key' });
    const BY_ID: Record<string, () => Promise<unknown>> = {
      find: () => process.store.find(row.id),
      rotate: () => process.refreshStore.rotate(tokenOf(row), next(), NO_GRACE),
      touch: async () =>
        process.refreshStore.touch(tokenOf((await process.store.find(row.id)) as SessionEntity), {}, NO_GRACE),
      end: () => process.endingStore.end(row, 'logout'),
    };
    const OTHERS: Record<string, () => Promise<unknown>> = {
      list: () => process.store.listActive(filled.userId(3)),
      'login at a limit': () => createUnder(process, newRow(filled.userId(3)), ([oldest]) => [oldest]),
      page: () => process.store.page({ before: filled.session(9000).id }, 10),
      cleanup: () => process.cleanupStore.endExpired(10),
      poll: () => process.poller.poll(),
    };
    const planned = async (run: () => Promise<unknown>) => {
      const { statements } = await process.log.during(run);
      return Promise.all(
        statements
          .filter(isPlanned)
          .map(async (statement) => ({ statement, accesses: await accessesOf(process.dataSource, statement) })),
      );
    };
    for (const [operation, run] of Object.entries({ ...OTHERS, ...BY_ID })) {
      for (const { statement, accesses } of await planned(run)) {
        const scans = accesses.filter(({ byIndex, rows = 0 }) => !byIndex && rows > 0);
        expect({ operation, query: statement.query, scans }).toEqual({ operation, query: statement.query, scans: [] });
        if (!(operation in BY_ID) || !isPostgres) continue;
        // A partition that is ruled out when the statement runs has no rows and no loops.
        const visited = accesses.filter(({ text, rows = 0 }) => text.includes('primary key') && rows > 0);
        expect({ operation, visited: visited.length <= 2 }).toEqual({ operation, visited: true });
      }
      if (operation !== 'find' || isPostgres) continue;
      const [{ partitions }] = await process.dataSource.query<{ partitions: string }[]>(
        `EXPLAIN PARTITIONS SELECT * FROM user_session WHERE id = '${row.id}'`,
      );
      expect(partitions.split(',')).toHaveLength(1);
    }
  });
});
