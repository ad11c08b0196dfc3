import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { startOwnTransaction } from './application-transaction.js';
import type { DatabaseKind } from './dialect.js';
import { queryPostgresOn, resetEmbeddedTransaction, setTransactionActive } from './typeorm-internals.js';

/** Begins, commits and rolls back transactions on one DataSource. */
export class Transactions {
  /** @param lockWait how long a transaction waits for a row on PostgreSQL, in whole seconds */
  constructor(
    private readonly dataSource: DataSource,
    private readonly kind: DatabaseKind,
    private readonly lockWait: number,
  ) {}

  /**
   * Runs `work` in a transaction.
   * @param waits whether its first statement may wait for a row
   * @returns what `work` returns
   * @throws whatever `work` and the driver throw, after a rollback
   */
  async run<T>(runner: QueryRunner, work: (manager: EntityManager) => Promise<T>, waits: boolean): Promise<T> {
    try {
      await this.begin(runner, waits);
      const result = await work(runner.manager);
      await this.commit(runner);
      return result;
    } catch (error) {
      if (runner.isTransactionActive) await this.rollBack(runner);
      throw error;
    }
  }

  /**
   * Begins a transaction with READ COMMITTED, on every database with a server. At REPEATABLE READ, a transaction would count
   * the sessions of a snapshot that may be older than its lock on a row. MySQL would also lock gaps between rows, which makes
   * refreshes fail.
   */
  private async begin(runner: QueryRunner, waits: boolean): Promise<void> {
    if (this.kind === 'sqlite') return startOwnTransaction(runner);
    if (this.kind === 'mysql') return startOwnTransaction(runner, 'READ COMMITTED');
    // One round trip for both. TypeORM's own begin would take two.
    const begin = 'START TRANSACTION ISOLATION LEVEL READ COMMITTED';
    // Set this first: even if a statement fails, a rollback is needed.
    setTransactionActive(runner, true);
    await this.sendToPostgres(runner, waits ? `${begin}; SET LOCAL lock_timeout = '${this.lockWait}s'` : begin);
  }

  private async commit(runner: QueryRunner): Promise<void> {
    if (this.kind !== 'postgres') return runner.commitTransaction();
    await this.sendToPostgres(runner, 'COMMIT');
    setTransactionActive(runner, false);
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

  /**
   * Sends a text without values. The driver then uses PostgreSQL's simple protocol, which accepts several statements at
   * once.
   */
  private sendToPostgres(runner: QueryRunner, text: string): Promise<unknown> {
    return queryPostgresOn(this.dataSource, runner, { name: '', text, columns: [] }, [], false);
  }
}
