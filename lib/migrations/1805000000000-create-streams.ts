import type { MigrationInterface, QueryRunner } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn } from './table.js';

const STREAMS = { name: 'session_stream', entity: 'SessionStreamEntity' };
const SUBJECTS = { name: 'session_stream_subject', entity: 'SessionStreamSubjectEntity' };
const NULLABLE = { isNullable: true };

/** Creates the tables for what receivers change at their streams. They stay empty unless `eventStreams` is set. */
export class CreateStreams1805000000000 implements MigrationInterface {
  readonly name = 'CreateStreams1805000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      STREAMS,
      [
        textColumn(collation, 'name', 40, { isPrimary: true }),
        textColumn(collation, 'status', 8),
        textColumn(collation, 'reason', 255, NULLABLE),
        timeColumn('verified_at', NULLABLE),
      ],
      [],
    );
    await createTable(
      runner,
      SUBJECTS,
      [
        textColumn(collation, 'stream', 40, { isPrimary: true }),
        textColumn(collation, 'subject_key', 64, { isPrimary: true }),
        { name: 'included', type: 'integer' },
      ],
      [['subject_key']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, SUBJECTS));
    await runner.dropTable(pathOf(runner, STREAMS));
  }
}
