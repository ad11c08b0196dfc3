import { type MigrationInterface, type QueryRunner, Table } from 'typeorm';

/** Creates the table of `User`. */
export class CreateUsers1790000000001 implements MigrationInterface {
  readonly name = 'CreateUsers1790000000001';

  async up(runner: QueryRunner): Promise<void> {
    const isMysql = ['mysql', 'mariadb'].includes(runner.connection.options.type);
    // By default, MySQL and MariaDB treat "bob" and "Bob" as equal.
    const collation = isMysql ? { charset: 'utf8mb4', collation: 'utf8mb4_bin' } : {};
    await runner.createTable(
      new Table({
        name: 'app_user',
        columns: [
          {
            name: 'id',
            type: isMysql ? 'int' : 'integer',
            isPrimary: true,
            isGenerated: true,
            generationStrategy: 'increment',
          },
          { name: 'username', type: 'varchar', length: '150', isUnique: true, ...collation },
          { name: 'password_hash', type: 'varchar', length: '255' },
          { name: 'active', type: 'boolean' },
        ],
      }),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable('app_user');
  }
}
