import type { MigrationInterface, QueryRunner } from 'typeorm';

/*
 * Optional migrations of the tables of nestjs-multisession. Copy this file to your migrations: see docs/partitions.md. The
 * DataSource needs the entities of the library, from which the names of the tables and columns come.
 */

/** The class of a migration. */
export type MigrationClass = new () => MigrationInterface;
type EntityName = 'SessionEntity' | 'BlacklistEntity';

const DAY = 86_400_000;
/** How many partitions of `session_blacklist` are created ahead of the time. The cleanup keeps as many. */
const AHEAD = 7;

/**
 * Returns a migration that splits the table `user_session` into hash partitions by the id of the session. Its `down` makes it one
 * table again. Both block the table for as long as they copy its rows. For PostgreSQL, MySQL and MariaDB.
 * @param options.partitions how many partitions, from 2 to 1,024. Default: 16
 * @throws RangeError if the number is not in this range
 */
export function partitionSessions({ partitions = 16 }: { partitions?: number } = {}): MigrationClass {
  checkRange('partitions', partitions, 2, 1024);
  const numbers = Array.from({ length: partitions }, (_, at) => at);
  return class implements MigrationInterface {
    readonly name = 'PartitionSessions1806500000000';

    async up(runner: QueryRunner): Promise<void> {
      const [id] = columnsOf(runner, 'SessionEntity', 'id');
      await convert(runner, 'SessionEntity', {
        primaryKey: [id],
        by: `PARTITION BY HASH (${id})`,
        parts: numbers.map((at) => [`p${at}`, `FOR VALUES WITH (MODULUS ${partitions}, REMAINDER ${at})`]),
        onMysql: `PARTITION BY KEY (${id}) PARTITIONS ${partitions}`,
      });
    }

    async down(runner: QueryRunner): Promise<void> {
      await convert(runner, 'SessionEntity', {
        primaryKey: columnsOf(runner, 'SessionEntity', 'id'),
        onMysql: 'REMOVE PARTITIONING',
      });
    }
  };
}

/**
 * Returns a migration that splits the table `session_blacklist` into range partitions by the expiry of its entries, so that the
 * cleanup drops expired partitions instead of deleting their rows. The cleanup also creates the next ones. The primary key becomes
 * `(id, expires_at)`. Its `down` makes it one table again. Both block the table for as long as they copy its rows. For PostgreSQL,
 * MySQL and MariaDB.
 * @param options.days how many days one partition spans, from 1 to 366. There are always seven partitions ahead, so choose at least
 * a seventh of the longest life of an entry. Default: 1
 * @throws RangeError if the number is not in this range
 */
export function partitionBlacklist({ days = 1 }: { days?: number } = {}): MigrationClass {
  checkRange('days', days, 1, 366);
  return class implements MigrationInterface {
    readonly name = 'PartitionBlacklist1806500000001';

    async up(runner: QueryRunner): Promise<void> {
      const [id, expiresAt] = columnsOf(runner, 'BlacklistEntity', 'id', 'expiresAt');
      const start = Math.ceil(Date.now() / DAY) * DAY;
      const bounds = Array.from({ length: AHEAD + 1 }, (_, at) => start + at * days * DAY);
      await convert(runner, 'BlacklistEntity', {
        primaryKey: [id, expiresAt],
        by: `PARTITION BY RANGE (${expiresAt})`,
        parts: [
          ...bounds.map((until, at): Part => {
            const from = at === 0 ? 'MINVALUE' : bounds[at - 1];
            return [`p${until}`, `FOR VALUES FROM (${from}) TO (${until})`];
          }),
          ['rest', 'DEFAULT'],
        ],
        onMysql: `PARTITION BY RANGE (${expiresAt}) (
          ${bounds.map((until) => `PARTITION p${until} VALUES LESS THAN (${until})`).join(', ')},
          PARTITION rest VALUES LESS THAN MAXVALUE)`,
      });
    }

    async down(runner: QueryRunner): Promise<void> {
      const [id, expiresAt] = columnsOf(runner, 'BlacklistEntity', 'id', 'expiresAt');
      const table = escapedPath(runner, pathOf(runner, 'BlacklistEntity'));
      // Two entries of a session differ in their expiry. Keep the later one.
      const isEarlier = `a.${id} = b.${id} AND a.${expiresAt} < b.${expiresAt}`;
      await convert(runner, 'BlacklistEntity', {
        primaryKey: [id],
        before: isPostgres(runner)
          ? `DELETE FROM ${table} a USING ${table} b WHERE ${isEarlier}`
          : `DELETE a FROM ${table} a JOIN ${table} b ON ${isEarlier}`,
        onMysql: 'REMOVE PARTITIONING',
      });
    }
  };
}

/** The name of a partition without that of the table, and its values, as PostgreSQL writes them. */
type Part = readonly [name: string, values: string];

interface Conversion {
  /** Escaped names of columns. */
  readonly primaryKey: readonly string[];
  /** A statement that is sent before the conversion. */
  readonly before?: string;
  /** How PostgreSQL partitions the table. Default: not at all. */
  readonly by?: string;
  readonly parts?: readonly Part[];
  /** The end of the `ALTER TABLE` of MySQL and MariaDB. */
  readonly onMysql: string;
}

