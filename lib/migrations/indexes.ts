import { type QueryRunner, TableIndex } from 'typeorm';
import { type DatabaseKind, KINDS } from '../database/dialect.js';
import { escapedPath, indexOf, pathOf, type StoredTable } from './table.js';

/** Indexes to create and to drop, each given by its columns. */
export interface IndexChange {
  readonly create: readonly string[][];
  readonly drop: readonly string[][];
}

/**
 * Replaces indexes of a table that may be large and in use. First creates the new ones, so that no statement lacks an index.
 * Leaves out what is done already, so that a run that was interrupted can be repeated.
 *
 * On MySQL and MariaDB it does not block writers: the server refuses the statement if it would. PostgreSQL does not block them if
 * the migration runs outside of a transaction: `migrationsTransactionMode: 'none'`, and if the table is not partitioned.
 */
export async function replaceIndexes(runner: QueryRunner, table: StoredTable, change: IndexChange): Promise<void> {
  const replace = REPLACE[KINDS[runner.connection.options.type] as DatabaseKind];
  await replace(runner, pathOf(runner, table), {
    create: change.create.map((columns) => indexOf(runner, table, columns)),
    drop: change.drop.map((columns) => indexOf(runner, table, columns)),
  });
}

type NamedIndex = ReturnType<typeof indexOf>;

interface NamedChange {
  readonly create: readonly NamedIndex[];
  readonly drop: readonly NamedIndex[];
}

type Replace = (runner: QueryRunner, path: string, change: NamedChange) => Promise<void>;

const REPLACE: Readonly<Record<DatabaseKind, Replace>> = {
  postgres: replaceOnPostgres,
  mysql: replaceOnMysql,
  sqlite: replaceOnSqlite,
};

async function replaceOnPostgres(runner: QueryRunner, path: string, { create, drop }: NamedChange): Promise<void> {
  const isOutside = !runner.isTransactionActive;
  // PostgreSQL refuses it for a partitioned table.
  const isConcurrent = isOutside && !(await isPartitioned(runner, path));
  const dropIfExists = async (index: NamedIndex) => {
    if ((await postgresState(runner, path, index)) !== undefined)
      await runner.dropIndex(path, new TableIndex({ ...index, isConcurrent }));
  };
  // A role for requests often has a short limit. To build an index of millions of rows takes longer.
  await runner.query(`SET ${isOutside ? 'SESSION' : 'LOCAL'} statement_timeout = 0`);
  try {
    for (const index of create) {
      if ((await postgresState(runner, path, index)) === 'valid') continue;
      // A build that was interrupted leaves an index that PostgreSQL maintains and does not use.
      await dropIfExists(index);
      await runner.createIndex(path, new TableIndex({ ...index, isConcurrent }));
    }
    for (const index of drop) await dropIfExists(index);
  } finally {
    if (isOutside) await runner.query('RESET statement_timeout');
  }
}

async function isPartitioned(runner: QueryRunner, path: string): Promise<boolean> {
  const sql = "SELECT 1 FROM pg_class WHERE oid = $1::regclass AND relkind = 'p'";
  return ((await runner.query(sql, [escapedPath(runner, path)])) as unknown[]).length > 0;
}

async function postgresState(
  runner: QueryRunner,
  path: string,
  { name }: NamedIndex,
): Promise<'valid' | 'invalid' | undefined> {
  const [found] = (await runner.query(
    `SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = $1::regclass AND relname = $2`,
    [escapedPath(runner, path), name],
  )) as { indisvalid: boolean }[];
  return found && (found.indisvalid ? 'valid' : 'invalid');
}

/** Does everything in one statement, which reads the table once. */
async function replaceOnMysql(runner: QueryRunner, path: string, { create, drop }: NamedChange): Promise<void> {
  const escape = (name: string) => runner.connection.driver.escape(name);
  const existing = await existingIndexes(runner, path);
  const changes = [
    ...create
      .filter(({ name }) => !existing.has(name))
      .map(({ name, columnNames }) => `ADD INDEX ${escape(name)} (${columnNames.map(escape).join(', ')})`),
    ...drop.filter(({ name }) => existing.has(name)).map(({ name }) => `DROP INDEX ${escape(name)}`),
  ];
  if (changes.length === 0) return;
  await runner.query(`ALTER TABLE ${escapedPath(runner, path)} ${changes.join(', ')}, ALGORITHM=INPLACE, LOCK=NONE`);
  // TypeORM keeps what it knows of a table.
  await runner.getTable(path);
}

async function replaceOnSqlite(runner: QueryRunner, path: string, { create, drop }: NamedChange): Promise<void> {
  const existing = await existingIndexes(runner, path);
  for (const index of create)
    if (!existing.has(index.name)) await runner.createIndex(path, new TableIndex({ ...index }));
  for (const { name } of drop) if (existing.has(name)) await runner.dropIndex(path, name);
}

async function existingIndexes(runner: QueryRunner, path: string): Promise<ReadonlySet<string | undefined>> {
  return new Set((await runner.getTable(path))?.indices.map(({ name }) => name));
}
