import type { DataSource, DataSourceOptions, ObjectLiteral, QueryRunner } from 'typeorm';
import { TimeoutError } from './deadline.js';
import { instant, wholeNumber } from './instant.js';
import type { Done, PooledConnection } from './pooled-connection.js';
import type { Answer, SentStatement, StoredColumn } from './statement.js';

/*
 * All code that relies on undocumented internals of TypeORM and, through it, of the drivers. `typeorm-internals.spec.ts`
 * tests each of these uses with every supported version of TypeORM.
 */

// ─── Names ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The names of an entity's table and columns. A naming strategy, a prefix or a schema may change each of them. */
export interface StoredNames {
  /** Each name in the migrations, with its quoted name in this database. */
  readonly identifiers: readonly (readonly [name: string, quoted: string])[];
  /** The columns by their names in the migrations. */
  readonly columns: ReadonlyMap<string, StoredColumn>;
}

/**
 * Reads the names from the metadata of an initialized DataSource.
 * @throws EntityMetadataNotFoundError if the DataSource lacks the entity
 */
export function storedNamesOf(dataSource: DataSource, entity: new () => object): StoredNames {
  const { givenTableName, tableName, tablePath, columns: ofEntity } = dataSource.getMetadata(entity);
  const quote = (name: string) => dataSource.driver.escape(name);
  const table = quotedPath(dataSource, tablePath);
  const identifiers: [string, string][] = [[givenTableName ?? tableName, table]];
  const columns = new Map<string, StoredColumn>();
  for (const { givenDatabaseName, propertyName, databaseName, transformer, type } of ofEntity) {
    const name = givenDatabaseName ?? propertyName;
    identifiers.push([name, quote(databaseName)]);
    columns.set(name, { property: propertyName, name: databaseName, read: readerOf(transformer, type) });
  }
  return { identifiers, columns };
}

/** Quotes a table's path for a statement: the schema and the name, each by itself. */
export function quotedPath({ driver }: DataSource, path: string): string {
  return path
    .split('.')
    .map((name) => driver.escape(name))
    .join('.');
}

const asItIs = (value: unknown) => value;
const fromJson = (value: unknown): unknown => (typeof value === 'string' ? JSON.parse(value) : value);

/**
 * Returns the function that converts a driver's value. Asking TypeORM's driver for each value would take half of the time of
 * a list.
 */
function readerOf(transformer: unknown, type: unknown): StoredColumn['read'] {
  if (transformer === instant) return instant.from;
  if (transformer === wholeNumber) return wholeNumber.from;
  return type === 'simple-json' ? fromJson : asItIs;
}

/** The schema of the tables on PostgreSQL, if the DataSource names one. */
export function schemaOf({ driver }: DataSource): string | undefined {
  const { schema, searchSchema } = driver as { schema?: string; searchSchema?: string };
  return schema ?? searchSchema;
}

// ─── Transactions ───────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Tells TypeORM that we have begun or ended a transaction without it. TypeORM refuses to lock rows or roll back outside of
 * one.
 */
export function setTransactionActive(runner: QueryRunner, isActive: boolean): void {
  (runner as { isTransactionActive: boolean }).isTransactionActive = isActive;
}

/**
 * Whether a transaction is open on SQLite's one connection, ours or the application's: on SQLite, all share one query
 * runner.
 */
export function isEmbeddedTransactionActive(dataSource: DataSource): boolean {
  return dataSource.createQueryRunner().isTransactionActive;
}

/**
 * Frees SQLite's one query runner after a failed rollback. The rollback fails if SQLite has already rolled back by itself,
 * for example because the disk is full. TypeORM considers the transaction active until a ROLLBACK succeeds.
 */
export async function resetEmbeddedTransaction(runner: QueryRunner): Promise<void> {
  await runner.query('BEGIN').then(
    () => runner.rollbackTransaction(),
    () => undefined,
  );
}

// ─── Connections ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Returns a function that takes a connection to the primary from TypeORM's pool. Undefined for a driver without a pool. */
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
 * Closes the socket of a connection from `runner.connect()` at once. An orderly shutdown would again wait for a server that
 * does not answer.
 */
