import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import type { Proxy } from '../contract/proxy.js';
import type { SampleApp } from '../helpers/sample-app.js';
import { query, type OwnServer, type ServerName, type Stop } from './servers.js';

/** Ends what was begun: a fault, or a lock. */
type Undo = () => void | Promise<void>;

/** A way in which the database fails. */
export interface Fault {
  readonly title: string;
  /** Whether statements hang during the fault. Otherwise they fail at once. */
  readonly hangs: boolean;
  begin(this: void, server: OwnServer, proxy: Proxy): Undo | Promise<Undo>;
}

/** How many statements must be waiting for an answer when their connections are dropped. */
const DROPPED_STATEMENTS = 4;

const stopped = (how: Stop): Fault => ({
  title: `the server stopped (${how}) and started again`,
  hangs: false,
  begin: async (server) => {
    await server.stop(how);
    return () => server.start();
  },
});

const cut: Fault = {
  title: 'every connection dropped, and new ones refused',
  hangs: false,
  begin: (_, proxy) => {
    proxy.cut();
    return () => proxy.mend();
  },
};

const dropped: Fault = {
  title: 'every connection dropped once',
  hangs: false,
  begin: async (server, proxy) => {
    // A pool replaces idle connections without any request noticing. The lock makes sure that some are in use.
    const unlock = await lockTables(server, ['user_session']);
    try {
      await until('too few statements wait for the lock', 10_000, async () => {
        return (await heldBy(server)).waiting >= DROPPED_STATEMENTS;
      });
      proxy.cut();
      proxy.mend();
    } finally {
      await unlock();
    }
    return () => undefined;
  },
};

const frozen: Fault = {
  title: 'a network that loses every packet',
  hangs: true,
  begin: (_, proxy) => {
    proxy.freeze();
    return () => proxy.mend();
  },
};

const locked: Fault = {
  title: 'a lock held on both tables by another connection',
  hangs: true,
  begin: (server) => lockTables(server, ['user_session', 'session_blacklist']),
};

/** The faults to test. A small run has one that fails statements and one that hangs them, on each server. */
export const faultsOf = (name: ServerName, small: boolean): Fault[] => {
  const few = name === 'postgres' ? [stopped('immediate'), frozen] : [cut, locked];
  const more = name === 'postgres' ? [cut, locked] : [stopped('immediate'), frozen];
  return small ? few : [...few, ...more, dropped, stopped('fast'), stopped('kill')];
};

/**
 * Locks whole tables over a connection of its own, so that every statement on them waits.
 * @returns a function that unlocks them
 */
export async function lockTables({ options }: OwnServer, tables: readonly string[]): Promise<() => Promise<void>> {
  const dataSource = await new DataSource(options).initialize();
  const runner = dataSource.createQueryRunner();
  const isPostgres = options.type === 'postgres';
  if (isPostgres) {
    await runner.startTransaction();
    await runner.query(`LOCK TABLE ${tables.join(', ')} IN ACCESS EXCLUSIVE MODE`);
  } else {
    await runner.query(`LOCK TABLES ${tables.map((table) => `${table} WRITE`).join(', ')}`);
  }
  return async () => {
    if (isPostgres) await runner.rollbackTransaction();
    else await runner.query('UNLOCK TABLES');
    await runner.release();
    await dataSource.destroy();
  };
}

/** What the server holds for its clients. */
export interface Held {
  readonly connections: number;
  readonly locks: number;
  readonly openTransactions: number;
  /** Statements that wait for a lock. */
  readonly waiting: number;
}

/** Asks the server what it holds. The connection that asks is not counted. */
export async function heldBy({ options }: OwnServer): Promise<Held> {
  const [held] = await query<Record<keyof Held, unknown>[]>(options, HELD[options.type as ServerName]);
  return {
    connections: Number(held.connections),
    locks: Number(held.locks),
    openTransactions: Number(held.openTransactions),
    waiting: Number(held.waiting),
  };
}

const HELD: Record<ServerName, string> = {
  postgres: `SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE datname = 'faults' AND pid <> pg_backend_pid()) AS "connections",
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS "locks",
    (SELECT count(*) FROM pg_stat_activity WHERE datname = 'faults' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL)
      AS "openTransactions",
    (SELECT count(*) FROM pg_stat_activity WHERE datname = 'faults' AND wait_event_type = 'Lock') AS "waiting"`,
  mariadb: `SELECT
    (SELECT count(*) FROM information_schema.processlist WHERE db = 'faults' AND id <> connection_id()) AS connections,
    (SELECT count(*) FROM performance_schema.metadata_locks WHERE object_type = 'USER LEVEL LOCK') AS locks,
    (SELECT count(*) FROM information_schema.innodb_trx) AS openTransactions,
    (SELECT count(*) FROM information_schema.processlist WHERE db = 'faults' AND state LIKE 'Waiting for % lock')
      AS waiting`,
};

/**
 * Reads from a process's metrics how long ago its last successful poll began. The process runs with `METRICS=on`.
 * @returns milliseconds
 */
export async function lagOf({ url }: SampleApp): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const [, seconds] = /^multisession_blacklist_lag(?:_seconds)?(?:\{.*\})? (\S+)/m.exec(text) ?? [];
  if (seconds === undefined) throw new Error(`no lag in the metrics of ${url}:\n${text}`);
  return Number(seconds) * 1000;
}

/**
 * Looks for rows that contradict each other or exceed the limit.
 * @returns a sentence for each
 */
export async function broken(options: OwnServer['options'], limit: number): Promise<string[]> {
  const both = await query<{ id: string }[]>(
    options,
    "SELECT id FROM user_session WHERE id IN (SELECT session_id FROM session_blacklist WHERE kind = 'session')",
  );
  const counts = await query<{ user_id: string; type: string; n: unknown }[]>(
    options,
    'SELECT user_id, type, count(*) AS n FROM user_session GROUP BY user_id, type',
  );
  return [
    ...both.map(({ id }) => `session ${id} is live and on the blacklist`),
    ...counts
      .filter(({ n }) => Number(n) > limit)
      .map(({ user_id, type, n }) => `user ${user_id} has ${String(n)} sessions of type ${type}`),
  ];
}

/**
 * Waits until `holds` answers true, and asks it every 50 ms.
 * @param problem what is wrong if it never does, for the error's message
 * @param limit milliseconds
 * @returns how long it took, in milliseconds
 * @throws if it takes longer than `limit`
 */
export async function until(problem: string, limit: number, holds: () => Promise<boolean>): Promise<number> {
  const begun = performance.now();
  while (!(await holds())) {
    if (performance.now() - begun > limit) throw new Error(`${problem}: waited for ${limit} ms`);
    await sleep(50);
  }
  return performance.now() - begun;
}
