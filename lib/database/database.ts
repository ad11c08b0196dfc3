import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { ANSWER_MARGIN, LOCK_WAIT, MIN_SERVER_ATTEMPTS, SERVER_CHANGE } from '../engine/timing.js';
import { MultiSessionConfigurationError, MultiSessionError, ServerFaultError, UnavailableError } from '../errors.js';
import { isInsideTransaction, startOwnTransaction, watchTransactions } from './application-transaction.js';
import { before, TimeoutError } from './deadline.js';
import { type DatabaseKind, type Dialect, DIALECTS, KINDS } from './dialect.js';
import { isNameFault, isProgrammingError, isRetried, isWrongServer, withoutValues } from './faults.js';
import { KeyedMutex } from './keyed-mutex.js';
import { remedyOf } from './permanent-faults.js';
import { type PooledConnection, sendAlone } from './pooled-connection.js';
import { ServerCheck } from './server-state.js';
import { type PreparedSql, type Sql, SqlPreparer } from './sql.js';
import type { Answer, SentStatement } from './statement.js';
import { Transactions } from './transactions.js';
import {
  destroyConnection,
  isEmbeddedTransactionActive,
  poolOf,
  queryOn,
  queryPostgresOn,
  surviveLosses,
} from './typeorm-internals.js';

/** The transaction that a statement belongs to. Undefined for a statement outside of a transaction. */
export type Transaction = EntityManager | undefined;

/** Runs one read of a snapshot, with a time limit. */
export type Read = <T>(one: () => Promise<T>) => Promise<T>;

/** How often a statement is sent whose name the server does not know. */
const MAX_ATTEMPTS = 5;
/** The longest pause before a transaction is tried again that the database has aborted, in milliseconds. */
const MAX_PAUSE = 200;
/** The longest pause before a statement is sent again to another server, in milliseconds. */
const MAX_SERVER_PAUSE = 50;
/** What to use in place of the drivers of Aurora's Data API. They have no connections, and TypeORM's do not support ours. */
const AURORA: Partial<Record<string, string>> = {
  'aurora-postgres': 'connect to the writer endpoint of the Aurora cluster with the type "postgres"',
  'aurora-mysql': 'connect to the writer endpoint of the Aurora cluster with the type "mysql"',
};
/** How long a statement waits for a transaction of the application on SQLite, in milliseconds. */
const SQLITE_WAIT = 10_000;

/**
 * Hides how PostgreSQL, MySQL/MariaDB and SQLite differ in transactions, waits and faults. It turns every fault of the
 * driver into an `UnavailableError`, or a `ServerFaultError` if waiting cannot help.
 *
 * Invariant: on a database with a server, `query`, `execute`, `run` and `transaction` settle within `lockWait` plus five
 * seconds. This includes the wait for a connection, for an answer, and behind other statements that hang. Only a wait in a
 * queue that makes progress may take longer. A connection that has not answered never returns to the pool, and neither
 * does one to a server that is not the primary.
 */
export class Database {
  readonly dialect: Dialect;
  /** Tells which kind of server this is, and whether it is the primary. Polls ask it. */
  readonly server: ServerCheck;
  /** Why no statement is sent. Undefined while the server is right, as far as is known. */
  private suspended?: string;
  private readonly logger = new Logger('MultiSession');
  private readonly mutex: KeyedMutex;
  private readonly statements: SqlPreparer;
  private readonly transactions: Transactions;
  private readonly pool?: () => Promise<PooledConnection>;
  /**
   * Whether statements have names, so that each connection to PostgreSQL parses and plans each of them only once. Behind a
   * proxy that gives each transaction another connection, the server may not know a name. It then refuses the statement, so
   * we stop using names and send it again.
   */
  private hasNames: boolean;

