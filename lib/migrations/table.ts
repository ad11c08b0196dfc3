import { type QueryRunner, Table, type TableColumnOptions, TableIndex } from 'typeorm';

/** A table, with the entity that is stored in it: a naming strategy is given both. */
export interface StoredTable {
  readonly name: string;
  readonly entity: string;
}

/** Makes a table as `synchronize` makes it, so that it finds nothing to change. @param indices the columns of each */
export async function createTable(
  runner: QueryRunner,
  given: StoredTable,
  columns: TableColumnOptions[],
  indices: string[][],
): Promise<void> {
  const path = pathOf(runner, given);
  const table = new Table({
    name: path,
    columns: columns.map((column) => ({ ...column, name: columnNameOf(runner, column.name) })),
    indices: indices.map((names) => new TableIndex(indexOf(runner, given, names))),
  });
  const primary = table.columns.find((column) => column.isPrimary);
  if (primary) primary.primaryKeyConstraintName = undefined;
  await runner.createTable(table);
}

/** An index with the name that `synchronize` gives it, so that it finds nothing to change. */
export function indexOf(
  runner: QueryRunner,
  table: StoredTable,
  columns: string[],
): { name: string; columnNames: string[] } {
  const columnNames = columns.map((name) => columnNameOf(runner, name));
  return { name: runner.connection.namingStrategy.indexName(pathOf(runner, table), columnNames), columnNames };
}

/** As the DataSource's naming strategy has it, with its `entityPrefix`, and its schema where it has one. */
export function pathOf({ connection }: QueryRunner, { name, entity }: StoredTable): string {
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
export async function binaryCollation(runner: QueryRunner): Promise<Partial<TableColumnOptions>> {
  const { type } = runner.connection.options;
  if (!['mysql', 'mariadb', 'aurora-mysql'].includes(type)) return {};
  const [{ version }] = (await runner.query('SELECT VERSION() AS version')) as [{ version: string }];
  return { charset: 'utf8mb4', collation: version.includes('MariaDB') ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin' };
}

/** A column of text, in `collation`. */
export function textColumn(
  collation: Partial<TableColumnOptions>,
  name: string,
  length: number,
  more: Partial<TableColumnOptions> = {},
): TableColumnOptions {
  return { name, type: 'varchar', length: String(length), ...collation, ...more };
}

/** A column of milliseconds since 1970. */
export function timeColumn(name: string, more: Partial<TableColumnOptions> = {}): TableColumnOptions {
  return { name, type: 'bigint', ...more };
}
