import { TimeoutError } from './deadline.js';
import { isWrongServer } from './faults.js';
import type { Answer, SentStatement } from './statement.js';

export type Done = (fault: Error | null, answer?: Answer) => void;

/** A connection taken from the driver's pool. */
export interface PooledConnection {
  /** @param isNamed whether the server prepares the statement under its name */
  query(statement: SentStatement, values: unknown[], isNamed: boolean, done: Done): void;
  /** Returns the connection to the pool. */
  release(): void;
  /** Closes the connection at once, without waiting for the server, and removes it from the pool. */
  destroy(): void;
}

/**
 * Sends one statement outside of a transaction, on any connection to the primary. It makes one promise for connection,
 * statement and deadline together. TypeORM's query runner makes a promise and a listener for each step, which took a third
 * of the time of a refresh.
 *
 * Invariant: it settles within `patience`. If the connection has not answered by then, it is destroyed. If the pool provides
 * a connection later, it is released unused. A connection to the wrong server is destroyed too, so that the pool opens
 * another one.
 * @param obtain takes a connection from the pool
 * @param patience in milliseconds
 * @throws TimeoutError after `patience`
 * @throws any error of the driver
 */
export function sendAlone(
  obtain: () => Promise<PooledConnection>,
  [statement, values, isNamed]: [SentStatement, unknown[], boolean],
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
        const error = fault ?? statement.faultOf?.(answer as Answer);
        if (error && isWrongServer(error)) given.destroy();
        else given.release();
        settle(() => (error ? reject(error) : resolve(answer as Answer)));
      });
    };
    obtain()
      .then(use)
      .catch((error: Error) => settle(() => reject(error)));
  });
}