async function convert(runner: QueryRunner, entity: EntityName, conversion: Conversion): Promise<void> {
  const path = pathOf(runner, entity);
  const { type } = runner.connection.options;
  if (!['postgres', 'mysql', 'mariadb'].includes(type))
    throw new Error(`${type} has no partitions for ${path}; leave this migration out of the DataSource`);
  if (!isPostgres(runner)) await convertOnMysql(runner, escapedPath(runner, path), conversion);
  else if (runner.isTransactionActive) await convertOnPostgres(runner, path, conversion);
  else {
    await runner.startTransaction();
    try {
      await convertOnPostgres(runner, path, conversion);
      await runner.commitTransaction();
    } catch (error) {
      await runner.rollbackTransaction();
      throw error;
    }
  }
  // TypeORM keeps what it knows of a table.
  await runner.getTable(path);
}

/** Changes everything in one statement, which the server does completely or not at all. */
async function convertOnMysql(
  runner: QueryRunner,
  table: string,
  { primaryKey, before, onMysql }: Conversion,
): Promise<void> {
  if (before) await runner.query(before);
  await runner.query(`ALTER TABLE ${table} DROP PRIMARY KEY, ADD PRIMARY KEY (${primaryKey.join(', ')}) ${onMysql}`);
}

/**
 * Replaces the table by a copy. PostgreSQL cannot partition a table that exists. The copy has the indexes, foreign keys,
 * triggers, owner and rights of the table. The lock also keeps readers away: a transaction that has read the table and then
 * writes to it would be in a deadlock with the replacement.
 */
async function convertOnPostgres(
  runner: QueryRunner,
  path: string,
  { primaryKey, before, by = '', parts = [] }: Conversion,
): Promise<void> {
  const table = escapedPath(runner, path);
  const copyPath = `${path}_copy`;
  const copy = escapedPath(runner, copyPath);
  const read = (text: string) =>
    runner.query(`${text} = $1::regclass`, [table]) as Promise<{ name: string; definition: string }[]>;
  // A role for requests often has a short limit.
  await runner.query(`SET LOCAL statement_timeout = 0; LOCK TABLE ${table}`);
  if (before) await runner.query(before);
  const [{ definition: owner }] = await read(
    'SELECT quote_ident(pg_get_userbyid(relowner)) AS definition FROM pg_class WHERE oid',
  );
  const [key] = await read("SELECT quote_ident(conname) AS name FROM pg_constraint WHERE contype = 'p' AND conrelid");
  const indexes = await read(
    "SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') AS definition FROM pg_index WHERE NOT indisprimary AND indrelid",
  );
  const foreignKeys = await read(`
    SELECT concat('ALTER TABLE ', conrelid::regclass, ' ADD CONSTRAINT ', quote_ident(conname), ' ', pg_get_constraintdef(oid)) AS definition
    FROM pg_constraint WHERE contype = 'f' AND conrelid`);
  const triggers = await read(
    'SELECT pg_get_triggerdef(oid) AS definition FROM pg_trigger WHERE NOT tgisinternal AND tgrelid',
  );
  const rights = await read(`
    SELECT concat('GRANT ', privilege_type, ' ON ', oid::regclass, ' TO ',
      CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
      CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END) AS definition
    FROM pg_class, aclexplode(relacl) WHERE oid`);
  const children = parts.map(([name, values]) => [escapedPath(runner, `${path}_${name}`), values]);
  for (const statement of [
    `CREATE TABLE ${copy} (LIKE ${table} INCLUDING ALL EXCLUDING INDEXES) ${by}`,
    ...children.map(([name, values]) => `CREATE TABLE ${name} PARTITION OF ${copy} ${values}`),
    ...[copy, ...children.map(([name]) => name)].map((name) => `ALTER TABLE ${name} OWNER TO ${owner}`),
    `INSERT INTO ${copy} SELECT * FROM ${table}`,
    `DROP TABLE ${table}`,
    `ALTER TABLE ${copy} RENAME TO ${escapedPath(runner, path.split('.').at(-1) as string)}`,
    `ALTER TABLE ${table} ADD CONSTRAINT ${key.name} PRIMARY KEY (${primaryKey.join(', ')})`,
    ...[...indexes, ...foreignKeys, ...triggers, ...rights].map(({ definition }) => definition),
    `ANALYZE ${table}`,
  ])
    await runner.query(statement);
}

function isPostgres({ connection }: QueryRunner): boolean {
  return connection.options.type === 'postgres';
}

/** The path of a table, with its prefix and schema. */
function pathOf({ connection }: QueryRunner, entity: EntityName): string {
  return connection.getMetadata(entity).tablePath;
}

function escapedPath({ connection }: QueryRunner, path: string): string {
  return path
    .split('.')
    .map((name) => connection.driver.escape(name))
    .join('.');
}

/** The escaped names of the columns of these properties. */
function columnsOf({ connection }: QueryRunner, entity: EntityName, ...properties: string[]): string[] {
  return connection
    .getMetadata(entity)
    .columns.filter(({ propertyName }) => properties.includes(propertyName))
    .map(({ databaseName }) => connection.driver.escape(databaseName));
}

function checkRange(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}; got ${value}`);
}
