import type { MigrationInterface, QueryRunner } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn } from './table.js';

const ACTIONS = { name: 'session_admin_action', entity: 'SessionAdminActionEntity' };
const NULLABLE = { isNullable: true };

/** Creates the table for what administrators do. */
export class CreateAdminActions1807000000000 implements MigrationInterface {
  readonly name = 'CreateAdminActions1807000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      ACTIONS,
      [
        textColumn(collation, 'id', 36, { isPrimary: true }),
        textColumn(collation, 'action', 32),
        textColumn(collation, 'by_user_id', 255, NULLABLE),
        textColumn(collation, 'user_id', 255, NULLABLE),
        textColumn(collation, 'session_id', 36, NULLABLE),
        { name: 'ended', type: 'integer', ...NULLABLE },
        { name: 'details', type: 'text', ...collation },
        timeColumn('created_at'),
      ],
      [['by_user_id', 'id']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, ACTIONS));
  }
}
