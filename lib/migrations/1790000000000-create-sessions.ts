import type { MigrationInterface, QueryRunner, TableColumnOptions } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn as time } from './table.js';

const SESSIONS = { name: 'user_session', entity: 'SessionEntity' };
const BLACKLIST = { name: 'session_blacklist', entity: 'BlacklistEntity' };

/** Creates the tables for sessions and the blacklist, like those of `synchronize` but with collations that compare bytes. */
export class CreateSessions1790000000000 implements MigrationInterface {
  readonly name = 'CreateSessions1790000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    const text = (name: string, length: number, more: Partial<TableColumnOptions> = {}) =>
      textColumn(collation, name, length, more);

    await createTable(
      runner,
      SESSIONS,
      [
        text('id', 36, { isPrimary: true }),
        text('user_id', 255),
        text('type', 64),
        { name: 'generation', type: 'integer', default: 0 },
        { name: 'parent_generation', type: 'integer', isNullable: true },
        text('refresh_jti', 32),
        text('parent_jti', 32, { isNullable: true }),
        text('refresh_kid', 64),
        { name: 'confirmed_generation', type: 'integer', default: 0 },
        time('created_at'),
        time('last_update'),
        time('rotated_at', { default: 0 }),
        time('expires_at'),
        time('absolute_expires_at', { isNullable: true }),
        { name: 'info', type: 'text', ...collation },
        text('user_agent', 512, { isNullable: true }),
        text('ip_address', 64, { isNullable: true }),
        text('device_name', 255, { isNullable: true }),
        { name: 'data', type: 'text', isNullable: true, ...collation },
        { name: 'claims', type: 'text', isNullable: true, ...collation },
      ],
      [['user_id', 'type', 'expires_at'], ['expires_at']],
    );
    await createTable(
      runner,
      BLACKLIST,
      [
        text('id', 36, { isPrimary: true }),
        text('kind', 8),
        text('session_id', 36),
        text('user_id', 255),
        text('reason', 32),
        time('created_at'),
        time('expires_at'),
      ],
      [['kind', 'created_at'], ['expires_at']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, BLACKLIST));
    await runner.dropTable(pathOf(runner, SESSIONS));
  }
}
