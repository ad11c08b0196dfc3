import { describe, expect, test } from '@jest/globals';
import { withoutValues } from '../../../lib/database/faults.js';
import { remedyOf } from '../../../lib/database/permanent-faults.js';

const SECRET = 'f81d4fae7dec';

describe('a logged error keeps names and hides values', () => {
  test.each([
    // PostgreSQL.
    ['relation "user_session" does not exist', undefined],
    ['column "user_id" of relation "acme.user_session" does not exist', undefined],
    ['column s.first_name does not exist', undefined],
    ['duplicate key value violates unique constraint "PK_8b1a"', undefined],
    ['null value in column "info" of relation "user_session" violates not-null constraint', undefined],
    ['permission denied for table user_session', undefined],
    ['password authentication failed for user "app"', undefined],
    ['database "shop" does not exist', undefined],
    ['syntax error at or near "FORM"', undefined],
    ['unrecognized configuration parameter "lock_timeoutt"', undefined],
    ['value too long for type character varying(64)', undefined],
    [`invalid input syntax for type bigint: "${SECRET}"`, 'invalid input syntax for type bigint: …'],
    [`invalid input syntax for type json: "a "b" ${SECRET}"`, 'invalid input syntax for type json: …'],
    [`value "${SECRET}" is out of range for type integer`, 'value … is out of range for type integer'],
    [`invalid value for parameter "a_b": "${SECRET}"`, 'invalid value for parameter "a_b": …'],
    // MySQL and MariaDB.
    ["Table 'test.user_session' doesn't exist", undefined],
    ["Unknown column 'user_id' in 'field list'", undefined],
    ["Column 'info' cannot be null", undefined],
    ["Field 'info' doesn't have a default value", undefined],
    ["Data too long for column 'refresh_kid' at row 1", undefined],
    ["Out of range value for column 'generation' at row 1", undefined],
    ["INSERT command denied to user 'app'@'localhost' for table `test`.`user_session`", undefined],
    ["Access denied for user 'app'@'10.0.0.1' (using password: YES)", undefined],
    ["Unknown database 'shop'", undefined],
    [
      'Cannot add or update a child row: a foreign key constraint fails (`t`.`user_session`, CONSTRAINT `FK_1` FOREIGN KEY (`user_id`) REFERENCES `users` (`id`))',
      undefined,
    ],
    [`Duplicate entry '${SECRET}' for key 'PRIMARY'`, "Duplicate entry … for key 'PRIMARY'"],
    [`Duplicate entry '${SECRET}' for key 'x' for key 'y'`, "Duplicate entry … for key 'y'"],
    [`Duplicate entry 'it's ${SECRET}' for key 'a.PRIMARY'`, "Duplicate entry … for key 'a.PRIMARY'"],
    [`Duplicate entry 'column '${SECRET}' for key 'a'`, "Duplicate entry … for key 'a'"],
    [
      `Incorrect string value: '\\xF0 ${SECRET}' for column \`t\`.\`user_session\`.\`info\` at row 1`,
      'Incorrect string value: … for column `t`.`user_session`.`info` at row 1',
    ],
    [`Truncated incorrect DOUBLE value: '${SECRET}'`, 'Truncated incorrect DOUBLE value: …'],
    [
      `You have an error in your SQL syntax; check the manual for the right syntax to use near '${SECRET}' at line 1`,
      'You have an error in your SQL syntax; check the manual for the right syntax to use near … at line 1',
    ],
    [`Incorrect value: '${SECRET}`, 'Incorrect value: …'],
    [`Incorrect value: '${SECRET}\n${SECRET}'`, 'Incorrect value: …'],
    // SQLite and TypeORM.
    ['NOT NULL constraint failed: user_session.info', undefined],
    ['near "FORM": syntax error', undefined],
    ['no such table: user_session', undefined],
    ['No metadata for "SessionEntity" was found.', undefined],
    ['Property "userId" was not found in "SessionEntity". Make sure your query is correct.', undefined],
  ])('%s', (message, shown = message) => {
    expect(withoutValues(new Error(message)).message).toBe(shown);
    expect(withoutValues(new Error(message)).message).not.toContain(SECRET);
  });
});

