import type { MigrationInterface, QueryRunner } from 'typeorm';
import { replaceIndexes } from './indexes.js';
import { addMissingColumns, dropColumns, timeColumn } from './table.js';

const SESSIONS = { name: 'user_session', entity: 'SessionEntity' };
const BEFORE = [['user_id', 'type', 'expires_at'], ['expires_at']];
const AFTER = [['user_id'], ['cleanup_at']];

/**
 * Takes the expiry, which refreshes change, out of the indexes. The cleanup goes by a time of its own, which refreshes leave
 * alone: see `SessionEntity.cleanupAt`.
 *
 * No database rewrites the table. The previous version can go on using it: its rows have the time 0, so the cleanup of this
 * version looks at them and sets their time. For the same reason, no row needs to be changed here. The cleanup of the previous
 * version works too, but reads the whole table.
 */
export class IndexCleanupTime1806000000000 implements MigrationInterface {
  readonly name = 'IndexCleanupTime1806000000000';

  async up(runner: QueryRunner): Promise<void> {
    await addMissingColumns(runner, SESSIONS, [timeColumn('cleanup_at', { default: 0 })]);
    await replaceIndexes(runner, SESSIONS, { create: AFTER, drop: BEFORE });
  }

  async down(runner: QueryRunner): Promise<void> {
    await replaceIndexes(runner, SESSIONS, { create: BEFORE, drop: AFTER });
    await dropColumns(runner, SESSIONS, ['cleanup_at']);
  }
}
