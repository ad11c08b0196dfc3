import type { MigrationInterface, QueryRunner } from 'typeorm';
import { binaryCollation, createTable, pathOf, textColumn, timeColumn } from './table.js';

const KNOWN_DEVICES = { name: 'known_device', entity: 'KnownDeviceEntity' };

/** Creates the table for the devices from which users have logged in. It stays empty unless `rememberDevices` is set. */
export class CreateKnownDevices1797000000000 implements MigrationInterface {
  readonly name = 'CreateKnownDevices1797000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    await createTable(
      runner,
      KNOWN_DEVICES,
      [
        textColumn(collation, 'id', 64, { isPrimary: true }),
        textColumn(collation, 'user_id', 255),
        timeColumn('last_seen'),
      ],
      [['user_id'], ['last_seen']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, KNOWN_DEVICES));
  }
}
