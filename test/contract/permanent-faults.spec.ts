import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { Database } from '../../lib/database/database.js';
import { ServerFaultError, UnavailableError } from '../../lib/errors.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import { createDatabase, type DatabaseName, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';

const SERVERS: readonly DatabaseName[] = ['postgres', 'mariadb'];
const VALUE = 'a-value-that-nobody-may-see';

onEachDatabase((name) => {
  const isServer = SERVERS.includes(name);
  let created: TestDatabase;
  let dataSource: DataSource;
  let database: Database;
  const logged: string[] = [];

  beforeAll(async () => {
    created = await createDatabase(name);
    dataSource = await new DataSource({
      ...created.options,
      entities: [...MULTI_SESSION_ENTITIES],
      synchronize: true,
    }).initialize();
    database = new Database(dataSource, 1);
    jest.spyOn(Logger.prototype, 'error').mockImplementation((message: unknown) => void logged.push(String(message)));
    const number = name === 'sqlite' || name === 'sqljs' ? 'integer' : 'smallint';
    await dataSource.query(
      `CREATE TABLE strict_rows (id varchar(8) PRIMARY KEY, amount ${number} NOT NULL, CONSTRAINT positive CHECK (amount > 0))`,
    );
  });

  afterAll(async () => {
    jest.restoreAllMocks();
    await dataSource.destroy();
    await created.drop();
  });

  /** Sends a statement through the library, and returns the error and its line in the log. */
  async function faultOf(...statements: string[]) {
    logged.length = 0;
    const error: unknown = await database
      .transaction(undefined, async (manager) => {
        for (const statement of statements) await manager.query(statement);
      })
      .catch((reason: unknown) => reason);
    return { error, log: logged.join('\n') };
  }

  interface Fault {
    what: string;
    statement: string;
    /** What the log must say. */
    log: RegExp;
    on?: readonly DatabaseName[];
  }

  const PERMANENT: Fault[] = [
    { what: 'a missing table', statement: 'SELECT 1 FROM no_such_table', log: /no_such_table.*run the migrations/ },
    { what: 'a missing column', statement: 'SELECT r.lacking FROM strict_rows r', log: /lacking.*run the migrations/ },
    { what: 'a syntax error', statement: 'SELEC 1', log: /does not understand a statement/ },
    {
      what: 'a value that is not null',
      statement: `INSERT INTO strict_rows VALUES ('${VALUE.slice(0, 8)}', NULL)`,
      log: /amount.*does not fit its column/,
    },
    {
      what: 'a duplicate key',
      statement: "INSERT INTO strict_rows VALUES ('dup', 1), ('dup', 1)",
      log: /a constraint or trigger refuses/,
    },
    {
      what: 'a check',
      statement: `INSERT INTO strict_rows VALUES ('${VALUE.slice(0, 8)}', -1)`,
      log: /positive.*a constraint or trigger refuses/,
    },
    {
      what: 'a value that is too long',
      statement: `INSERT INTO strict_rows VALUES ('${VALUE}', 1)`,
      log: /does not fit its column/,
      on: SERVERS,
    },
    {
      what: 'a number that is out of range',
      statement: "INSERT INTO strict_rows VALUES ('big', 99999)",
      log: /does not fit its column/,
      on: SERVERS,
    },
  ];

  describe('a fault that does not pass is a 500, and the log says what to do', () => {
    test.each(PERMANENT.filter(({ on }) => !on || on.includes(name)))('$what', async ({ statement, log }) => {
      const fault = await faultOf(statement);
      expect(fault.error).toBeInstanceOf(ServerFaultError);
      expect((fault.error as ServerFaultError).headers).toEqual({});
      expect(fault.log).toMatch(log);
      expect(fault.log).not.toContain(VALUE.slice(0, 8));
    });
  });

  if (isServer) {
    test('so is a right that the user lacks', async () => {
      const user = `u_${Math.random().toString(36).slice(2, 10)}`;
      await dataSource.query(
        name === 'postgres' ? `CREATE ROLE ${user} LOGIN PASSWORD 'x'` : `CREATE USER ${user}@'%' IDENTIFIED BY 'x'`,
      );
      const { options } = dataSource;
      if (name === 'mariadb')
        await dataSource.query(`GRANT SELECT ON ${dataSource.driver.database}.strict_rows TO ${user}@'%'`);
      else await dataSource.query(`GRANT SELECT ON strict_rows TO ${user}`);
      const url = new URL((options as { url: string }).url);
      url.username = user;
      url.password = 'x';
      const weak = await new DataSource({
        ...options,
        url: url.href,
        synchronize: false,
      } as DataSourceOptions).initialize();
      try {
        logged.length = 0;
        const denied = await new Database(weak)
          .run((manager) => manager.query("INSERT INTO strict_rows VALUES ('a', 1)"))
          .catch((reason: unknown) => reason);
        expect(denied).toBeInstanceOf(ServerFaultError);
        expect(logged.join()).toMatch(/strict_rows.*lacks a right; grant it/);
      } finally {
        await weak.destroy();
        await dataSource.query(name === 'postgres' ? `DROP OWNED BY ${user}` : `DROP USER ${user}@'%'`);
        if (name === 'postgres') await dataSource.query(`DROP ROLE ${user}`);
      }
    });

    test('a read-only transaction, a lock that is not free and a connection that is lost are a 503', async () => {
      const readOnly =
        name === 'postgres'
          ? ['SET TRANSACTION READ ONLY', "INSERT INTO strict_rows VALUES ('a', 1)"]
          : ["SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, MESSAGE_TEXT = 'read-only'"];
      expect((await faultOf(...readOnly)).error).toBeInstanceOf(UnavailableError);

      const lost = name === 'postgres' ? 'SELECT pg_terminate_backend(pg_backend_pid())' : 'KILL CONNECTION_ID()';
      expect((await faultOf(lost)).error).toBeInstanceOf(UnavailableError);

      const holder = dataSource.createQueryRunner();
      await holder.startTransaction();
      await holder.query("INSERT INTO strict_rows VALUES ('held', 1)");
      await holder.commitTransaction();
      await holder.startTransaction();
      await holder.query("UPDATE strict_rows SET amount = 2 WHERE id = 'held'");
      const wait = name === 'postgres' ? "SET LOCAL lock_timeout = '50ms'" : 'SET innodb_lock_wait_timeout = 0';
      const busy = await faultOf(wait, "UPDATE strict_rows SET amount = 3 WHERE id = 'held'");
      await holder.rollbackTransaction();
      await holder.release();
      expect(busy.error).toBeInstanceOf(UnavailableError);
    });
  }
});
