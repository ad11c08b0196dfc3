import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type DataSourceOptions, DefaultNamingStrategy } from 'typeorm';
import { multiSessionMigrations } from '../../lib/migrations/index.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import type { RefreshedRow } from '../../lib/session/refresh-store.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import {
  createFreely,
  createUnder,
  endOfUser,
  insertRow,
  newJti,
  newRow,
  NO_GRACE,
  openDataSource,
  shown,
  startProcess,
  type TestProcess,
  tokenOf,
} from './process.js';

const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter, at) => (at ? '_' : '') + letter.toLowerCase());

/** Names as typeorm-naming-strategies makes them: an explicit name is kept. */
class SnakeNames extends DefaultNamingStrategy {
  override tableName(entity: string, given?: string): string {
    return given ?? snakeCase(entity);
  }
  override columnName(property: string, given: string | undefined): string {
    return given ?? snakeCase(property);
  }
}

/** Puts every name in capitals, explicit or not. */
class CapitalNames extends DefaultNamingStrategy {
  override tableName(entity: string, given: string | undefined): string {
    return super.tableName(entity, given).toUpperCase();
  }
  override columnName(property: string, given: string, prefixes: string[]): string {
    return super.columnName(property, given, prefixes).toUpperCase();
  }
}

/** Ignores explicit names. */
class OwnNames extends DefaultNamingStrategy {
  override tableName(entity: string): string {
    return `t_${snakeCase(entity)}`;
  }
  override columnName(property: string): string {
    return `c_${property}`;
  }
}

/** Runs each operation of the store and of the blacklist once. */
async function works(process: TestProcess): Promise<void> {
  const { store, aliases, refreshStore, endingStore, cleanupStore, poller, revoked, clock, database } = process;
  const [bob, Bob, spaced, expired, removed] = ['bob', 'Bob', 'bob ', 'expired', 'removed'].map((user) => newRow(user));
  for (const row of [bob, Bob, spaced]) await createUnder(process, row, (active) => active);
  for (const row of [bob, Bob, spaced]) expect(await store.listActive(row.userId)).toEqual([shown(row)]);
  expired.expiresAt = new Date(Math.floor(clock.now() / 1000) * 1000 - 2000);
  removed.type = 'REMOVED';
  removed.info = '📱 «ß»';
  await insertRow(process, expired);
  await createFreely(process, removed);
  expect(await store.find(removed.id)).toEqual(removed);
  expect(await aliases.findByToken('drf-jwt-devices', 'unknown')).toBeNull();
  expect(await aliases.keysOfUser('bob')).toEqual(new Map());

  const next = { jti: newJti(), kid: 'key' };
  const rotated = (await refreshStore.rotate(tokenOf(bob), next, NO_GRACE, { blacklistParent: true })) as RefreshedRow;
  expect(rotated).toMatchObject({ generation: 1, refreshJti: next.jti });
  expect(await store.find(bob.id)).toMatchObject({ generation: 1, parentJti: bob.refreshJti });
  const recovered = (await refreshStore.recover(rotated, { ...next, jti: newJti() }, NO_GRACE)) as RefreshedRow;
  expect(recovered).toMatchObject({ generation: 2 });
  expect(await store.find(bob.id)).toMatchObject({ generation: 2, parentJti: bob.refreshJti });
  await refreshStore.confirm([{ sessionId: bob.id, generation: 2 }]);
  expect(await store.find(bob.id)).toMatchObject({ confirmedGeneration: 2 });
  expect(await refreshStore.touch(tokenOf(recovered), {}, NO_GRACE)).toMatchObject({ id: bob.id, generation: 2 });

  expect(await endingStore.end(bob, 'logout', { jti: recovered.refreshJti })).toBeDefined();
  expect(await endOfUser(process, 'Bob')).toHaveLength(1);
  expect(await cleanupStore.endExpired(10)).toMatchObject({ ended: [{}], lapsed: 0, postponed: 0 });
  expect(await endingStore.end(removed, 'admin')).toBeDefined();
  expect(await store.listActive('bob ')).toEqual([shown(spaced)]);
  await poller.poll();
  expect([bob, Bob, removed, expired, spaced].map(({ id }) => revoked.has(id))).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
  expect(await cleanupStore.deleteExpiredEntries(10)).toBe(0);
  expect(await database.run((manager) => manager.countBy(BlacklistEntity, { kind: 'token' }))).toBe(1);
}

