import { hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { DataSource, EntityManager, ObjectLiteral, QueryRunner } from 'typeorm';
import { MultiSessionConfigurationError, MultiSessionError, UnavailableError } from '../errors.js';
import { inOrder } from './columns.js';
import { before, TimeoutError } from './deadline.js';
import { KeyedMutex } from './keyed-mutex.js';
import { poolOf, type PooledConnection, type PostgresClient, queryPostgres, sendAlone } from './pooled-connection.js';
import { type Answer, type Statement, Statements } from './statements.js';

/** The kinds of database that differ for us. MariaDB is of the kind `mysql`. */
export type DatabaseKind = 'postgres' | 'mysql' | 'sqlite';

/** What a transaction is serialised by. */
export interface TransactionLock {
  /** Transactions with the same name run one after the other, on all processes. */
  name: string;
  /** What to do while another process holds it. Default: wait. */
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

/** Milliseconds since 1970 by the database's own clock, at the statement and not at the transaction's begin. */
const NOW: Record<DatabaseKind, string> = {
  postgres: 'CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)',
  // In UTC: a local time would be an hour off while a clock is set back for winter.
  mysql: "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000",
  sqlite: "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
};

/** Deadlocks and serialisation failures: nothing was done, so the whole transaction can be tried again. */
const TRY_AGAIN = new Set([
  '40001',
  '40P01',
  'ER_LOCK_DEADLOCK',
  'ER_CHECKREAD',
  'SQLITE_BUSY',
  'SQLITE_BUSY_SNAPSHOT',
]);
/** The connection does not know a statement's name, knows it already, or the table has changed since. */
const NAME_FAULTS = new Set(['26000', '42P05', '0A000']);
const TRIES = 5;
const SQLITE_WAIT = 10_000;
/** How much longer than for a lock we wait for a server that says nothing, in milliseconds. */
const BEYOND_THE_LOCK = 5000;

/** What a transaction throws to give up in silence: the lock is held by another process. */
class LockHeld extends Error {}

/**
 * What differs between PostgreSQL, MySQL/MariaDB and SQLite, in one place: the time, locks that hold across processes,
 * rows out of an update, and which faults are worth another try. Any fault of the driver leaves here as `UnavailableError`.
 *
 * Invariant: on a database with a server, statements, `run` and `transaction` settle within `lockWait` plus five seconds, however long they
 * waited for a connection or an answer, or behind others that got none; a connection that has not answered goes back to no pool.
 */
export class Database {
  readonly kind: DatabaseKind;
  private readonly logger = new Logger('MultiSession');
  private readonly mutex = new KeyedMutex();
  /** What is sent for each request. */
  readonly statements: Statements;
  private readonly pool?: () => Promise<PooledConnection>;
  /**
   * Whether statements have names, by which a connection to PostgreSQL parses and plans each of them once. Behind a proxy that hands
   * each transaction to another connection a name can be unknown: then nothing was done, it is worth another try, and there are no
   * names from there on.
   */
  private hasNames: boolean;

  /**
   * @param lockWait how long a transaction waits for its lock, in whole seconds: a process that is frozen keeps what it holds
   * @throws MultiSessionConfigurationError for a database that is not supported
   */
  constructor(
    readonly dataSource: DataSource,
    private readonly lockWait = 10,
  ) {
    const kind = KINDS[dataSource.options.type];
    if (!kind) {
      throw new MultiSessionConfigurationError([
        `the database type «${dataSource.options.type}» is not supported; supported are ${Object.keys(KINDS).join(', ')}`,
      ]);
    }
    this.kind = kind;
    this.pool = poolOf(dataSource);
    this.hasNames = dataSource.options.type === 'postgres';
    this.statements = new Statements(dataSource, kind !== 'mysql', (within, statement, values) =>
      within ? this.sendWithin(within, statement, values) : this.sendAlone(statement, values),
    );
  }

  /** An SQL expression for `NOW` of this database. */
  get now(): string {
    return NOW[this.kind];
  }

  /** One statement, or several that need no transaction; tried again where the database broke a deadlock. */
  async run<T>(work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const deadline = this.newDeadline();
    const once = () => this.onPrimary(deadline, (runner) => work(runner.manager));
    return this.exclusive(() => this.guarded(once));
  }

  /**
   * All of `work` or nothing of it, one after the other for the same lock on every process, tried again where the
   * database broke a deadlock. @returns undefined where the lock is held and `ifHeld` is `'give-up'`
   */
  async transaction<T>(
    lock: TransactionLock | undefined,
    work: (manager: EntityManager) => Promise<T>,
  ): Promise<T | undefined> {
    // From here, so that those who wait behind one that hangs give up together with it and not one after the other; a long
    // queue that moves gives up nobody.
    const askedAt = performance.now();
    const attempt = (movedAt = askedAt) => {
      const deadline = this.newDeadline(Math.max(askedAt, movedAt));
      const once = () => this.onPrimary(deadline, (runner) => this.transactionOn(runner, lock, work));
      return this.exclusive(() => this.guarded(once));
    };
    // Waiting here and not in the pool: one user's logins must not take every connection.
    return lock ? this.mutex.run(lock.name, attempt) : attempt();
  }

  /** The id condition for a user, byte for byte whatever collation the table has: «bob» is not «Bob», nor «bob ». */
  sameText(column: string, parameter: string): string {
    const equal = `${column} = :${parameter}`;
    if (this.kind !== 'mysql') return equal;
    // In one character set, since the table's and the connection's may be different.
    const bytes = (text: string) => `CAST(CONVERT(${text} USING utf8mb4) AS BINARY)`;
    return `${equal} AND ${bytes(column)} = ${bytes(`:${parameter}`)}`;
  }

  /** As `run` does, and where the driver has a pool with less to do for it. */
  private async sendAlone(statement: Statement, values: unknown[]): Promise<Answer> {
    const deadline = this.newDeadline();
    const { pool } = this;
    const once = pool
      ? () => sendAlone(pool, [statement, values, this.hasNames], deadline - performance.now())
      : () => this.onPrimary(deadline, (runner) => this.sendOn(runner, statement, values));
    return this.exclusive(() => this.guarded(once));
  }

  /** On the connection of a transaction, past TypeORM where the statement has a name: it has no words for that. */
  private sendWithin({ queryRunner: runner }: EntityManager, statement: Statement, values: unknown[]): Promise<Answer> {
    if (!runner) throw new TypeError('a statement of a transaction goes over its connection');
    return this.hasNames ? this.sendOnClient(runner, statement, values, true) : this.sendOn(runner, statement, values);
  }

  private async sendOnClient(
    runner: QueryRunner,
    statement: Statement,
    values: unknown[],
    isNamed: boolean,
  ): Promise<Answer> {
    const client = (await runner.connect()) as PostgresClient;
    return new Promise((resolve, reject) => {
      queryPostgres(this.dataSource, client, statement, values, isNamed, (fault, answer) =>
        fault ? reject(fault) : resolve(answer as Answer),
      );
    });
  }

  private async sendOn(runner: QueryRunner, { text, columns }: Statement, values: unknown[]): Promise<Answer> {
    const { records = [], affected = 0 } = (await runner.query(text, values, true)) as {
      records?: ObjectLiteral[];
      affected?: number;
    };
    return { rows: inOrder(columns, records), affected };
  }

  /** On the monotonic clock. SQLite answers within the process, so there is nobody to wait for. */
  private newDeadline(since = performance.now()): number {
    return this.kind === 'sqlite' ? Infinity : since + this.lockWait * 1000 + BEYOND_THE_LOCK;
  }

  /** TypeORM reads on a replica where there is one, and what was just written may not be there yet: never here. */
  private async onPrimary<T>(deadline: number, work: (runner: QueryRunner) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner('master');
    if (this.kind === 'sqlite') return work(runner);
    let connection: unknown;
    let isOver = false;
    const connectAndWork = async () => {
      connection = await runner.connect();
      if (!isOver) return work(runner);
      // It is given one that nobody waits for any more.
      await runner.release();
      throw new TimeoutError();
    };
    try {
      return await before(deadline, connectAndWork);
    } catch (error) {
      if (error instanceof TimeoutError && connection) this.hangUp(connection);
      throw error;
    } finally {
      isOver = true;
      if (connection) await runner.release();
    }
  }

  /** Closes the socket at once: to be polite to a server that does not answer would be to wait for it again. */
  private hangUp(connection: unknown): void {
    if (this.kind === 'postgres') void (connection as { end(): Promise<void> }).end().catch(() => undefined);
    else (connection as { destroy(): void }).destroy();
  }

  private async transactionOn<T>(
    runner: QueryRunner,
    lock: TransactionLock | undefined,
    work: (manager: EntityManager) => Promise<T>,
  ): Promise<T | undefined> {
    const lockName = lock && this.nameOf(lock);
    let held = false;
    try {
      // MySQL's lock is taken before the transaction begins, so that what it reads is not older than the lock.
      if (lockName && this.kind === 'mysql') held = await this.takeNamedLock(runner, lockName, lock);
      await (this.kind === 'postgres' ? this.beginOnPostgres(runner, lockName, lock) : runner.startTransaction());
      const result = await work(runner.manager);
      await (this.kind === 'postgres' ? this.commitOnPostgres(runner) : runner.commitTransaction());
      return result;
    } catch (error) {
      if (runner.isTransactionActive) await this.rollBack(runner);
      if (error instanceof LockHeld) return undefined;
      throw error;
    } finally {
      if (held) await runner.query('SELECT RELEASE_LOCK(?)', [lockName]).catch(() => undefined);
    }
  }

  /** The error before it is the one to tell: a rollback on a lost connection fails too, and the database rolls back by itself. */
  private async rollBack(runner: QueryRunner): Promise<void> {
    try {
      await runner.rollbackTransaction();
    } catch {
      // So does SQLite where its disk is full, and TypeORM holds its one connection for busy until a ROLLBACK has succeeded.
      if (this.kind !== 'sqlite') return;
      await runner.query('BEGIN').then(
        () => runner.rollbackTransaction(),
        () => undefined,
      );
    }
  }

  private async takeNamedLock(runner: QueryRunner, name: string, lock: TransactionLock | undefined): Promise<boolean> {
    const seconds = lock?.ifHeld === 'give-up' ? 0 : this.lockWait;
    const [{ taken }] = (await runner.query('SELECT GET_LOCK(?, ?) AS taken', [name, seconds])) as [{ taken: unknown }];
    if (Number(taken) === 1) return true;
    throw lock?.ifHeld === 'give-up'
      ? new LockHeld()
      : new UnavailableError(new Error(`waited ${seconds} s for a lock`));
  }

  /**
   * READ COMMITTED, since a snapshot older than the lock would count sessions that have gone, or miss new ones. In one round trip, where
   * TypeORM's own begin would be another.
   */
  private async beginOnPostgres(runner: QueryRunner, name?: string, lock?: TransactionLock): Promise<void> {
    const begin = 'START TRANSACTION ISOLATION LEVEL READ COMMITTED';
    // Whatever becomes of it, there is something to roll back.
    setTransactionActive(runner, true);
    const key = name && BigInt.asIntN(64, BigInt(`0x${name.slice(0, 16)}`)).toString();
    if (key && lock?.ifHeld !== 'give-up') {
      const wait = `SET LOCAL lock_timeout = '${this.lockWait}s'`;
      await this.tellPostgres(runner, `${begin}; ${wait}; SELECT pg_advisory_xact_lock('${key}'::bigint)`);
      return;
    }
    await this.tellPostgres(runner, begin);
    if (!key) return;
    const [{ taken }] = (await runner.query('SELECT pg_try_advisory_xact_lock($1) AS taken', [key])) as [
      { taken: boolean },
    ];
    if (!taken) throw new LockHeld();
  }

  private async commitOnPostgres(runner: QueryRunner): Promise<void> {
    await this.tellPostgres(runner, 'COMMIT');
    setTransactionActive(runner, false);
  }

  /** Without values, and so in PostgreSQL's simple protocol, which takes several statements at once. */
  private tellPostgres(runner: QueryRunner, text: string): Promise<unknown> {
    return this.pool ? this.sendOnClient(runner, { name: '', text, columns: [] }, [], false) : runner.query(text);
  }

  /** A lock's name on the server: MySQL's locks are the whole server's, and at most 64 characters long. */
  private nameOf(lock: TransactionLock): string {
    const { database } = this.dataSource.driver;
    const prefix = this.dataSource.options.entityPrefix ?? '';
    return hash('sha256', JSON.stringify([database, prefix, lock.name])).slice(0, 60);
  }

  /**
   * SQLite has one connection in TypeORM, so all we do takes turns on it, and waits while the application itself has a
   * transaction open: a statement of ours would become a part of it, and go with it when it is rolled back.
   */
  private exclusive<T>(work: () => Promise<T>): Promise<T> {
    if (this.kind !== 'sqlite') return work();
    return this.mutex.run('', async () => {
      const giveUp = performance.now() + SQLITE_WAIT;
      while (this.dataSource.createQueryRunner().isTransactionActive) {
        if (performance.now() > giveUp)
          throw new UnavailableError(new Error('a transaction of the application stays open'));
        await sleep(1);
      }
      return work();
    });
  }

  /**
   * Does it again where that is worth it. A driver's fault is the server's: it becomes a 503, and what it said goes to the log
   * alone, without values.
   */
  private async guarded<T>(once: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await once();
      } catch (error) {
        if (error instanceof MultiSessionError || isProgrammingError(error)) throw error;
        const code = codeOf(error);
        // Also for those that were under way when another one found it out.
        if (NAME_FAULTS.has(code)) this.hasNames = false;
        const isWorthIt = TRY_AGAIN.has(code) || NAME_FAULTS.has(code);
        if (attempt === TRIES || !isWorthIt) throw this.unavailable(error);
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

/** TypeORM looks at it before it lets a query lock rows. */
function setTransactionActive(runner: QueryRunner, isActive: boolean): void {
  (runner as { isTransactionActive: boolean }).isTransactionActive = isActive;
}

/** The driver's own name for the fault, where it has one. */
function codeOf(error: unknown): string {
  const { code, driverError } = error as { code?: unknown; driverError?: { code?: unknown } };
  const found = driverError?.code ?? code;
  return typeof found === 'string' ? found : '';
}

function isProgrammingError(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}

/**
 * What failed, and no value of the statement. The driver's own error holds it with its parameters, among them a token's `jti`, and
 * whoever logs an error logs its cause; its text quotes values too, as MySQL's «Duplicate entry '…'» does.
 */
function withoutValues(error: unknown): Error {
  const code = codeOf(error);
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: typeof error };
  const text = message
    .replace(/(["'`])[^]*\1(?!\w)/, '…')
    .split('\n')[0]
    .slice(0, 300);
  return Object.assign(new Error(code ? `${code} ${text}` : text), { name, code });
}