  /**
   * @param lockWait how long a transaction waits for a row, in whole seconds. A process that freezes keeps its locks.
   * Default: 10
   * @throws MultiSessionConfigurationError if the type of the database is not supported
   */
  constructor(
    readonly dataSource: DataSource,
    private readonly lockWait = LOCK_WAIT / 1000,
  ) {
    const { type } = dataSource.options;
    const kind = KINDS[type];
    if (!kind) {
      throw new MultiSessionConfigurationError([
        `the database type "${type}" is not supported; ${AURORA[type] ?? `use one of ${Object.keys(KINDS).join(', ')}`}`,
      ]);
    }
    this.dialect = DIALECTS[kind];
    this.server = new ServerCheck(kind);
    this.mutex = mutexOf(dataSource);
    this.pool = poolOf(dataSource);
    surviveLosses(dataSource);
    this.transactions = new Transactions(dataSource, kind, lockWait);
    watchTransactions(dataSource);
    this.hasNames = type === 'postgres';
    this.statements = new SqlPreparer(dataSource, this.dialect);
  }

  get kind(): DatabaseKind {
    return this.dialect.kind;
  }

  /** An SQL expression for the database's time, in milliseconds since 1970. */
  get now(): string {
    return this.dialect.now;
  }

  /**
   * Sends a statement, either in `transaction` or on its own. A statement on its own is retried if the database aborted it
   * to break a deadlock.
   * @returns its rows
   * @throws UnavailableError if it is on its own and the database fails
   */
  async query<V extends object, R extends object>(sql: Sql<V, R>, values: V, transaction?: Transaction): Promise<R[]> {
    const statement = this.statements.prepare(sql);
    const { verified } = statement;
    if (verified && !transaction) {
      const sent = this.server.isGalera && verified.onGalera ? verified.onGalera : verified;
      const answer = await this.sendAlone(sent, statement.order(values));
      return sent.found(answer).map((row) => statement.read(row) as R);
    }
    const { rows } = await this.send(statement, statement.order(values), transaction);
    return rows.map((row) => statement.read(row) as R);
  }

  /**
   * Sends a statement on a connection that is not in a transaction. PostgreSQL ends it after `timeout`: a backend that waits for
   * a lock does not notice that its client has gone. All of it takes one round trip.
   * @param values they may become part of the text
   * @param timeout in milliseconds
   * @returns its rows
   * @throws TypeError if a value is a text with characters that no id has
   */
  async queryWithin<V extends Readonly<Record<keyof V, number | string>>, R extends object>(
    timeout: number,
    sql: Sql<V, R>,
    values: V,
    connection: EntityManager,
  ): Promise<R[]> {
    if (this.kind !== 'postgres') return this.query(sql, values, connection);
    const statement = this.statements.prepare(sql);
    const text = statement.textWith(values);
    // Several statements in one text are one transaction, with which `LOCAL` ends: a pooler may pass the connection on.
    const both = { ...statement, text: `SET LOCAL statement_timeout = ${Math.ceil(timeout)}; ${text}` };
    const { rows } = await queryPostgresOn(this.dataSource, connection.queryRunner as QueryRunner, both, [], false);
    return rows.map((row) => statement.read(row) as R);
  }

  /**
   * Sends a statement that returns no rows, as `query` does.
   * @returns the number of rows that it inserted, updated or deleted
   * @throws UnavailableError if it is on its own and the database fails
   */
  async execute<V extends object>(sql: Sql<V>, values: V, transaction?: Transaction): Promise<number> {
    const statement = this.statements.prepare(sql);
    return (await this.send(statement, statement.order(values), transaction)).affected;
  }

  /**
   * Runs statements that need no transaction. They are retried if the database aborted one of them to break a deadlock.
   * @returns what `work` returns
   * @throws UnavailableError if the database fails
   */
  async run<T>(work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const deadline = this.newDeadline();
    const once = () => this.onPrimary(deadline, (runner) => work(runner.manager));
    return this.exclusive(() => this.guarded(once));
  }

