import type { MigrationInterface, QueryRunner, TableColumnOptions } from 'typeorm';
import {
  addColumns,
  binaryCollation,
  createTable,
  dropColumns,
  pathOf,
  textColumn,
  timeColumn as time,
} from './table.js';

const SESSIONS = { name: 'user_session', entity: 'SessionEntity' };
const KNOWN_DEVICES = { name: 'known_device', entity: 'KnownDeviceEntity' };
const SIGNING_KEYS = { name: 'session_signing_key', entity: 'SigningKeyEntity' };
const USERS = { name: 'session_user', entity: 'SessionUserEntity' };
const JOBS = { name: 'session_job', entity: 'SessionJobEntity' };
const EPOCH = { name: 'session_epoch', entity: 'SessionEpochEntity' };

const int = (name: string, more: Partial<TableColumnOptions> = {}) => ({ name, type: 'integer', ...more });
const isNullable = true;

/**
 * Creates the tables for user rows, jobs and the epoch. Also adds the columns that record under which settings a row was
 * written. Every new column is nullable, so no database rewrites a table, and the previous version can go on using it.
 */
export class CreateUserRows1800000000000 implements MigrationInterface {
  readonly name = 'CreateUserRows1800000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    const text = (name: string, length: number, more: Partial<TableColumnOptions> = {}) =>
      textColumn(collation, name, length, more);

    await createTable(
      runner,
      USERS,
      [
        text('user_key', 255, { isPrimary: true }),
        int('version'),
        time('not_before', { default: 0 }),
        { name: 'not_before_by_type', type: 'text', isNullable, ...collation },
        time('used_at'),
      ],
      [],
    );
    await createTable(
      runner,
      JOBS,
      [
        text('name', 64, { isPrimary: true }),
        int('turn'),
        time('until'),
        { name: 'state', type: 'text', isNullable, ...collation },
      ],
      [],
    );
    await createTable(
      runner,
      EPOCH,
      [text('name', 16, { isPrimary: true }), text('epoch', 32), text('first', 32), time('created_at')],
      [],
    );
    await addColumns(runner, SESSIONS, [
      int('access_lifetime', { isNullable }),
      time('prepared_at', { isNullable }),
      text('transport', 8, { isNullable }),
      int('persistent', { isNullable }),
      time('client_changed_at', { isNullable }),
    ]);
    await addColumns(runner, KNOWN_DEVICES, [time('expires_at', { isNullable })]);
    await addColumns(runner, SIGNING_KEYS, [time('longest_lifetime', { isNullable })]);
  }

  async down(runner: QueryRunner): Promise<void> {
    await dropColumns(runner, SIGNING_KEYS, ['longest_lifetime']);
    await dropColumns(runner, KNOWN_DEVICES, ['expires_at']);
    await dropColumns(runner, SESSIONS, [
      'client_changed_at',
      'persistent',
      'transport',
      'prepared_at',
      'access_lifetime',
    ]);
    for (const table of [EPOCH, JOBS, USERS]) await runner.dropTable(pathOf(runner, table));
  }
}
