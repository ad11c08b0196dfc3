import type { DataSource, QueryRunner } from 'typeorm';
import type { SentStatement } from './statement-log.js';

/** How a statement accesses the rows of one table. */
export interface Access {
  /** The database's description, without values. It names an index by its columns. */
  readonly text: string;
  /** Whether the database uses an index, rather than a scan of the whole table. */
  readonly byIndex: boolean;
  /** How many rows or index entries the database examined. Unknown on SQLite. */
  readonly rows?: number;
}

/** Whether a statement has a plan to check, because it reads or changes rows of our tables. The catalogue only names them. */
export function isPlanned({ query }: SentStatement): boolean {
  const isOfTheCatalogue = /information_schema|pg_inherits/.test(query);
  return (
    /^\s*(SELECT|UPDATE|DELETE|WITH)\b/.test(query) && /user_session|session_blacklist/.test(query) && !isOfTheCatalogue
  );
}

/**
 * Asks the database how it executes a statement. PostgreSQL and MariaDB execute the statement, which is then rolled back.
 * On PostgreSQL a named statement has two plans: a generic one, and one for its values. Both are returned.
 */
export async function accessesOf(dataSource: DataSource, statement: SentStatement): Promise<Access[]> {
  const accesses = await askedOf(dataSource, statement);
  return accesses.map((access) => ({ ...access, text: withColumns(dataSource, access.text) }));
}

/** Replaces the generated names of indexes by their columns. */
function withColumns(dataSource: DataSource, text: string): string {
  const indices = dataSource.entityMetadatas.flatMap((metadata) => metadata.indices);
  return text.replace(/PK_\w+|sqlite_autoindex_\w+|\bPRIMARY\b/, 'the primary key').replace(/IDX_\w+/, (name) => {
    const columns = indices.find((index) => index.name === name)?.columns.map((column) => column.databaseName);
    return columns ? `(${columns.join(', ')})` : name;
  });
}

async function askedOf(dataSource: DataSource, statement: SentStatement): Promise<Access[]> {
  const { type } = dataSource.options;
  if (type !== 'postgres' && type !== 'mariadb') return sqliteAccesses(dataSource, statement);
  const runner = dataSource.createQueryRunner();
  await runner.startTransaction();
  try {
    return await (type === 'postgres' ? postgresAccesses(runner, statement) : mariadbAccesses(runner, statement));
  } finally {
    await runner.rollbackTransaction();
    await runner.release();
  }
}

// ─── PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface PostgresNode {
  'Node Type': string;
  'Index Name'?: string;
  'Relation Name'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  Plans?: PostgresNode[];
}

async function postgresAccesses(runner: QueryRunner, { query, parameters }: SentStatement): Promise<Access[]> {
  const values = parameters.map((value) =>
    value === null ? 'NULL' : `'${String(value as string | number).replaceAll("'", "''")}'`,
  );
  await runner.query(`PREPARE explained AS ${query}`);
  const accesses: Access[] = [];
  // Statements on the blacklist are not named, so they have no generic plan.
  const modes = query.includes('user_session') ? ['force_generic_plan', 'force_custom_plan'] : ['force_custom_plan'];
  for (const mode of modes) {
    await runner.query(`SET LOCAL plan_cache_mode = ${mode}`);
    // The statement has inserted its row already.
    if (query.includes('INSERT INTO')) await runner.query('DELETE FROM user_session WHERE id = ANY ($1)', [parameters]);
    const call = values.length > 0 ? `explained (${values.join()})` : 'explained';
    const [row] = (await runner.query(`EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE ${call}`)) as [
      { 'QUERY PLAN': [{ Plan: PostgresNode }] },
    ];
    accesses.push(...postgresScans(row['QUERY PLAN'][0].Plan));
  }
  await runner.query('DEALLOCATE explained');
  return accesses;
}

function postgresScans(node: PostgresNode): Access[] {
  const below = (node.Plans ?? []).flatMap(postgresScans);
  const name = node['Node Type'];
  // The index scans that find the pages of a bitmap heap scan are its children.
  // A scan of a part of the statement reads no table.
  if (!/Scan$/.test(name) || /^(Bitmap Heap|CTE|Subquery|Function|Values) Scan$/.test(name)) return below;
  const looked = (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'];
  const byIndex = node['Index Name'] !== undefined;
  const text = byIndex ? `${name} using ${node['Index Name']}` : `${name} on ${node['Relation Name']}`;
  return [{ text, byIndex, rows: looked }, ...below];
}

// ─── MariaDB ────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface MariadbTable {
  table_name: string;
  access_type?: string;
  key?: string;
  r_loops?: number;
  r_rows?: number | null;
}

async function mariadbAccesses(runner: QueryRunner, { query, parameters }: SentStatement): Promise<Access[]> {
  const [row] = (await runner.query(`ANALYZE FORMAT=JSON ${query}`, parameters)) as [{ ANALYZE: string }];
  return mariadbTables(JSON.parse(row.ANALYZE)).map(({ table_name, access_type, key, r_loops = 0, r_rows }) => ({
    text: `${access_type} on ${key ?? table_name}`,
    // `system` is a table of one row, such as the settings of the server.
    byIndex: access_type === 'system' || (key !== undefined && access_type !== 'ALL'),
    rows: (r_rows ?? 0) * r_loops,
  }));
}

function mariadbTables(part: unknown): MariadbTable[] {
  if (part === null || typeof part !== 'object') return [];
  return Object.entries(part).flatMap(([key, value]) => {
    const { access_type, table_name } = (value ?? {}) as MariadbTable;
    // A table without an access type was optimized away, because no row can match. A derived table is a part of the statement.
    const isTable = key === 'table' && access_type && !table_name.startsWith('<derived');
    return isTable ? [value as MariadbTable] : mariadbTables(value);
  });
}

// ─── SQLite ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function sqliteAccesses(dataSource: DataSource, { query, parameters }: SentStatement): Promise<Access[]> {
  const rows = await dataSource.query<{ detail: string }[]>(`EXPLAIN QUERY PLAN ${query}`, parameters);
  const sorts = rows.some(({ detail }) => detail.includes('TEMP B-TREE'));
  // What is selected from is either a table or a part of the statement.
  const parts = rows.map(({ detail }) => /^(?:CO-ROUTINE|MATERIALIZE) (\w+)$/.exec(detail)?.[1]);
  return rows
    .filter(({ detail }) => /^(SEARCH|SCAN) (?!CONSTANT ROW)/.test(detail) && !parts.includes(detail.split(' ')[1]))
    .map(({ detail }) => {
      // Such a statement reads an index from one end, up to its limit.
      const isBounded = /USING (COVERING )?INDEX/.test(detail) && query.includes(' LIMIT ') && !sorts;
      const text = detail.replace(/^(\w+) \w+ /, '$1 ').replace(/ \([^)]*\)$/, '');
      return { text, byIndex: detail.startsWith('SEARCH') || isBounded };
    });
}
