import type { DataSource, QueryRunner } from 'typeorm';
import type { SentStatement } from './statement-log.js';

/** How a statement comes to the rows of one table. */
export interface Access {
  /** As the database says it, without values, and with an index called by its columns. */
  readonly text: string;
  /** By an index, or by reading the table from one end to the other. */
  readonly byIndex: boolean;
  /** How many rows, or entries of an index, it looked at; unknown on SQLite. */
  readonly rows?: number;
}

/** Whether a statement has a plan: it finds the rows of one of our tables. */
export function isPlanned({ query }: SentStatement): boolean {
  return /^(SELECT|UPDATE|DELETE)\b/.test(query) && /user_session|session_blacklist/.test(query);
}

/**
 * How the database carries a statement out. PostgreSQL and MariaDB carry it out to tell, and take it back again; it is the plan that
 * PostgreSQL makes for named statements, without looking at the values, and the one that it makes for these values.
 */
export async function accessesOf(dataSource: DataSource, statement: SentStatement): Promise<Access[]> {
  const accesses = await askedOf(dataSource, statement);
  return accesses.map((access) => ({ ...access, text: withColumns(dataSource, access.text) }));
}

/** The names of our indexes say nothing. */
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
  const values = parameters.map((value) => (value === null ? 'NULL' : `'${String(value).replaceAll("'", "''")}'`));
  await runner.query(`PREPARE explained AS ${query}`);
  const accesses: Access[] = [];
  // Of the statements on the blacklist none is named.
  const modes = query.includes('user_session') ? ['force_generic_plan', 'force_custom_plan'] : ['force_custom_plan'];
  for (const mode of modes) {
    await runner.query(`SET LOCAL plan_cache_mode = ${mode}`);
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
  // Below it stand the scans of the indexes that have found the pages.
  if (!/Scan$/.test(name) || name === 'Bitmap Heap Scan') return below;
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
    byIndex: key !== undefined && access_type !== 'ALL',
    rows: (r_rows ?? 0) * r_loops,
  }));
}

function mariadbTables(part: unknown): MariadbTable[] {
  if (part === null || typeof part !== 'object') return [];
  return Object.entries(part).flatMap(([key, value]) =>
    // One that has no way to its rows was known to have none.
    key === 'table' && (value as MariadbTable).access_type ? [value as MariadbTable] : mariadbTables(value),
  );
}

// ─── SQLite ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function sqliteAccesses(dataSource: DataSource, { query, parameters }: SentStatement): Promise<Access[]> {
  const rows = await dataSource.query<{ detail: string }[]>(`EXPLAIN QUERY PLAN ${query}`, parameters);
  const sorts = rows.some(({ detail }) => detail.includes('TEMP B-TREE'));
  return rows
    .filter(({ detail }) => /^(SEARCH|SCAN) /.test(detail))
    .map(({ detail }) => {
      // From one end of an index until there are enough.
      const isBounded = /USING (COVERING )?INDEX/.test(detail) && query.includes(' LIMIT ') && !sorts;
      const text = detail.replace(/^(\w+) \w+ /, '$1 ').replace(/ \([^)]*\)$/, '');
      return { text, byIndex: detail.startsWith('SEARCH') || isBounded };
    });
}
