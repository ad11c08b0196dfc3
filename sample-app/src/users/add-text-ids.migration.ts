import { randomUUID } from 'node:crypto';
import { type MigrationInterface, type QueryRunner, TableColumn, TableIndex } from 'typeorm';

/** Adds the column `text_id` to the table of `User`. Users that exist get a UUID. */
export class AddTextIds1790000000002 implements MigrationInterface {
  readonly name = 'AddTextIds1790000000002';

  async up(runner: QueryRunner): Promise<void> {
    const isMysql = ['mysql', 'mariadb'].includes(runner.connection.options.type);
    const collation = isMysql ? { charset: 'utf8mb4', collation: 'utf8mb4_bin' } : {};
    await runner.addColumn(
      'app_user',
      new TableColumn({ name: 'text_id', type: 'varchar', length: '255', isNullable: true, ...collation }),
    );
    const users = (await runner.query('SELECT id FROM app_user')) as { id: number }[];
    for (const { id } of users)
      await runner.query(`UPDATE app_user SET text_id = '${randomUUID()}' WHERE id = ${Number(id)}`);
    await runner.createIndex(
      'app_user',
      new TableIndex({ name: 'app_user_text_id', columnNames: ['text_id'], isUnique: true }),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropColumn('app_user', 'text_id');
  }
}
