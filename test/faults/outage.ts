import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import type { Proxy } from '../contract/proxy.js';
import { query, type OwnServer, type ServerName, type Stop } from './servers.js';

type Undo = () => void | Promise<void>;

/** What is done to a database, and undone. */
export interface Fault {
  readonly title: string;
  /** Whether statements get no answer at all, and not an error. */
  readonly hangs: boolean;
  begin(this: void, server: OwnServer, proxy: Proxy): Undo | Promise<Undo>;
}

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
  begin: (_, proxy) => {
    proxy.cut();
    proxy.mend();
    return () => undefined;
  },
};

const frozen: Fault = {
  title: 'a network that loses everything',
  hangs: true,
  begin: (_, proxy) => {
    proxy.freeze();
    return () => proxy.mend();
  },
};

const locked = (name: ServerName): Fault => ({
  title: 'a lock held on both tables by another connection',
  hangs: true,
  begin: async (server) => {
    const dataSource = await new DataSource(server.options).initialize();
    const runner = dataSource.createQueryRunner();
    if (name === 'postgres') await runner.startTransaction();
    await runner.query(
      name === 'postgres'
        ? 'LOCK TABLE user_session, session_blacklist IN ACCESS EXCLUSIVE MODE'
        : 'LOCK TABLES user_session WRITE, session_blacklist WRITE',
    );
    return async () => {
      if (name === 'postgres') await runner.rollbackTransaction();
      else await runner.query('UNLOCK TABLES');
      await runner.release();
      await dataSource.destroy();
    };
  },
});

/** A small run has an error and a hanging statement of each server. */
export const faultsOf = (name: ServerName, small: boolean): Fault[] => {
  const few = name === 'postgres' ? [stopped('immediate'), frozen] : [cut, locked(name)];
  const more = name === 'postgres' ? [cut, locked(name)] : [stopped('immediate'), frozen];
  return small ? few : [...few, ...more, dropped, stopped('fast'), stopped('kill')];
};

/** What the server holds for its clients. */
export interface Held {
  readonly connections: number;
  readonly locks: number;
  readonly openTransactions: number;
}

/** As the server itself tells it, without the connection that asks. */
export async function heldBy(name: ServerName, { options }: OwnServer): Promise<Held> {
  const [held] = await query<Record<keyof Held, unknown>[]>(options, HELD[name]);
  return {
    connections: Number(held.connections),
    locks: Number(held.locks),
    openTransactions: Number(held.openTransactions),
  };
}

const HELD: Record<ServerName, string> = {
  postgres: `SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE datname = 'faults' AND pid <> pg_backend_pid()) AS "connections",
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS "locks",
    (SELECT count(*) FROM pg_stat_activity WHERE datname = 'faults' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL)
      AS "openTransactions"`,
  mariadb: `SELECT
    (SELECT count(*) FROM information_schema.processlist WHERE db = 'faults' AND id <> connection_id()) AS connections,
    (SELECT count(*) FROM performance_schema.metadata_locks WHERE object_type = 'USER LEVEL LOCK') AS locks,
    (SELECT count(*) FROM information_schema.innodb_trx) AS openTransactions`,
};

/** What must never be found in the database, whatever has happened. Each is told in words. */
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

/** Asks until it is so. @returns how long that took, in milliseconds @throws where it takes longer than `limit` */
export async function until(what: string, limit: number, holds: () => Promise<boolean>): Promise<number> {
  const begun = performance.now();
  while (!(await holds())) {
    if (performance.now() - begun > limit) throw new Error(`${what}: not within ${limit} ms`);
    await sleep(50);
  }
  return performance.now() - begun;
}
