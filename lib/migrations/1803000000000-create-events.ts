import type { MigrationInterface, QueryRunner } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn } from './table.js';

const EVENTS = { name: 'session_event', entity: 'SessionEventEntity' };
const DELIVERIES = { name: 'session_delivery', entity: 'SessionDeliveryEntity' };
const NULLABLE = { isNullable: true };

/** Creates the tables for durable events and their deliveries. They stay empty unless `events` is set. */
export class CreateEvents1803000000000 implements MigrationInterface {
  readonly name = 'CreateEvents1803000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      EVENTS,
      [
        textColumn(collation, 'id', 36, { isPrimary: true }),
        textColumn(collation, 'name', 32),
        { name: 'position', type: 'integer' },
        textColumn(collation, 'session_id', 36, NULLABLE),
        textColumn(collation, 'user_id', 255, NULLABLE),
        textColumn(collation, 'session_type', 64, NULLABLE),
        textColumn(collation, 'reason', 32, NULLABLE),
        textColumn(collation, 'initiator', 8),
        { name: 'data', type: 'text', ...collation },
        timeColumn('created_at'),
        timeColumn('delivered_at', NULLABLE),
      ],
      [['delivered_at', 'created_at', 'position'], ['user_id', 'created_at'], ['session_id']],
    );
    await createTable(
      runner,
      DELIVERIES,
      [
        textColumn(collation, 'destination', 128, { isPrimary: true }),
        textColumn(collation, 'ordinal', 64, { isPrimary: true }),
        textColumn(collation, 'event_id', 36),
        textColumn(collation, 'queue', 36),
        { name: 'attempts', type: 'integer', default: 0 },
        timeColumn('next_at'),
        timeColumn('failed_at', NULLABLE),
        textColumn(collation, 'error', 255, NULLABLE),
      ],
      [['destination', 'queue'], ['event_id']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, DELIVERIES));
    await runner.dropTable(pathOf(runner, EVENTS));
  }
}
