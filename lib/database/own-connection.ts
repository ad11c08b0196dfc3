import { DataSource, type EntityManager, type EntityTarget, type QueryRunner } from 'typeorm';
import type { Database } from './database.js';
import { destroyConnection, singleConnectionOptions } from './typeorm-internals.js';

/**
 * One connection to the primary apart from the application's pool, for work that must get through even if the pool is
 * exhausted. It is opened at its first use. It is for databases with a server; SQLite has one connection for everything.
 */
export class OwnConnection {
  private opened?: Promise<DataSource>;
  private running?: QueryRunner;

  /**
   * @param entities the entities that are read over it
   * @param timeout for connecting and for each statement, in milliseconds
   */
  constructor(
    private readonly database: Database,
    private readonly entities: readonly EntityTarget<object>[],
    private readonly timeout: number,
  ) {}

  /**
   * Runs statements that only read. If it throws, call `close`: the next run then opens another connection.
   * @returns what `read` returns
   */
  async run<T>(read: (manager: EntityManager) => Promise<T>): Promise<T> {
    const runner = await this.newRunner();
    const result = await (this.database.kind === 'postgres' ? this.withinTimeout(runner, read) : read(runner.manager));
    await runner.release();
    this.running = undefined;
    return result;
  }

  /**
   * Holds the connection until `close`, for work that is more than statements.
   * @returns the client of the driver
   */
  async hold(): Promise<unknown> {
    return (await this.newRunner()).connect();
  }

  /** Closes the connection, without waiting for a statement that hangs. */
  async close(): Promise<void> {
    const { opened, running } = this;
    this.opened = this.running = undefined;
    try {
      // MySQL's pool waits for the running statement when it closes. PostgreSQL's closes the socket.
      if (running && this.database.kind === 'mysql') destroyConnection(await running.connect());
      await (await opened)?.destroy();
    } catch {
      // It could not be opened, or has been lost: then no connection is left to close.
    }
  }

  private async newRunner(): Promise<QueryRunner> {
    this.opened ??= this.open();
    const runner = (await this.opened).createQueryRunner('master');
    this.running = runner;
    return runner;
  }

  private open(): Promise<DataSource> {
    const { dataSource } = this.database;
    return new DataSource(singleConnectionOptions(dataSource, this.entities, this.timeout)).initialize();
  }

  /** A backend of PostgreSQL that waits for a lock does not notice that its client has gone, so it must time out by itself. */
  private async withinTimeout<T>(runner: QueryRunner, read: (manager: EntityManager) => Promise<T>): Promise<T> {
    await runner.startTransaction();
    // `LOCAL` to the transaction: a pooler may hand the connection on to other clients.
    await runner.query(`SET LOCAL statement_timeout = ${Math.ceil(this.timeout)}`);
    const result = await read(runner.manager);
    await runner.commitTransaction();
    return result;
  }
}
