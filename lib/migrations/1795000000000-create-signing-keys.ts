import type { MigrationInterface, QueryRunner } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn } from './table.js';

const SIGNING_KEYS = { name: 'session_signing_key', entity: 'SigningKeyEntity' };

/** Creates the table for managed signing keys. It stays empty unless `jwt.managed` is set. */
export class CreateSigningKeys1795000000000 implements MigrationInterface {
  readonly name = 'CreateSigningKeys1795000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      SIGNING_KEYS,
      [
        textColumn(collation, 'kid', 64, { isPrimary: true }),
        textColumn(collation, 'algorithm', 8),
        { name: 'sealed', type: 'text', ...collation },
        timeColumn('created_at'),
        timeColumn('active_at', { isNullable: true }),
      ],
      [],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, SIGNING_KEYS));
  }
}
