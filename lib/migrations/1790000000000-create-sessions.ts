import { type MigrationInterface, type QueryRunner, Table, type TableColumnOptions, TableIndex } from 'typeorm';

/** The tables, each with the entity that is stored in it: a naming strategy is given both. */
const SESSIONS = { name: 'user_session', entity: 'SessionEntity' };
const BLACKLIST = { name: 'session_blacklist', entity: 'BlacklistEntity' };

/** The tables of sessions and of the blacklist, as `synchronize` makes them, with collations that compare byte for byte. */
export class CreateSessions1790000000000 implements MigrationInterface {
  readonly name = 'CreateSessions1790000000000';

  async up(runner: QueryRunner): Promise<void> {
    const collation = await binaryCollation(runner);
    const text = (name: string, length: number, more: Partial<TableColumnOptions> = {}): TableColumnOptions => ({
      name,
      type: 'varchar',
      length: String(length),
      ...collation,
      ...more,
    });
    const time = (name: string, more: Partial<TableColumnOptions> = {}): TableColumnOptions => ({
      name,
      type: 'bigint',
      ...more,
    });

    await this.createTable(
      runner,
      SESSIONS,
      [
        text('id', 36, { isPrimary: true }),
        text('user_id', 255),
        text('type', 64),
        { name: 'generation', type: 'integer', default: 0 },
        { name: 'parent_generation', type: 'integer', isNullable: true },
        text('refresh_jti', 32),
        text('parent_jti', 32, { isNullable: true }),
        text('refresh_kid', 64),
        { name: 'confirmed_generation', type: 'integer', default: 0 },
        time('created_at'),
        time('last_update'),
        time('rotated_at', { default: 0 }),
        time('expires_at'),
        time('absolute_expires_at', { isNullable: true }),
        { name: 'info', type: 'text', ...collation },
        text('user_agent', 512, { isNullable: true }),
        text('ip_address', 64, { isNullable: true }),
        text('device_name', 255, { isNullable: true }),
        { name: 'data', type: 'text', isNullable: true, ...collation },
        { name: 'claims', type: 'text', isNullable: true, ...collation },
      ],
      [['user_id', 'type', 'expires_at'], ['expires_at']],
    );
    await this.createTable(
      runner,
      BLACKLIST,
      [
        text('id', 36, { isPrimary: true }),
        text('kind', 8),
        text('session_id', 36),
        text('user_id', 255),
        text('reason', 32),
        time('created_at'),
        time('expires_at'),
      ],
      [['kind', 'created_at'], ['expires_at']],
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.dropTable(pathOf(runner, BLACKLIST));
    await runner.dropTable(pathOf(runner, SESSIONS));
  }

  private async createTable(
    runner: QueryRunner,
    given: typeof SESSIONS,
    columns: TableColumnOptions[],
    indices: string[][],
  ): Promise<void> {
    const path = pathOf(runner, given);
    const { namingStrategy } = runner.connection;
    const columnName = (name: string) => columnNameOf(runner, name);
    const table = new Table({
      name: path,
      columns: columns.map((column) => ({ ...column, name: columnName(column.name) })),
      // Names as `synchronize` gives them, so that it finds nothing to change.
      indices: indices.map((names) => {
        const columnNames = names.map(columnName);
        return new TableIndex({ name: namingStrategy.indexName(path, columnNames), columnNames });
      }),
    });
    const primary = table.columns.find((column) => column.isPrimary);
    if (primary) primary.primaryKeyConstraintName = undefined;
    await runner.createTable(table);
  }
}

/** As the DataSource's naming strategy has it, with its `entityPrefix`, and its schema where it has one. */
function pathOf({ connection }: QueryRunner, { name, entity }: typeof SESSIONS): string {
  const { driver, namingStrategy, options } = connection;
  const table = namingStrategy.tableName(entity, name);
  const prefixed = options.entityPrefix ? namingStrategy.prefixTableName(options.entityPrefix, table) : table;
  return driver.buildTableName(prefixed, driver.schema);
}

/** As the DataSource's naming strategy has it. The entities say a column's name only where it is not the property's. */
function columnNameOf({ connection }: QueryRunner, name: string): string {
  const property = name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return connection.namingStrategy.columnName(property, property === name ? undefined : name, []);
}

/** MySQL and MariaDB would take «bob» for «Bob»; each has its own name for a comparison of bytes, trailing spaces included. */
async function binaryCollation(runner: QueryRunner): Promise<Partial<TableColumnOptions>> {
  const { type } = runner.connection.options;
  if (!['mysql', 'mariadb', 'aurora-mysql'].includes(type)) return {};
  const [{ version }] = (await runner.query('SELECT VERSION() AS version')) as [{ version: string }];
  return { charset: 'utf8mb4', collation: version.includes('MariaDB') ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin' };
}