onEachDatabase((name) => {
  const opened: { close(): Promise<unknown> }[] = [];
  /** Closes the resource after the test. */
  const use = <T extends { close(): Promise<unknown> }>(resource: T): T => {
    opened.push(resource);
    return resource;
  };
  const database = async (): Promise<TestDatabase> => {
    const created = await createDatabase(name);
    use({ close: () => created.drop() });
    return created;
  };
  const databaseFile = async (): Promise<TestDatabase> => {
    const folder = await mkdtemp(join(tmpdir(), 'multi-session-'));
    use({ close: () => rm(folder, { recursive: true }) });
    return { ...(await database()), options: { type: 'better-sqlite3', database: join(folder, 'db') } };
  };
  /** Creates a database with the schema of the options, because TypeORM does not create schemas. */
  const databaseFor = async (options: Partial<DataSourceOptions>): Promise<TestDatabase> => {
    const created = await database();
    if ('schema' in options) {
      const admin = await openDataSource(created);
      await admin.query(`CREATE SCHEMA ${options.schema}`);
      await admin.destroy();
    }
    return created;
  };
  const start = async (on: TestDatabase, options: Partial<DataSourceOptions>) => use(await startProcess(on, options));
  const migrated = { migrations: multiSessionMigrations, migrationsRun: true };
  /** Returns the SQL that `synchronize` would run. */
  const pending = async ({ dataSource }: TestProcess) => {
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    return upQueries.map(({ query }) => query);
  };
  const ownTables = async ({ dataSource }: TestProcess) => {
    const runner = dataSource.createQueryRunner();
    const paths = dataSource.entityMetadatas.map((metadata) => metadata.tablePath);
    const tables = await runner.getTables(paths);
    await runner.release();
    return tables.length;
  };

  const VARIANTS: Record<string, Partial<DataSourceOptions>> = {
    'with the default names': {},
    'with an entityPrefix': { entityPrefix: 'auth_' },
    'in snake case': { namingStrategy: new SnakeNames() },
    'in capitals': { namingStrategy: new CapitalNames(), entityPrefix: 'X' },
    'with names that the application chooses': { namingStrategy: new OwnNames() },
    ...(name === 'postgres' && {
      'in a schema': { schema: 'auth' },
      'in a schema, with a prefix': { schema: 'auth', entityPrefix: 'a_', namingStrategy: new CapitalNames() },
    }),
  };

  beforeAll(() => Logger.overrideLogger(false));
  afterEach(async () => {
    for (const resource of opened.splice(0).reverse()) await resource.close();
  });

  describe.each(Object.entries(VARIANTS))('tables %s', (_, variant) => {
    test('are created by the migrations, need nothing from synchronize, and are dropped if the migrations are reverted', async () => {
      const process = await start(await databaseFor(variant), { ...variant, ...migrated });
      expect(await pending(process)).toEqual([]);
      await works(process);
      for (const left of [15, 15, 13, 11, 9, 9, 8, 5, 4, 3, 2, 0]) {
        await process.dataSource.undoLastMigration();
        expect(await ownTables(process)).toBe(left);
      }
      await process.dataSource.runMigrations();
      expect(await ownTables(process)).toBe(16);
      expect(await pending(process)).toEqual([]);
      expect(await process.dataSource.runMigrations()).toEqual([]);
    });

    test('are created by synchronize, and work the same', async () => {
      const process = await start(await databaseFor(variant), { ...variant, synchronize: true });
      expect(await pending(process)).toEqual([]);
      await works(process);
    });
  });

  test('synchronize after the migrations keeps the stored rows', async () => {
    const process = await start(await database(), migrated);
    const row = newRow('alice');
    await createFreely(process, row);
    await process.dataSource.synchronize();
    expect(await process.store.find(row.id)).toEqual(row);
  });

  test('TypeORM records the migrations in the table that the application names', async () => {
    const process = await start(await database(), { ...migrated, migrationsTableName: 'our_migrations' });
    const runs = await process.dataSource.query<{ name: string }[]>('SELECT name FROM our_migrations');
    expect(runs.map((run) => run.name)).toEqual([
      'CreateSessions1790000000000',
      'CreateSigningKeys1795000000000',
      'CreateKnownDevices1797000000000',
      'CreateDailyCounts1798000000000',
      'CreateUserRows1800000000000',
      'CreateAliases1801000000000',
      'AddBinding1802000000000',
      'CreateEvents1803000000000',
      'CreateSignals1804000000000',
      'CreateStreams1805000000000',
      'IndexCleanupTime1806000000000',
      'CreateAdminActions1807000000000',
    ]);
  });

  test('the change of indexes can be repeated after an interruption, and does not block writers', async () => {
    const process = await start(await database(), { ...migrated, migrationsTransactionMode: 'none' });
    const { dataSource } = process;
    const row = newRow('alice');
    await createFreely(process, row);
    // As after a run that has dropped one of the old indexes and was then interrupted.
    for (let undone = 0; undone < 2; undone++) await dataSource.undoLastMigration({ transaction: 'none' });
    const nameOf = (...columns: string[]) => dataSource.namingStrategy.indexName('user_session', columns);
    const quote = (text: string) => dataSource.driver.escape(text);
    await dataSource.query(`ALTER TABLE user_session ADD COLUMN cleanup_at bigint NOT NULL DEFAULT 0`);
    await dataSource.query(`CREATE INDEX ${quote(nameOf('user_id'))} ON user_session (user_id)`);
    if (name === 'postgres') {
      const invalid = `UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"${nameOf('user_id')}"'::regclass`;
      await dataSource.query(invalid);
    }
    await dataSource.query(`DROP INDEX ${quote(nameOf('expires_at'))} ${name === 'mariadb' ? 'ON user_session' : ''}`);

    const { statements } = await process.log.during(() => dataSource.runMigrations({ transaction: 'none' }));
    const changes = statements
      .map(({ query }) => query)
      // The index of a new table.
      .filter((query) => /^(CREATE|DROP|ALTER) .*INDEX/.test(query) && !query.includes('session_admin_action'));
    if (name === 'postgres') expect(changes.filter((query) => !query.includes(' CONCURRENTLY '))).toEqual([]);
    if (name === 'mariadb') expect(changes.filter((query) => !query.endsWith(', LOCK=NONE'))).toEqual([]);
    expect(changes.length).toBeGreaterThan(0);
    expect(await pending(process)).toEqual([]);
    if (name === 'postgres') expect(await dataSource.query('SELECT 1 FROM pg_index WHERE NOT indisvalid')).toEqual([]);
    expect(await process.store.find(row.id)).toEqual(row);
  });

  // Each DataSource of sql.js has a database of its own.
  if (name !== 'sqljs') {
    test('two sets of tables in one database are independent', async () => {
      const shared = name === 'sqlite' ? await databaseFile() : await database();
      const options = (prefix: string) => ({
        ...migrated,
        entityPrefix: prefix,
        migrationsTableName: `${prefix}migrations`,
      });
      const one = await start(shared, options('one_'));
      const two = await start(shared, options('two_'));
      const row = newRow('alice');
      await createUnder(one, row, (active) => active);
      await createUnder(two, newRow('alice'), (active) => active);
      expect(await endOfUser(two, 'alice')).toHaveLength(1);
      expect(await one.store.listActive('alice')).toEqual([shown(row)]);
      await one.endingStore.end(row, 'logout');
      await two.poller.poll();
      expect(two.revoked.has(row.id)).toBe(false);
      for (const process of [one, two]) expect(await pending(process)).toEqual([]);
      for (let undone = 0; undone < multiSessionMigrations.length; undone++) await two.dataSource.undoLastMigration();
      expect([await ownTables(one), await ownTables(two)]).toEqual([16, 0]);
    });
  }

  if (name !== 'mariadb') return;

  describe('on MariaDB', () => {
    const latin1 = async () => {
      const created = await database();
      const admin = await openDataSource(created, { entities: [] });
      await admin.query('ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_swedish_ci');
      await admin.destroy();
      return created;
    };

    test('text columns compare byte for byte, even if the default of the database differs', async () => {
      const process = await start(await latin1(), migrated);
      const columns = await process.dataSource.query<{ collation: string }[]>(
        `SELECT DISTINCT collation_name AS collation FROM information_schema.columns
         WHERE table_schema = database() AND table_name IN ('user_session', 'session_blacklist', 'session_signing_key', 'known_device', 'session_daily_count', 'session_user', 'session_job', 'session_epoch', 'session_alias')
           AND collation_name IS NOT NULL`,
      );
      expect(columns.map(({ collation }) => collation)).toEqual(['utf8mb4_nopad_bin']);
      expect(await pending(process)).toEqual([]);
      const row = newRow('📱', {
        deviceName: '📱',
        info: '📱',
        userAgent: '📱',
        data: { '📱': '📱' },
        claims: { a: '📱' },
      });
      await createFreely(process, row);
      expect(await process.store.listActive('📱')).toEqual([shown(row)]);
      await works(process);
    });

    test('tables that synchronize created in latin1 still find users by their exact id', async () => {
      const process = await start(await latin1(), { synchronize: true });
      const [row, other] = [newRow('BÖB'), newRow('böb')];
      await createUnder(process, row, (active) => active);
      expect(await createUnder(process, other, (active) => active)).toEqual([]);
      expect(await process.store.listActive('BÖB')).toEqual([shown(row)]);
      expect(await endOfUser(process, 'BÖB')).toHaveLength(1);
      expect(await process.store.listActive('böb')).toEqual([shown(other)]);
    });
  });
});