  /**
   * Runs `work` in a transaction, all or nothing. It is retried if the database aborted it to break a deadlock.
   * @param queue the name of a row that `work` writes first, for transactions that wait for each other on that row. Those of
   * this process then wait here, before they take a connection. Default: no queue
   * @returns what `work` returns
   * @throws UnavailableError if the database fails
   * @throws whatever `work` throws
   */
  async transaction<T>(queue: string | undefined, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    // The deadline counts from here. Transactions that wait behind one that hangs then fail together with it, and not one
    // after the other. Waiting in a queue that makes progress never times out.
    const askedAt = performance.now();
    const attempt = (movedAt = askedAt) => {
      const deadline = this.newDeadline(Math.max(askedAt, movedAt));
      const once = () => this.onPrimary(deadline, (runner) => this.transactions.run(runner, work, queue !== undefined));
      return this.exclusive(() => this.guarded(once));
    };
    // Wait in this mutex and not for a connection: the logins of one user must not take up the whole pool.
    return queue === undefined ? attempt() : this.mutex.run(queue, attempt);
  }

  /**
   * Runs any number of reads that all see the database as it is at the first of them. Only each read has a time limit, so
   * together they may read a table of any size.
   * @param work gets a manager for the reads, and a function that runs one of them
   * @returns what `work` returns
   * @throws UnavailableError if the database fails
   */
  async snapshot<T>(work: (manager: EntityManager, read: Read) => Promise<T>): Promise<T> {
    if (this.kind === 'sqlite') return this.transaction(undefined, (manager) => work(manager, (one) => one()));
    const runner = this.dataSource.createQueryRunner('master');
    const read: Read = (one) => before(this.newDeadline(), one);
    let connection: unknown;
    try {
      connection = await read(() => runner.connect());
      await read(() => startOwnTransaction(runner, 'REPEATABLE READ'));
      const result = await work(runner.manager, read);
      await read(() => runner.rollbackTransaction());
      return result;
    } catch (error) {
      // Closing it also ends the transaction.
      if (connection) destroyConnection(connection);
      throw error instanceof MultiSessionError ? error : this.failure(error);
    } finally {
      if (connection) await runner.release();
    }
  }

  /**
   * Refuses every statement from now on, because a poll has found that the server is not the primary. What it reads may be
   * old, and a connection that was opened earlier does not notice.
   */
  suspend(reason: string): void {
    this.suspended = reason;
  }

  /** Accepts statements again. */
  resume(): void {
    this.suspended = undefined;
  }

  /** Whether the calling code runs inside of a transaction that the application has begun on the DataSource. */
  get isInsideTransaction(): boolean {
    return isInsideTransaction(this.dataSource);
  }

  /**
   * Returns a condition that two texts are equal byte for byte, whatever the collation: "bob" equals neither "Bob" nor "bob
   * ".
   * @param parameter the name of a parameter, without its colon
   */
  sameText(column: string, parameter: string): string {
    return this.dialect.sameText(column, `:${parameter}`);
  }

