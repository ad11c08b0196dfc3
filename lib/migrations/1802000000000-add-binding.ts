import type { MigrationInterface, QueryRunner } from 'typeorm';
import { addColumns, binaryCollation, dropColumns, textColumn } from './table.js';

const SESSIONS = { name: 'user_session', entity: 'SessionEntity' };

/**
 * Adds the columns for the key to which a session is bound. All are nullable, so no database rewrites the table, and the
 * previous version can go on using it.
 */
export class AddBinding1802000000000 implements MigrationInterface {
  readonly name = 'AddBinding1802000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await addColumns(runner, SESSIONS, [
      textColumn(collation, 'binding', 64, { isNullable: true }),
      textColumn(collation, 'pending_binding', 64, { isNullable: true }),
      { name: 'binding_key', type: 'text', isNullable: true, ...collation },
    ]);
  }

  async down(runner: QueryRunner): Promise<void> {
    await dropColumns(runner, SESSIONS, ['binding_key', 'pending_binding', 'binding']);
  }
}
