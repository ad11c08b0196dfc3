import type { MigrationInterface, QueryRunner } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn } from './table.js';

const PROVIDERS = { name: 'session_provider', entity: 'SessionProviderEntity' };
const SIGNALS = { name: 'session_signal', entity: 'SessionSignalEntity' };
const NULLABLE = { isNullable: true };

/** Creates the tables for logins at identity providers and for their signals. They stay empty unless `identityProviders` is set. */
export class CreateSignals1804000000000 implements MigrationInterface {
  readonly name = 'CreateSignals1804000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      PROVIDERS,
      [
        textColumn(collation, 'session_id', 36, { isPrimary: true }),
        textColumn(collation, 'subject_key', 64),
        textColumn(collation, 'sid_key', 64, NULLABLE),
        timeColumn('created_at'),
      ],
      [['subject_key'], ['sid_key'], ['created_at']],
    );
    await createTable(
      runner,
      SIGNALS,
      [
        textColumn(collation, 'id', 64, { isPrimary: true }),
        textColumn(collation, 'subject_key', 64, NULLABLE),
        timeColumn('received_at'),
        { name: 'handled', type: 'integer', default: 0 },
        timeColumn('expires_at'),
      ],
      [['subject_key'], ['expires_at']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, SIGNALS));
    await runner.dropTable(pathOf(runner, PROVIDERS));
  }
}
