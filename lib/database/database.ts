import { hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { ANSWER_MARGIN, LOCK_WAIT } from '../engine/timing.js';
import { MultiSessionConfigurationError, MultiSessionError, UnavailableError } from '../errors.js';
import { before, TimeoutError } from './deadline.js';
import { type DatabaseKind, type Dialect, DIALECTS } from './dialect.js';
import { isNameFault, isProgrammingError, isRetried, withoutValues } from './faults.js';
import { KeyedMutex } from './keyed-mutex.js';
import { type PooledConnection, sendAlone } from './pooled-connection.js';
import { type PreparedSql, type Sql, SqlPreparer } from './sql.js';
import type { Answer } from './statement.js';
import {
  destroyConnection,
  isEmbeddedTransactionActive,
  poolOf,
  queryOn,
  queryPostgresOn,
  resetEmbeddedTransaction,
  setTransactionActive,
} from './typeorm-internals.js';

/** The transaction that a statement belongs to. Undefined for a statement outside of a transaction. */
export type Transaction = EntityManager | undefined;

/** Serializes transactions. */
export interface TransactionLock {
  /** Transactions with the same name run one after the other, on all processes. */
  name: string;
  /** What to do while another process holds the lock. Default: `'wait'`. */
  ifHeld?: 'wait' | 'give-up';
}

const KINDS: Partial<Record<string, DatabaseKind>> = {
  postgres: 'postgres',
  'aurora-postgres': 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
  'aurora-mysql': 'mysql',
  'better-sqlite3': 'sqlite',
  sqlite: 'sqlite',
  sqljs: 'sqlite',
};

const MAX_ATTEMPTS = 5;
/** How long a statement waits for a transaction of the application on SQLite, in milliseconds. */
const SQLITE_WAIT = 10_000;

/** Makes a transaction give up silently, because another process holds its lock. */
class LockHeldError extends Error {}

/**
 * Hides how PostgreSQL, MySQL/MariaDB and SQLite differ in locks, transactions and faults. It turns every fault of the
 * driver into an `UnavailableError`.
 *
 * Invariant: on a database with a server, `query`, `execute`, `run` and `transaction` settle within `lockWait` plus five
 * seconds. This includes the wait for a connection, for an answer, and behind other statements that hang. Only a wait in a
 * queue that makes progress may take longer. A connection that has not answered never returns to the pool.
 */
export class Database {
  readonly dialect: Dialect;
  private readonly logger = new Logger('MultiSession');
  private readonly mutex: KeyedMutex;
  private readonly statements: SqlPreparer;
  private readonly pool?: () => Promise<PooledConnection>;
  /**
   * Whether statements have names, so that each connection to PostgreSQL parses and plans each of them only once. Behind a
   * proxy that gives each transaction another connection, the server may not know a name. It then refuses the statement, so
   * we stop using names and send it again.
   */
  private hasNames: boolean;

  /**
   * @param lockWait how long a transaction waits for its lock, in whole seconds. A process that freezes keeps its locks.
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
        `the database type "${type}" is not supported; use one of ${Object.keys(KINDS).join(', ')}`,
      ]);
    }
    this.dialect = DIALECTS[kind];
    this.mutex = mutexOf(dataSource);
    this.pool = poolOf(dataSource);
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
    const { rows } = await this.send(statement, statement.order(values), transaction);
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
   * Runs `work` in a transaction, all or nothing. Transactions with the same lock run one after the other, on all processes.
   * A transaction is retried if the database aborted it to break a deadlock.
   * @returns what `work` returns; undefined if another process holds the lock and `ifHeld` is `'give-up'`
   * @throws UnavailableError if the database fails
   * @throws whatever `work` throws
   */
  async transaction<T>(
    lock: TransactionLock | undefined,
    work: (manager: EntityManager) => Promise<T>,
  ): Promise<T | undefined> {
    // The deadline counts from here. Transactions that wait behind one that hangs then fail together with it, and not one
    // after the other. Waiting in a queue that makes progress never times out.
    const askedAt = performance.now();
    const attempt = (movedAt = askedAt) => {
      const deadline = this.newDeadline(Math.max(askedAt, movedAt));
      const once = () => this.onPrimary(deadline, (runner) => this.transactionOn(runner, lock, work));
      return this.exclusive(() => this.guarded(once));
    };
    // Wait in this mutex and not for a connection: the logins of one user must not take up the whole pool.
    return lock ? this.mutex.run(lock.name, attempt) : attempt();
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

  private async sendAlone(statement: PreparedSql, values: unknown[]): Promise<Answer> {
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
      if (error instanceof TimeoutError && connection) destroyConnection(connection);
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

  // ─── Transactions ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private async transactionOn<T>(
    runner: QueryRunner,
    lock: TransactionLock | undefined,
    work: (manager: EntityManager) => Promise<T>,
  ): Promise<T | undefined> {
    const lockName = lock && this.nameOf(lock);
    let held = false;
    try {
      // Take MySQL's lock before the transaction starts, so that the snapshot is not older than the lock.
      if (lockName && this.kind === 'mysql') held = await this.takeNamedLock(runner, lockName, lock);
      await (this.kind === 'postgres' ? this.beginOnPostgres(runner, lockName, lock) : runner.startTransaction());
      const result = await work(runner.manager);
      await (this.kind === 'postgres' ? this.commitOnPostgres(runner) : runner.commitTransaction());
      return result;
    } catch (error) {
      if (runner.isTransactionActive) await this.rollBack(runner);
      if (error instanceof LockHeldError) return undefined;
      throw error;
    } finally {
      if (held) await runner.query('SELECT RELEASE_LOCK(?)', [lockName]).catch(() => undefined);
    }
  }

  /**
   * Rolls back, and ignores a failure. On a lost connection the database rolls back by itself, and the earlier error says
   * more.
   */
  private async rollBack(runner: QueryRunner): Promise<void> {
    try {
      await runner.rollbackTransaction();
    } catch {
      if (this.kind === 'sqlite') await resetEmbeddedTransaction(runner);
    }
  }

  private async takeNamedLock(runner: QueryRunner, name: string, lock: TransactionLock | undefined): Promise<boolean> {
    const seconds = lock?.ifHeld === 'give-up' ? 0 : this.lockWait;
    const [{ taken }] = (await runner.query('SELECT GET_LOCK(?, ?) AS taken', [name, seconds])) as [{ taken: unknown }];
    if (Number(taken) === 1) return true;
    throw lock?.ifHeld === 'give-up'
      ? new LockHeldError()
      : new UnavailableError(new Error(`waited ${seconds} s for a lock`));
  }

  /**
   * Begins a transaction with READ COMMITTED. With a snapshot older than the lock, it would count sessions that have ended,
   * or miss new ones. Begin and lock take one round trip together; TypeORM's own begin would add another.
   */
  private async beginOnPostgres(runner: QueryRunner, name?: string, lock?: TransactionLock): Promise<void> {
    const begin = 'START TRANSACTION ISOLATION LEVEL READ COMMITTED';
    // Set this first: even if a statement fails, a rollback is needed.
    setTransactionActive(runner, true);
    const key = name && BigInt.asIntN(64, BigInt(`0x${name.slice(0, 16)}`)).toString();
    if (key && lock?.ifHeld !== 'give-up') {
      const wait = `SET LOCAL lock_timeout = '${this.lockWait}s'`;
      await this.sendToPostgres(runner, `${begin}; ${wait}; SELECT pg_advisory_xact_lock('${key}'::bigint)`);
      return;
    }
    await this.sendToPostgres(runner, begin);
    if (!key) return;
    const [{ taken }] = (await runner.query('SELECT pg_try_advisory_xact_lock($1) AS taken', [key])) as [
      { taken: boolean },
    ];
    if (!taken) throw new LockHeldError();
  }

  private async commitOnPostgres(runner: QueryRunner): Promise<void> {
    await this.sendToPostgres(runner, 'COMMIT');
    setTransactionActive(runner, false);
  }

  /**
   * Sends a text without values. The driver then uses PostgreSQL's simple protocol, which accepts several statements at
   * once.
   */
  private sendToPostgres(runner: QueryRunner, text: string): Promise<unknown> {
    if (!this.pool) return runner.query(text);
    return queryPostgresOn(this.dataSource, runner, { name: '', text, columns: [] }, [], false);
  }

  /**
   * Returns the name of the lock on the server. MySQL shares lock names across the whole server, and limits them to 64
   * characters.
   */
  private nameOf(lock: TransactionLock): string {
    const { database } = this.dataSource.driver;
    const prefix = this.dataSource.options.entityPrefix ?? '';
    return hash('sha256', JSON.stringify([database, prefix, lock.name])).slice(0, 60);
  }

  // ─── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Runs `once` and retries the faults that a retry may cure. Any other fault of the driver becomes a 503 and is logged
   * without values.
   */
  private async guarded<T>(once: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await once();
      } catch (error) {
        if (error instanceof MultiSessionError || isProgrammingError(error)) throw error;
        // Retry even if another statement has turned off names in the meantime.
        const isNameUnknown = isNameFault(error);
        if (isNameUnknown) this.hasNames = false;
        if (attempt === MAX_ATTEMPTS || !(isNameUnknown || isRetried(error))) throw this.unavailable(error);
        await sleep(Math.random() * 10 * 2 ** attempt);
      }
    }
  }

  private unavailable(error: unknown): UnavailableError {
    const fault = withoutValues(error);
    this.logger.error(`the database failed: ${fault.message}`);
    return new UnavailableError(fault);
  }
}

const mutexes = new WeakMap<DataSource, KeyedMutex>();

/** Everything that uses a DataSource shares one mutex: SQLite has one connection for all of it. */
function mutexOf(dataSource: DataSource): KeyedMutex {
  let mutex = mutexes.get(dataSource);
  if (!mutex) mutexes.set(dataSource, (mutex = new KeyedMutex()));
  return mutex;
}
