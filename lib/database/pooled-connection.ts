import type { DataSource, ObjectLiteral } from 'typeorm';
import { type Column, inOrder } from './columns.js';
import { TimeoutError } from './deadline.js';
import type { Answer, Statement } from './statements.js';

type Done = (fault: Error | null, answer?: Answer) => void;

/** A connection of TypeORM's pool, by what its driver calls things. */
export interface PooledConnection {
  /** @param isNamed whether the server knows the statement by its name */
  query(statement: Statement, values: unknown[], isNamed: boolean, done: Done): void;
  release(): void;
  /** At once: to be polite to a server that does not answer would be to wait for it again. It goes back to no pool. */
  destroy(): void;
}

/**
 * Carries a statement out by itself, on any connection of the pool to the primary: one promise for connection, statement and deadline. TypeORM's
 * query runner, with a promise and a listener for each step, took a third of a refresh.
 *
 * Invariant: it settles within `patience`; a connection that has not answered by then is closed, and one that the pool gives
 * later goes back as it is.
 * @param patience milliseconds
 * @throws NoAnswer, and what the driver throws
 */
export function sendAlone(
  obtain: () => Promise<PooledConnection>,
  [statement, values, isNamed]: [Statement, unknown[], boolean],
  patience: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    let connection: PooledConnection | undefined;
    const timer = setTimeout(() => {
      isOver = true;
      connection?.destroy();
      reject(new TimeoutError());
    }, patience);
    const settle = (conclude: () => void) => {
      isOver = true;
      clearTimeout(timer);
      conclude();
    };
    const use = (given: PooledConnection) => {
      if (isOver) return given.release();
      connection = given;
      given.query(statement, values, isNamed, (fault, answer) => {
        if (isOver) return;
        given.release();
        settle(() => (fault ? reject(fault) : resolve(answer as Answer)));
      });
    };
    obtain()
      .then(use)
      .catch((error: Error) => settle(() => reject(error)));
  });
}

/** How a connection to the primary is had; undefined for a driver that has no pool. */
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

// ─── PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The parts of pg's client that are needed here. */
export interface PostgresClient {
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

/** A connection that is lost while it is ours fails its statement; without a listener it would end the process too. */
const tolerate = () => undefined;

class PostgresConnection implements PooledConnection {
  constructor(
    private readonly dataSource: DataSource,
    private readonly client: PostgresClient,
    private readonly releaseToPool: PostgresRelease,
  ) {
    client.on('error', tolerate);
  }

  query(statement: Statement, values: unknown[], isNamed: boolean, done: Done): void {
    queryPostgres(this.dataSource, this.client, statement, values, isNamed, done);
  }

  release(): void {
    this.client.removeListener('error', tolerate);
    this.releaseToPool();
  }

  destroy(): void {
    this.client.end().catch(() => undefined);
    this.releaseToPool(new TimeoutError());
  }
}

/** Carries a statement out on a client of pg. */
export function queryPostgres(
  { logger }: DataSource,
  client: PostgresClient,
  { name, text }: Statement,
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

/** The parts of the drivers mysql2 and mysql that are needed here. */
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

  query({ text, columns }: Statement, values: unknown[], _isNamed: boolean, done: Done): void {
    const { logger } = this.dataSource;
    logger.logQuery(text, values);
    this.client.query({ sql: text, rowsAsArray: true }, values, (fault, answer) => {
      if (!fault) return done(null, answerOf(answer, columns));
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

/** The driver mysql does not know of `rowsAsArray`. */
function answerOf(answer: MysqlAnswer, columns: readonly Column[]): Answer {
  if ('affectedRows' in answer) return { rows: [], affected: answer.affectedRows };
  const rows = Array.isArray(answer[0]) ? (answer as unknown[][]) : inOrder(columns, answer as ObjectLiteral[]);
  return { rows, affected: 0 };
}
