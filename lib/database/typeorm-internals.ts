import type { DataSource, DataSourceOptions, EntityTarget, ObjectLiteral, QueryRunner } from 'typeorm';
import { TimeoutError } from './deadline.js';
import { instant } from './instant.js';
import type { Done, PooledConnection } from './pooled-connection.js';
import type { Answer, SentStatement, StoredColumn } from './statement.js';

/*
 * Everything that reaches behind the documented API of TypeORM, and into the drivers through it. `typeorm-internals.spec.ts`
 * pins each of these for every supported version of TypeORM.
 */

// ─── Names ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The names of an entity's table and columns: a naming strategy, a prefix and a schema may change each of them. */
export interface StoredNames {
  /** Each name in the migrations, with the quoted name in this database. */
  readonly identifiers: readonly (readonly [name: string, quoted: string])[];
  /** The columns by their names in the migrations. */
  readonly columns: ReadonlyMap<string, StoredColumn>;
}

/**
 * Reads the names from the metadata of an initialized DataSource.
 * @throws EntityMetadataNotFoundError if the DataSource does not have the entity
 */
export function storedNamesOf(dataSource: DataSource, entity: new () => object): StoredNames {
  const { givenTableName, tableName, tablePath, columns: ofEntity } = dataSource.getMetadata(entity);
  const quote = (name: string) => dataSource.driver.escape(name);
  const table = tablePath.split('.').map(quote).join('.');
  const identifiers: [string, string][] = [[givenTableName ?? tableName, table]];
  const columns = new Map<string, StoredColumn>();
  for (const { givenDatabaseName, propertyName, databaseName, transformer, type } of ofEntity) {
    const name = givenDatabaseName ?? propertyName;
    identifiers.push([name, quote(databaseName)]);
    columns.set(name, { property: propertyName, name: databaseName, read: readerOf(transformer, type) });
  }
  return { identifiers, columns };
}

const asItIs = (value: unknown) => value;
const fromJson = (value: unknown): unknown => (typeof value === 'string' ? JSON.parse(value) : value);

/** To ask the driver to convert each value takes half of the time of a list. */
function readerOf(transformer: unknown, type: unknown): StoredColumn['read'] {
  if (transformer === instant) return instant.from;
  return type === 'simple-json' ? fromJson : asItIs;
}

/** The schema in which PostgreSQL's tables are, if the DataSource names one. */
export function schemaOf({ driver }: DataSource): string | undefined {
  const { schema, searchSchema } = driver as { schema?: string; searchSchema?: string };
  return schema ?? searchSchema;
}

// ─── Transactions ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Tells TypeORM of a transaction that was begun or ended past it: it refuses to lock rows or to roll back without one. */
export function setTransactionActive(runner: QueryRunner, isActive: boolean): void {
  (runner as { isTransactionActive: boolean }).isTransactionActive = isActive;
}

/** Whether anybody has a transaction open on SQLite's one connection: there, every query runner is the same one. */
export function isEmbeddedTransactionActive(dataSource: DataSource): boolean {
  return dataSource.createQueryRunner().isTransactionActive;
}

/**
 * Frees SQLite's one query runner after a rollback that failed because SQLite had rolled back by itself, as it does when the
 * disk is full: TypeORM takes the transaction for active until a ROLLBACK succeeds.
 */
export async function resetEmbeddedTransaction(runner: QueryRunner): Promise<void> {
  await runner.query('BEGIN').then(
    () => runner.rollbackTransaction(),
    () => undefined,
  );
}

// ─── Connections ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** How to get a connection to the primary from TypeORM's pool; undefined for a driver without a pool. */
export function poolOf(dataSource: DataSource): (() => Promise<PooledConnection>) | undefined {
  const { type } = dataSource.options;
  const driver: unknown = dataSource.driver;
  if (type === 'postgres') {
    const pool = driver as { obtainMasterConnection(): Promise<[PostgresClient, PostgresRelease]> };
    return async () => new PostgresConnection(dataSource, ...(await pool.obtainMasterConnection()));
  }
  if (type === 'mysql' || type === 'mariadb') {
    const pool = driver as { obtainMasterConnection(): Promise<MysqlClient> };
    return async () => new MysqlConnection(dataSource, await pool.obtainMasterConnection());
  }
  return undefined;
}

/**
 * Closes the socket of a connection that `runner.connect()` gave, without waiting: an orderly goodbye would wait again for a
 * server that does not answer.
 */
export function destroyConnection(connection: unknown): void {
  const client = connection as { destroy?: () => void; end(): Promise<void> };
  // pg's client has no `destroy`, and its `end` closes the socket at once while a statement is running.
  if (client.destroy) client.destroy();
  else void client.end().catch(() => undefined);
}

