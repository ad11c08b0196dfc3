import { hash } from 'node:crypto';
import type { DataSource } from 'typeorm';

/** A statement that is about to be sent. */
export interface GatedStatement {
  readonly text: string;
  /** The server's number for the connection. */
  readonly connection: number;
}

/** What stands between a process and its database. */
export interface Gate {
  /** Holds a statement back until the promise settles. */
  readonly pass: (statement: GatedStatement) => Promise<void>;
  /** Changes the text of a statement, to take a part of the library out. Default: no change. */
  readonly rewrite?: (text: string) => string;
}

type Query = (...given: unknown[]) => unknown;
interface Connection {
  query: Query;
  /** On PostgreSQL. */
  processID?: number;
  /** On MariaDB. */
  threadId?: number;
}

/**
 * Makes each statement of a DataSource wait at a gate before it is sent. It works on the driver's connections, so nothing is
 * sent past it. Only for PostgreSQL and MariaDB.
 */
export function gateStatements(dataSource: DataSource, gate: Gate): void {
  const driver = dataSource.driver as unknown as { obtainMasterConnection(): Promise<Connection | [Connection]> };
  const obtain = driver.obtainMasterConnection.bind(driver);
  const gated = new WeakSet<Connection>();
  driver.obtainMasterConnection = async () => {
    const obtained = await obtain();
    const connection = Array.isArray(obtained) ? obtained[0] : obtained;
    if (!gated.has(connection)) gateConnection(connection, gate);
    gated.add(connection);
    return obtained;
  };
}

function gateConnection(connection: Connection, gate: Gate): void {
  const send = connection.query.bind(connection);
  connection.query = (...given) => {
    const { pass, rewrite } = gate;
    if (rewrite) given[0] = rewritten(given[0], rewrite);
    const passed = pass({ text: textOf(given[0]), connection: connection.processID ?? connection.threadId ?? 0 });
    const hasCallback = given.some((value) => typeof value === 'function');
    if (!hasCallback) return passed.then(() => send(...given));
    // A query of mysql2 must not be awaited.
    void passed.then(() => void send(...given));
    return undefined;
  };
}

function textOf(query: unknown): string {
  if (typeof query === 'string') return query;
  const { text, sql } = query as { text?: string; sql?: string };
  return text ?? sql ?? '';
}

function rewritten(query: unknown, rewrite: (text: string) => string): unknown {
  if (typeof query === 'string') return rewrite(query);
  const { text, name, ...rest } = query as { text?: string; name?: string };
  if (text === undefined) return query;
  const changed = rewrite(text);
  // The server may know the name with the old text.
  const rename = name !== undefined && changed !== text && { name: hash('sha256', changed).slice(0, 60) };
  return { ...rest, ...(name !== undefined && { name }), ...rename, text: changed };
}
