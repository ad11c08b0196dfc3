import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { DataSource, DataSourceOptions } from 'typeorm';
import * as typeorm1 from 'typeorm';
import * as typeorm03 from 'typeorm-0.3';
import { Database } from '../../lib/database/database.js';
import { instant } from '../../lib/database/instant.js';
import type { Answer, SentStatement } from '../../lib/database/statement.js';
import {
  destroyConnection,
  isEmbeddedTransactionActive,
  poolOf,
  queryOn,
  queryPostgresOn,
  resetEmbeddedTransaction,
  schemaOf,
  setTransactionActive,
  singleConnectionOptions,
  storedNamesOf,
} from '../../lib/database/typeorm-internals.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { isEmbedded } from './process.js';

/** The supported versions of TypeORM. Their types differ, but not in what is used here. */
const VERSIONS: [version: string, module: typeof typeorm1][] = [
  ['1', typeorm1],
  ['0.3', typeorm03 as unknown as typeof typeorm1],
];

describe.each(VERSIONS)('with TypeORM %s', (_, { DataSource, EntitySchema, DefaultNamingStrategy }) => {
  class Thing {
    id!: number;
    madeAt!: Date;
    notes!: unknown;
  }
  const schema = new EntitySchema<Thing>({
    name: 'Thing',
    target: Thing,
    tableName: 'thing',
    columns: {
      id: { type: 'int', primary: true },
      madeAt: { name: 'made_at', type: 'bigint', transformer: instant },
      notes: { type: 'simple-json', nullable: true },
    },
  });
  class Capitals extends DefaultNamingStrategy {
    override tableName(entity: string, given: string | undefined): string {
      return super.tableName(entity, given).toUpperCase();
    }
    override columnName(property: string, given: string, prefixes: string[]): string {
      return super.columnName(property, given, prefixes).toUpperCase();
    }
  }

  onEachDatabase((name) => {
    let database: TestDatabase;
    let source: DataSource;
    const opened: DataSource[] = [];
    const open = async (more: Partial<DataSourceOptions> = {}) => {
      const options = { ...database.options, entities: [schema], ...more } as DataSourceOptions;
      const dataSource = await new DataSource(options).initialize();
      opened.push(dataSource);
      return dataSource;
    };

    beforeAll(async () => {
      database = await createDatabase(name);
      source = await open({ synchronize: true });
      opened.pop();
      await source.query(`INSERT INTO thing (id, made_at, notes) VALUES (1, 1000, '{"a":1}'), (2, 2000, NULL)`);
    });
    afterEach(async () => {
      for (const dataSource of opened.splice(0)) await dataSource.destroy();
    });
    afterAll(async () => {
      await source?.destroy();
      await database?.drop();
    });

    const statement = (text: string): SentStatement => {
      const { columns } = storedNamesOf(source, Thing);
      return { name: `test_${text.length}`, text, columns: [...columns.values()] };
    };
    const all = () => statement('SELECT id, made_at, notes FROM thing ORDER BY id');
    /** The values of the properties, as a driver's answer gives them. */
    const read = ({ rows }: Answer) => {
      const columns = [...storedNamesOf(source, Thing).columns.values()];
      return rows.map((row) => row.map((value, at) => columns[at].read(value)));
    };
    const ROWS = [
      [1, new Date(1000), { a: 1 }],
      [2, new Date(2000), null],
    ];

    test('names of tables and columns are read from the metadata', async () => {
      const quote = name === 'mariadb' ? '`' : '"';
      const quoted = (text: string) =>
        text
          .split('.')
          .map((part) => quote + part + quote)
          .join('.');
      const identifiers = (dataSource: DataSource) => Object.fromEntries(storedNamesOf(dataSource, Thing).identifiers);
      expect(identifiers(source)).toEqual({
        thing: quoted('thing'),
        id: quoted('id'),
        made_at: quoted('made_at'),
        notes: quoted('notes'),
      });
      const renamed = await open({ namingStrategy: new Capitals(), entityPrefix: 'x_' });
      expect(identifiers(renamed)).toEqual({
        thing: quoted('x_THING'),
        id: quoted('ID'),
        made_at: quoted('MADE_AT'),
        notes: quoted('NOTES'),
      });
      expect([...storedNamesOf(renamed, Thing).columns]).toMatchObject([
        ['id', { property: 'id', name: 'ID' }],
        ['made_at', { property: 'madeAt', name: 'MADE_AT' }],
        ['notes', { property: 'notes', name: 'NOTES' }],
      ]);
      expect(() => storedNamesOf(source, Database as never)).toThrow();
    });

    test('a query runner returns records and the number of affected rows', async () => {
      const runner = source.createQueryRunner('master');
      try {
        expect(read(await queryOn(runner, all(), []))).toEqual(ROWS);
        const update = { ...statement('UPDATE thing SET made_at = made_at WHERE id < 3'), columns: [] };
        expect(await queryOn(runner, update, [])).toMatchObject({ rows: [], affected: 2 });
      } finally {
        await runner.release();
      }
    });

    if (isEmbedded({ name })) {
      test('all query runners share one transaction', async () => {
        expect(poolOf(source)).toBeUndefined();
        expect(isEmbeddedTransactionActive(source)).toBe(false);
        const runner = source.createQueryRunner('master');
        await runner.startTransaction();
        expect(isEmbeddedTransactionActive(source)).toBe(true);
        await runner.rollbackTransaction();
        expect(isEmbeddedTransactionActive(source)).toBe(false);
      });

      test('a transaction that the database rolled back by itself is reset', async () => {
        const runner = source.createQueryRunner('master');
        await runner.startTransaction();
        await runner.query('ROLLBACK');
        await expect(runner.rollbackTransaction()).rejects.toThrow();
        expect(isEmbeddedTransactionActive(source)).toBe(true);
        await resetEmbeddedTransaction(runner);
        expect(isEmbeddedTransactionActive(source)).toBe(false);
      });
      return;
    }

    const send = async (dataSource: DataSource, sent: SentStatement, values: unknown[], isNamed: boolean) => {
      const connection = await poolOf(dataSource)!();
      return new Promise<Answer>((resolve, reject) =>
        connection.query(sent, values, isNamed, (fault, answer) => {
          connection.release();
          if (fault) reject(fault);
          else resolve(answer as Answer);
        }),
      );
    };

    test('a pooled connection returns rows as lists of values, and is used again', async () => {
      const dataSource = await open({ poolSize: 1 });
      for (let time = 0; time < 3; time++) expect(read(await send(dataSource, all(), [], true))).toEqual(ROWS);
      const update = { ...statement('UPDATE thing SET made_at = made_at + 1 WHERE id = 99'), columns: [] };
      expect(await send(dataSource, update, [], false)).toMatchObject({ rows: [], affected: 0 });
      await expect(send(dataSource, { ...update, name: 'bad', text: 'SELEC 1' }, [], false)).rejects.toThrow();
      expect(read(await send(dataSource, all(), [], false))).toEqual(ROWS);
    });

    test('a destroyed connection leaves the pool, and the pool opens another', async () => {
      const dataSource = await open({ poolSize: 1 });
      const connection = await poolOf(dataSource)!();
      connection.query(statement(name === 'postgres' ? 'SELECT pg_sleep(5)' : 'SELECT SLEEP(5)'), [], false, () => {});
      connection.destroy();
      expect(read(await send(dataSource, all(), [], false))).toEqual(ROWS);
    });

    test('the connection of a query runner can be destroyed while a statement hangs', async () => {
      const dataSource = await open();
      const runner = dataSource.createQueryRunner('master');
      const connection = await runner.connect();
      const hanging = runner.query(name === 'postgres' ? 'SELECT pg_sleep(5)' : 'SELECT SLEEP(5)');
      const failed = expect(hanging).rejects.toThrow();
      destroyConnection(connection);
      await failed;
      await runner.release();
    });

    test('another DataSource has one connection to the same database, and changes nothing there', async () => {
      const options = singleConnectionOptions(source, 5000);
      expect(options).toMatchObject({
        synchronize: false,
        migrationsRun: false,
        dropSchema: false,
        replication: undefined,
      });
      const single = await new DataSource(options).initialize();
      opened.push(single);
      const [first, second] = [single.createQueryRunner('master'), single.createQueryRunner('master')];
      await first.connect();
      let isConnected = false;
      const connecting = second.connect().then(() => (isConnected = true));
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(isConnected).toBe(false);
      await first.release();
      await connecting;
      await second.release();
    });

    if (name !== 'postgres') return;

    test('statements on a query runner are prepared once under their names', async () => {
      const runner = source.createQueryRunner('master');
      try {
        for (let time = 0; time < 2; time++)
          expect(read(await queryPostgresOn(source, runner, all(), [], true))).toEqual(ROWS);
        const { name: prepared } = all();
        const known = await runner.query('SELECT name FROM pg_prepared_statements WHERE name = $1', [prepared]);
        expect(known).toHaveLength(1);
      } finally {
        await runner.release();
      }
    });

    test('a transaction that was begun past TypeORM can lock rows and be rolled back', async () => {
      const runner = source.createQueryRunner('master');
      const text = (sent: string) => queryPostgresOn(source, runner, { name: '', text: sent, columns: [] }, [], false);
      try {
        await text("START TRANSACTION; SET LOCAL lock_timeout = '1s'; SELECT 1");
        setTransactionActive(runner, true);
        const [locked] = await runner.manager.find(Thing, { where: { id: 1 }, lock: { mode: 'pessimistic_write' } });
        expect(locked).toEqual({ id: 1, madeAt: new Date(1000), notes: { a: 1 } });
        await runner.manager.delete(Thing, { id: 1 });
        await runner.rollbackTransaction();
        expect(runner.isTransactionActive).toBe(false);
        expect(await runner.manager.countBy(Thing, { id: 1 })).toBe(1);
      } finally {
        await runner.release();
      }
    });

    test('the schema is read from the driver', async () => {
      expect(schemaOf(source)).toBe('public');
      await source.query('CREATE SCHEMA other');
      expect(schemaOf(await open({ schema: 'other' }))).toBe('other');
    });
  });
});