export function destroyConnection(connection: unknown): void {
  const client = connection as { destroy?: () => void; end(): Promise<void> };
  // pg's client has no `destroy`, but its `end` closes the socket at once while a statement is running.
  if (client.destroy) client.destroy();
  else void client.end().catch(() => undefined);
}

/** Returns the options for another DataSource, with one connection to the primary of the same server. */
export function singleConnectionOptions({ options }: DataSource, timeout: number): DataSourceOptions {
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
    entities: [],
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

/** The parts of pg's client that we use. */
interface PostgresClient {
  query(
    query: object,
    values: undefined,
    done: (fault: Error | null, answer: PostgresAnswer | PostgresAnswer[]) => void,
  ): void;
  on(event: 'error', listener: () => void): void;
  end(): Promise<void>;
}

interface PostgresAnswer {
  readonly rows: Answer['rows'];
  readonly rowCount: number;
}

type PostgresRelease = (fault?: Error) => void;

/** If a connection is lost, its statement fails. Without a listener, the loss would also end the process. */
const ignoreLoss = () => undefined;

/** The part of pg's pool that we use. */
interface PostgresPool {
  on?(event: 'acquire', listener: (client: PostgresClient) => void): void;
}

/** The pools and clients that have our listener. */
const heard = new WeakSet<PostgresPool | PostgresClient>();

/**
 * Lets no loss of a connection end the process, whoever has taken it from the pool. pg's pool stops listening when it hands out a
 * client, and TypeORM begins a moment later. A server that stops may report the loss in between: in the same packet as the
 * answer after which the pool hands out the client.
 */
export function surviveLosses({ driver, options }: DataSource): void {
  const { master } = driver as { master?: PostgresPool };
  if (options.type !== 'postgres' || !master || heard.has(master)) return;
  heard.add(master);
  master.on?.('acquire', ignoreLossOf);
}

function ignoreLossOf(client: PostgresClient): void {
  if (heard.has(client)) return;
  heard.add(client);
  client.on('error', ignoreLoss);
}

class PostgresConnection implements PooledConnection {
  constructor(
    private readonly dataSource: DataSource,
    private readonly client: PostgresClient,
    private readonly releaseToPool: PostgresRelease,
  ) {
    ignoreLossOf(client);
  }

  query(statement: SentStatement, values: unknown[], isNamed: boolean, done: Done): void {
    queryPostgres(this.dataSource, this.client, statement, values, isNamed, done);
  }

  release(): void {
    this.releaseToPool();
  }

  destroy(): void {
    destroyConnection(this.client);
    this.releaseToPool(new TimeoutError());
  }
}

/**
 * Sends a statement on a query runner's connection to PostgreSQL. It bypasses `runner.query`, which does not support named
 * statements.
 * @param isNamed whether the server prepares the statement under its name. Otherwise it receives only the text, which may
 * hold several statements if there are no values. The answer is that of the last one
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
    if (!fault) {
      const { rows, rowCount } = [answer].flat().at(-1) as PostgresAnswer;
      return done(null, { rows, affected: rowCount });
    }
    logger.logQueryError(fault, text, values);
    done(fault);
  });
}

// ─── MySQL and MariaDB ──────────────────────────────────────────────────────────────────────────────────────────────────

/** The parts that we use of a connection of the drivers `mysql2` and `mysql`. */
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
  // The driver `mysql` ignores `rowsAsArray`.
  const rows = Array.isArray(answer[0]) ? (answer as unknown[][]) : inOrder(answer as ObjectLiteral[], columns);
  return { rows, affected: 0 };
}

// ─── Any connection ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Sends a statement with a query runner, on any database. */
export async function queryOn(
  runner: QueryRunner,
  { text, columns }: SentStatement,
  values: unknown[],
): Promise<Answer> {
  const { records = [], affected = 0 } = (await runner.query(text, values, true)) as {
    records?: ObjectLiteral[];
    affected?: number;
  };
  return { rows: inOrder(records, columns), affected };
}

function inOrder(rows: readonly ObjectLiteral[], columns: readonly StoredColumn[]): unknown[][] {
  return rows.map((row) => columns.map(({ name }): unknown => row[name]));
}
