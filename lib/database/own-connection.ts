import { DataSource, type DataSourceOptions, type EntityManager, type EntityTarget, type QueryRunner } from 'typeorm';
import type { Database } from './database.js';

/**
 * One connection to the primary, beside the application's pool, for what must get through whatever the pool is doing. It is
 * opened at the first use. For the databases with a server; SQLite has one connection for everybody.
 */
export class OwnConnection {
  private opened?: Promise<DataSource>;
  private running?: QueryRunner;

  /**
   * @param entities what is read over it
   * @param timeout for connecting and for each statement, in milliseconds
   */
  constructor(
    private readonly database: Database,
    private readonly entities: readonly EntityTarget<object>[],
    private readonly timeout: number,
  ) {}

  /** Runs statements that only read. After a fault, `close` it, and the next run opens another. */
  async run<T>(read: (manager: EntityManager) => Promise<T>): Promise<T> {
    const dataSource = await (this.opened ??= new DataSource(this.options()).initialize());
    const runner = dataSource.createQueryRunner('master');
    this.running = runner;
    const result = await (this.database.kind === 'postgres' ? this.withinTimeout(runner, read) : read(runner.manager));
    await runner.release();
    this.running = undefined;
    return result;
  }

  /** The driver's own client, held until `close`: for what is more than statements. */
  async hold(): Promise<unknown> {
    const dataSource = await (this.opened ??= new DataSource(this.options()).initialize());
    this.running = dataSource.createQueryRunner('master');
    return this.running.connect();
  }

  /** Closes it, without waiting for a statement that hangs. */
  async close(): Promise<void> {
    const { opened, running } = this;
    this.opened = this.running = undefined;
    try {
      // MySQL's pool would let the statement end first. PostgreSQL's closes the socket.
      if (running && this.database.kind === 'mysql') ((await running.connect()) as { destroy(): void }).destroy();
      await (await opened)?.destroy();
    } catch {
      // It could not be opened, or has been lost: there is nothing to close.
    }
  }

  /** A server that waits for a lock does not see that the client has gone: PostgreSQL is told to give up by itself. */
  private async withinTimeout<T>(runner: QueryRunner, read: (manager: EntityManager) => Promise<T>): Promise<T> {
    await runner.startTransaction();
    // In a transaction and not for the connection, which a pooler between may hand on to others.
    await runner.query(`SET LOCAL statement_timeout = ${Math.ceil(this.timeout)}`);
    const result = await read(runner.manager);
    await runner.commitTransaction();
    return result;
  }

  private options(): DataSourceOptions {
    const { options } = this.database.dataSource;
    const { replication } = options as { replication?: { master: object } };
    const one =
      this.database.kind === 'postgres'
        ? { max: 1, min: 0, connectionTimeoutMillis: this.timeout }
        : { connectionLimit: 1, connectTimeout: this.timeout };
    return {
      ...options,
      ...replication?.master,
      replication: undefined,
      name: undefined,
      entities: [...this.entities],
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
}