  // ─── Statements ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private send(statement: PreparedSql, values: unknown[], transaction: Transaction): Promise<Answer> {
    if (!transaction) return this.sendAlone(statement, values);
    const { queryRunner } = transaction;
    if (!queryRunner) throw new TypeError('the EntityManager of a transaction must have a query runner');
    return this.hasNames
      ? queryPostgresOn(this.dataSource, queryRunner, statement, values, true)
      : queryOn(queryRunner, statement, values);
  }

  private async sendAlone(statement: SentStatement, values: unknown[]): Promise<Answer> {
    const deadline = this.newDeadline();
    const { pool } = this;
    const once = pool
      ? () => sendAlone(pool, [statement, values, this.hasNames], deadline - performance.now())
      : () => this.onPrimary(deadline, (runner) => queryOn(runner, statement, values));
    return this.exclusive(() => this.guarded(once));
  }

  // ─── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Returns a deadline on the monotonic clock. SQLite answers within the process, so it has no deadline. */
  private newDeadline(since = performance.now()): number {
    return this.kind === 'sqlite' ? Infinity : since + this.lockWait * 1000 + ANSWER_MARGIN;
  }

  /**
   * Runs `work` on the primary. By default, TypeORM would read from a replica if there is one, which may lack recent writes.
   */
  private async onPrimary<T>(deadline: number, work: (runner: QueryRunner) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner('master');
    if (this.kind === 'sqlite') return work(runner);
    let connection: unknown;
    let isOver = false;
    const connectAndWork = async () => {
      connection = await runner.connect();
      if (!isOver) return work(runner);
      // The pool provided a connection after the deadline.
      await runner.release();
      throw new TimeoutError();
    };
    try {
      return await before(deadline, connectAndWork);
    } catch (error) {
      if ((error instanceof TimeoutError || isWrongServer(error)) && connection) destroyConnection(connection);
      throw error;
    } finally {
      isOver = true;
      if (connection) await runner.release();
    }
  }

  /**
   * TypeORM has one connection to SQLite, so our statements take turns on it. They also wait while the application has a
   * transaction open. Otherwise they would become part of it, and be lost if the application rolls it back.
   */
  private exclusive<T>(work: () => Promise<T>): Promise<T> {
    if (this.kind !== 'sqlite') return work();
    return this.mutex.run('', async () => {
      const giveUpAt = performance.now() + SQLITE_WAIT;
      while (isEmbeddedTransactionActive(this.dataSource)) {
        if (performance.now() > giveUpAt)
          throw new UnavailableError(new Error(`the application kept a transaction open for ${SQLITE_WAIT} ms`));
        await sleep(1);
      }
      return work();
    });
  }

  // ─── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Runs `once` and retries the faults that a retry may cure. Any other fault of the driver is logged without values. It
   * becomes a 503 if waiting may help, and else a 500.
   */
  private async guarded<T>(once: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const giveUpAt = startedAt + this.lockWait * 1000;
    for (let attempt = 1; ; attempt++) {
      if (this.suspended !== undefined) throw new UnavailableError(new Error(this.suspended));
      try {
        return await once();
      } catch (error) {
        if (error instanceof MultiSessionError || isProgrammingError(error)) throw error;
        // Retry even if another statement has turned off names in the meantime.
        const isNameUnknown = isNameFault(error);
        if (isNameUnknown) this.hasNames = false;
        // The connection has been closed. The pool may hold more of them, and each attempt opens another one or closes one.
        const isWrong = isWrongServer(error);
        const now = performance.now();
        const mayRetry =
          (isNameUnknown && attempt < MAX_ATTEMPTS) ||
          (isWrong && (attempt < MIN_SERVER_ATTEMPTS || now < startedAt + SERVER_CHANGE)) ||
          (isRetried(error) && now < giveUpAt);
        if (!mayRetry) throw this.failure(error);
        await sleep(Math.random() * Math.min(10 * 2 ** attempt, isWrong ? MAX_SERVER_PAUSE : MAX_PAUSE));
      }
    }
  }

  private failure(error: unknown): UnavailableError | ServerFaultError {
    const fault = withoutValues(error);
    const remedy = remedyOf(error, this.kind);
    this.logger.error(
      remedy === undefined
        ? `the database failed: ${fault.message}`
        : `the database refuses a statement, and waiting does not help: ${fault.message}; ${remedy}`,
    );
    return remedy === undefined ? new UnavailableError(fault) : new ServerFaultError(fault);
  }
}

const mutexes = new WeakMap<DataSource, KeyedMutex>();

/** Everything that uses a DataSource shares one mutex: SQLite has one connection for all of it. */
function mutexOf(dataSource: DataSource): KeyedMutex {
  let mutex = mutexes.get(dataSource);
  if (!mutex) mutexes.set(dataSource, (mutex = new KeyedMutex()));
  return mutex;
}