/** The options for another DataSource with one connection to the primary of the same server. */
export function singleConnectionOptions(
  { options }: DataSource,
  entities: readonly EntityTarget<object>[],
  timeout: number,
): DataSourceOptions {
  const { replication } = options as { replication?: { master: object } };
  const one =
    options.type === 'postgres'
      ? { max: 1, min: 0, connectionTimeoutMillis: timeout }
      : { connectionLimit: 1, connectTimeout: timeout };
  return {
    ...options,
    ...replication?.master,
    replication: undefined,
    name: undefined,
    entities: [...entities],
    migrations: [],
    subscribers: [],
    synchronize: false,
    migrationsRun: false,
    dropSchema: false,
    cache: false,
    poolSize: 1,
    extra: { ...(options.extra as object), ...one },
  } as object as DataSourceOptions;
}

// ─── PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What we use of a client of pg. */
interface PostgresClient {
  query(query: object, values: undefined, done: (fault: Error | null, answer: PostgresAnswer) => void): void;
  on(event: 'error', listener: () => void): void;
  removeListener(event: 'error', listener: () => void): void;
  end(): Promise<void>;
}

interface PostgresAnswer {
  readonly rows: Answer['rows'];
  readonly rowCount: number;
}

type PostgresRelease = (fault?: Error) => void;

/** The loss of a connection fails its statement; without a listener it would end the process too. */
const ignoreLoss = () => undefined;

class PostgresConnection implements PooledConnection {
  constructor(
    private readonly dataSource: DataSource,
    private readonly client: PostgresClient,
    private readonly releaseToPool: PostgresRelease,
  ) {
    client.on('error', ignoreLoss);
  }

  query(statement: SentStatement, values: unknown[], isNamed: boolean, done: Done): void {
    queryPostgres(this.dataSource, this.client, statement, values, isNamed, done);
  }

  release(): void {
    this.client.removeListener('error', ignoreLoss);
    this.releaseToPool();
  }

  destroy(): void {
    destroyConnection(this.client);
    this.releaseToPool(new TimeoutError());
  }
}

/**
 * Sends a statement on the connection of a query runner to PostgreSQL, past `runner.query`, which knows no named statements.
 * @param isNamed whether the server prepares it under its name, or receives the text alone: without values that may be several
 * statements
 */
export async function queryPostgresOn(
  dataSource: DataSource,
  runner: QueryRunner,
  statement: SentStatement,
  values: unknown[],
  isNamed: boolean,
): Promise<Answer> {
  const client = (await runner.connect()) as PostgresClient;
  return new Promise((resolve, reject) => {
    queryPostgres(dataSource, client, statement, values, isNamed, (fault, answer) =>
      fault ? reject(fault) : resolve(answer as Answer),
    );
  });
}

function queryPostgres(
  { logger }: DataSource,
  client: PostgresClient,
  { name, text }: SentStatement,
  values: unknown[],
  isNamed: boolean,
  done: Done,
): void {
  logger.logQuery(text, values);
  const query = { text, values, rowMode: 'array', ...(isNamed && { name }) };
  client.query(query, undefined, (fault, answer) => {
    if (!fault) return done(null, { rows: answer.rows, affected: answer.rowCount });
    logger.logQueryError(fault, text, values);
    done(fault);
  });
}

// ─── MySQL and MariaDB ──────────────────────────────────────────────────────────────────────────────────────────────────

/** What we use of a connection of the drivers mysql2 and mysql. */
interface MysqlClient {
  query(query: object, values: unknown[], done: (fault: Error | null, answer: MysqlAnswer) => void): void;
  release(): void;
  destroy(): void;
}

type MysqlAnswer = readonly unknown[][] | readonly ObjectLiteral[] | { readonly affectedRows: number };

class MysqlConnection implements PooledConnection {
  constructor(
    private readonly dataSource: DataSource,
    private readonly client: MysqlClient,
  ) {}

  query({ text, columns }: SentStatement, values: unknown[], _isNamed: boolean, done: Done): void {
    const { logger } = this.dataSource;
    logger.logQuery(text, values);
    this.client.query({ sql: text, rowsAsArray: true }, values, (fault, answer) => {
      if (!fault) return done(null, answerOfMysql(answer, columns));
      logger.logQueryError(fault, text, values);
      done(fault);
    });
  }

  release(): void {
    this.client.release();
  }

  destroy(): void {
    this.client.destroy();
  }
}

function answerOfMysql(answer: MysqlAnswer, columns: readonly StoredColumn[]): Answer {
  if ('affectedRows' in answer) return { rows: [], affected: answer.affectedRows };
  // The driver mysql ignores `rowsAsArray`.
  const rows = Array.isArray(answer[0]) ? (answer as unknown[][]) : inOrder(answer as ObjectLiteral[], columns);
  return { rows, affected: 0 };
}

// ─── Any connection ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Sends a statement with a query runner, on any database. */
export async function queryOn(runner: QueryRunner, { text, columns }: SentStatement, values: unknown[]): Promise<Answer> {
  const { records = [], affected = 0 } = (await runner.query(text, values, true)) as {
    records?: ObjectLiteral[];
    affected?: number;
  };
  return { rows: inOrder(records, columns), affected };
}

function inOrder(rows: readonly ObjectLiteral[], columns: readonly StoredColumn[]): unknown[][] {
  return rows.map((row) => columns.map(({ name }): unknown => row[name]));
}
