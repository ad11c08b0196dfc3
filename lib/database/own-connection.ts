import { DataSource, type EntityManager, type QueryRunner } from 'typeorm';
import type { Database } from './database.js';
import { destroyConnection, singleConnectionOptions, surviveLosses } from './typeorm-internals.js';

/**
 * A connection to the primary outside of the application's pool, for work that must get through even if the pool is
 * exhausted. It opens at its first use. Use it only on databases with a server: SQLite has one connection for everything.
 */
export class OwnConnection {
  private opened?: Promise<DataSource>;
  private running?: QueryRunner;

  /**
   * @param timeout for connecting and for each statement, in milliseconds
   */
  constructor(
    private readonly database: Database,
    private readonly timeout: number,
  ) {}

  /**
   * Runs statements that only read, outside of a transaction. Send them by `Database.queryWithin`, so that PostgreSQL limits their
   * time. If this throws, call `close`: the next run then opens a new connection.
   * @returns what `read` returns
   */
  async run<T>(read: (manager: EntityManager) => Promise<T>): Promise<T> {
    const runner = await this.newRunner();
    const result = await read(runner.manager);
    await runner.release();
    this.running = undefined;
    return result;
  }

  /**
   * Keeps the connection in use until `close`, for work that needs the driver itself.
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
      // When MySQL's pool closes, it waits for the running statement. PostgreSQL's pool closes the socket.
      if (running && this.database.kind === 'mysql') destroyConnection(await running.connect());
      await (await opened)?.destroy();
    } catch {
      // The connection could not be opened or has been lost, so there is no connection to close.
    }
  }

  private async newRunner(): Promise<QueryRunner> {
    this.opened ??= this.open();
    const runner = (await this.opened).createQueryRunner('master');
    this.running = runner;
    return runner;
  }

  private async open(): Promise<DataSource> {
    const { dataSource } = this.database;
    const opened = await new DataSource(singleConnectionOptions(dataSource, this.timeout)).initialize();
    surviveLosses(opened);
    return opened;
  }
}
