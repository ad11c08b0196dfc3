import { type QueryRunner, Table, TableColumn, type TableColumnOptions, TableIndex } from 'typeorm';
import { quotedPath } from '../database/typeorm-internals.js';

/** A table and the name of its entity. Naming strategies need both. */
export interface StoredTable {
  readonly name: string;
  readonly entity: string;
}

/**
 * Creates a table exactly as `synchronize` does, so that `synchronize` finds nothing to change.
 * @param indices the columns of each index
 */
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

/** Adds columns exactly as `synchronize` does. */
export async function addColumns(
  runner: QueryRunner,
  table: StoredTable,
  columns: TableColumnOptions[],
): Promise<void> {
  const added = columns.map((column) => new TableColumn({ ...column, name: columnNameOf(runner, column.name) }));
  await runner.addColumns(pathOf(runner, table), added);
}

/** Adds columns as `addColumns` does, except for those that a run which was interrupted has added already. */
export async function addMissingColumns(
  runner: QueryRunner,
  table: StoredTable,
  columns: TableColumnOptions[],
): Promise<void> {
  const path = pathOf(runner, table);
  const missing: TableColumnOptions[] = [];
  for (const column of columns)
    if (!(await runner.hasColumn(path, columnNameOf(runner, column.name)))) missing.push(column);
  if (missing.length > 0) await addColumns(runner, table, missing);
}

/** Drops columns, given their names in the entity. */
export async function dropColumns(runner: QueryRunner, table: StoredTable, columns: string[]): Promise<void> {
  await runner.dropColumns(
    pathOf(runner, table),
    columns.map((name) => columnNameOf(runner, name)),
  );
}

/** Returns an index with the name that `synchronize` gives it, so that `synchronize` finds nothing to change. */
export function indexOf(
  runner: QueryRunner,
  table: StoredTable,
  columns: string[],
): { name: string; columnNames: string[] } {
  const columnNames = columns.map((name) => columnNameOf(runner, name));
  return { name: runner.connection.namingStrategy.indexName(pathOf(runner, table), columnNames), columnNames };
}

/** Returns a table's path from the DataSource's naming strategy, including its `entityPrefix` and schema if they are set. */
export function pathOf({ connection }: QueryRunner, { name, entity }: StoredTable): string {
  const { driver, namingStrategy, options } = connection;
  const table = namingStrategy.tableName(entity, name);
  const prefixed = options.entityPrefix ? namingStrategy.prefixTableName(options.entityPrefix, table) : table;
  return driver.buildTableName(prefixed, driver.schema);
}

/**
 * Returns a column's name from the DataSource's naming strategy. Like the entities, it passes a custom name to the strategy only
 * if the name differs from the property's.
 */
function columnNameOf({ connection }: QueryRunner, name: string): string {
  const property = name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return connection.namingStrategy.columnName(property, property === name ? undefined : name, []);
}

/** Quotes a table's path for a statement. */
export function escapedPath({ connection }: QueryRunner, path: string): string {
  return quotedPath(connection, path);
}

/**
 * Returns a collation that compares bytes, including trailing spaces. By default, MySQL and MariaDB treat "bob" and "Bob" as
 * equal. The two have different names for this collation.
 */
export async function binaryCollation(runner: QueryRunner): Promise<Partial<TableColumnOptions>> {
  const { type } = runner.connection.options;
  if (!['mysql', 'mariadb'].includes(type)) return {};
  const [{ version }] = (await runner.query('SELECT VERSION() AS version')) as [{ version: string }];
  return { charset: 'utf8mb4', collation: version.includes('MariaDB') ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin' };
}

/** Returns a text column with a collation. */
export function textColumn(
  collation: Partial<TableColumnOptions>,
  name: string,
  length: number,
  more: Partial<TableColumnOptions> = {},
): TableColumnOptions {
  return { name, type: 'varchar', length: String(length), ...collation, ...more };
}

/** Returns a column for an instant, in milliseconds since 1970. */
export function timeColumn(name: string, more: Partial<TableColumnOptions> = {}): TableColumnOptions {
  return { name, type: 'bigint', ...more };
}
