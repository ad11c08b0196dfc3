import { TimeoutError } from './deadline.js';
import type { Answer, SentStatement } from './statement.js';

export type Done = (fault: Error | null, answer?: Answer) => void;

/** A connection that was taken from the pool of a driver. */
export interface PooledConnection {
  /** @param isNamed whether the server prepares the statement under its name */
  query(statement: SentStatement, values: unknown[], isNamed: boolean, done: Done): void;
  /** Returns it to the pool. */
  release(): void;
  /** Closes it at once, without waiting for the server, and removes it from the pool. */
  destroy(): void;
}

/**
 * Sends one statement by itself, on any connection to the primary, with one promise for connection, statement and deadline.
 * The query runner of TypeORM makes a promise and a listener for each step, which took a third of the time of a refresh.
 *
 * Invariant: it settles within `patience`. A connection that has not answered by then is destroyed. One that the pool gives
 * later is released unused.
 * @param obtain takes a connection from the pool
 * @param patience in milliseconds
 * @throws TimeoutError after `patience`; any error of the driver
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
        given.release();
        settle(() => (fault ? reject(fault) : resolve(answer as Answer)));
      });
    };
    obtain()
      .then(use)
      .catch((error: Error) => settle(() => reject(error)));
  });
}
