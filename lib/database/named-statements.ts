import type { DataSource, QueryRunner } from 'typeorm';
import { NoAnswer } from './deadline.js';
import type { Answer, Statement } from './statements.js';

/** The parts of the driver's client and pool that are needed here. */
interface Client {
  query(query: object, values: undefined, callback: (error: Error | null, answer: ClientAnswer) => void): void;
  on(event: 'error', listener: () => void): void;
  removeListener(event: 'error', listener: () => void): void;
  end(): Promise<void>;
}

interface ClientAnswer {
  readonly rows: Answer['rows'];
  readonly rowCount: number;
}

type Release = (fault?: Error) => void;

interface Pool {
  connect(callback: (error: Error | undefined, client: Client, release: Release) => void): void;
}

/** The connection does not know the name, knows it already, or the table has changed since. */
const NAME_FAULTS = new Set(['26000', '42P05', '0A000']);

/** A connection that is lost while it is ours fails its statement; without a listener it would end the process too. */
const tolerate = () => undefined;

/**
 * Statements that PostgreSQL knows by their names, so that each connection parses and plans them once. Behind a proxy that hands
 * each transaction to another connection a name can be unknown: then nothing was done, it is worth another try, and there are no
 * names from there on.
 */
export class NamedStatements {
  /** Whether there are names. */
  areInUse: boolean;

  constructor(private readonly dataSource: DataSource) {
    this.areInUse = dataSource.options.type === 'postgres';
  }

  /**
   * @param code the driver's, of a fault
   * @returns whether it was one of names, which there are not any more: worth another try, also for those that were under way
   * when another one found it out
   */
  giveUp(code: string): boolean {
    if (!NAME_FAULTS.has(code)) return false;
    this.areInUse = false;
    return true;
  }

  /** Carries it out on the connection of a transaction. */
  async sendOn(runner: QueryRunner, statement: Statement, values: unknown[]): Promise<Answer> {
    const client = (await runner.connect()) as Client;
    return new Promise((resolve, reject) => {
      this.query(client, statement, values, (error, answer) => (error ? reject(error) : resolve(answer as Answer)));
    });
  }

  /**
   * Carries it out by itself, on any connection of TypeORM's pool to the primary: one promise for the connection, the statement and the
   * deadline. TypeORM's query runner, with a promise for each, took a third of a refresh.
   *
   * Invariant: it settles within `patience`; a connection that has not answered by then is closed and goes back to no pool, and
   * one that the pool gives later goes back as it is.
   * @param patience milliseconds
   * @throws NoAnswer
   */
  sendAlone(statement: Statement, values: unknown[], patience: number): Promise<Answer> {
    const { master: pool } = this.dataSource.driver as unknown as { master?: Pool };
    if (!pool) return Promise.reject(new Error('the driver is not connected'));
    return new Promise((resolve, reject) => {
      let isOver = false;
      let abandon: () => void = () => undefined;
      const timer = setTimeout(() => {
        isOver = true;
        abandon();
        reject(new NoAnswer());
      }, patience);
      const settle = (conclude: () => void) => {
        isOver = true;
        clearTimeout(timer);
        conclude();
      };
      pool.connect((error, client, release) => {
        if (isOver) return release();
        if (error) return settle(() => reject(error));
        client.on('error', tolerate);
        abandon = () => {
          // At once: to be polite to a server that does not answer would be to wait for it again.
          client.end().catch(() => undefined);
          release(new NoAnswer());
        };
        this.query(client, statement, values, (fault, answer) => {
          if (isOver) return;
          client.removeListener('error', tolerate);
          release();
          settle(() => (fault ? reject(fault) : resolve(answer as Answer)));
        });
      });
    });
  }

  private query(
    client: Client,
    { name, text }: Statement,
    values: unknown[],
    done: (error: Error | null, answer?: Answer) => void,
  ): void {
    const { logger } = this.dataSource;
    logger.logQuery(text, values);
    client.query({ name, text, values }, undefined, (error, answer) => {
      if (!error) return done(null, { rows: answer.rows, affected: answer.rowCount });
      logger.logQueryError(error, text, values);
      done(error);
    });
  }
}