describe('which faults pass', () => {
  const query = (driverError: object) => Object.assign(new Error('a query failed'), { driverError });
  const postgres = (code: string) => remedyOf(query({ code }), 'postgres');
  const mysql = (errno: number, code?: string) => remedyOf(query({ errno, code }), 'mysql');
  const sqlite = (code: string | undefined, message = '') => remedyOf(query({ code, message }), 'sqlite');

  test.each([
    '40001',
    '40P01',
    '55P03',
    '57014',
    '57P01',
    '57P03',
    '08006',
    '08P01',
    '53300',
    '53100',
    '25006',
    '58030',
  ])('PostgreSQL: %s may pass', (code) => expect(postgres(code)).toBeUndefined());

  test.each([
    ...['42P01', '42703', '42501', '42601', '22001', '22003', '23502', '23503', '23505', '28P01', '3D000', '54000'],
    ...['57P04', 'P0001', 'XX001', '0A000', '22P05'],
  ])('PostgreSQL: %s does not pass', (code) => expect(postgres(code)).toMatch(/; /));

  // 1047: a Galera node that is not part of the cluster. -111: no connection.
  test.each([1205, 1213, 1020, 1040, 1290, 1836, 1047, 1927, 1053, 1969, 2013, 3101, -111, NaN])(
    'MySQL: %s may pass',
    (errno) => expect(mysql(errno)).toBeUndefined(),
  );

  test.each([1146, 1054, 1142, 1044, 1064, 1406, 1048, 1364, 1264, 1366, 1062, 1452, 3819, 4025, 1045, 1049])(
    'MySQL: %s does not pass',
    (errno) => expect(mysql(errno)).toMatch(/; /),
  );

  test.each([
    ['SQLITE_BUSY', ''],
    ['SQLITE_BUSY_SNAPSHOT', ''],
    ['SQLITE_FULL', 'database or disk is full'],
    ['SQLITE_READONLY', ''],
    ['SQLITE_IOERR_WRITE', ''],
    ['SQLITE_CANTOPEN', ''],
    ['SQLITE_ERROR', 'cannot start a transaction within a transaction'],
    [undefined, 'database is locked'],
  ])('SQLite: %s %s may pass', (code, message) => expect(sqlite(code, message)).toBeUndefined());

  test.each([
    ['SQLITE_CONSTRAINT_NOTNULL', ''],
    ['SQLITE_CONSTRAINT_PRIMARYKEY', ''],
    ['SQLITE_ERROR', 'no such table: user_session'],
    ['SQLITE_ERROR', 'no such column: x'],
    ['SQLITE_ERROR', 'near "FORM": syntax error'],
    ['SQLITE_CORRUPT', ''],
    [undefined, 'no such table: user_session'],
    [undefined, 'NOT NULL constraint failed: user_session.info'],
  ])('SQLite: %s %s does not pass', (code, message) => expect(sqlite(code, message)).toMatch(/; /));

  test('an entity that the DataSource lacks does not pass, and a lost connection may', () => {
    const missing = Object.assign(new Error(), { name: 'EntityMetadataNotFoundError' });
    for (const kind of ['postgres', 'mysql', 'sqlite'] as const) {
      expect(remedyOf(missing, kind)).toMatch(/MULTI_SESSION_ENTITIES/);
      expect(remedyOf(Object.assign(new Error(), { code: 'ECONNREFUSED' }), kind)).toBeUndefined();
      expect(remedyOf(Object.assign(new Error(), { code: 'EPIPE' }), kind)).toBeUndefined();
      expect(remedyOf(new Error('Connection terminated unexpectedly'), kind)).toBeUndefined();
      expect(remedyOf(undefined, kind)).toBeUndefined();
    }
  });
});
