import type { MigrationInterface, QueryRunner } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn } from './table.js';

const ALIASES = { name: 'session_alias', entity: 'SessionAliasEntity' };

/** Creates the table for the keys of sessions in the systems they were imported from. It stays empty without an import. */
export class CreateAliases1801000000000 implements MigrationInterface {
  readonly name = 'CreateAliases1801000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      ALIASES,
      [
        textColumn(collation, 'id', 64, { isPrimary: true }),
        textColumn(collation, 'system', 32),
        textColumn(collation, 'old_key', 510),
        textColumn(collation, 'token', 64, { isNullable: true }),
        textColumn(collation, 'user_id', 255),
        textColumn(collation, 'session_id', 36),
        timeColumn('imported_at'),
      ],
      [['token'], ['session_id']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, ALIASES));
  }
}
