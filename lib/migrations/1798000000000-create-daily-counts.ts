import { type MigrationInterface, type QueryRunner, TableIndex } from 'typeorm';
import { binaryCollation, createTable, indexOf, pathOf, textColumn } from './table.js';

const DAILY_COUNTS = { name: 'session_daily_count', entity: 'SessionDailyCountEntity' };
const SESSIONS = { name: 'user_session', entity: 'SessionEntity' };
const BY_TYPE = ['type', 'id'];

/**
 * Creates the table for daily counts, which stays empty unless `dailyCounts` is set. Also creates the index that administrators
 * need to list the sessions of one type.
 */
export class CreateDailyCounts1798000000000 implements MigrationInterface {
  readonly name = 'CreateDailyCounts1798000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      DAILY_COUNTS,
      [
        textColumn(collation, 'day', 10, { isPrimary: true }),
        textColumn(collation, 'type', 64, { isPrimary: true }),
        textColumn(collation, 'kind', 32, { isPrimary: true }),
        { name: 'amount', type: 'integer' },
      ],
      [],
    );
    await runner.createIndex(pathOf(runner, SESSIONS), new TableIndex(indexOf(runner, SESSIONS, BY_TYPE)));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropIndex(pathOf(runner, SESSIONS), indexOf(runner, SESSIONS, BY_TYPE).name);
    await runner.dropTable(pathOf(runner, DAILY_COUNTS));
  }
}
