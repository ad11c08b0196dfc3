import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { appendFileSync, chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { asPostgres, postgresProgram } from '../faults/servers.js';
import { freePort } from '../helpers/free-port.js';

const run = promisify(execFile);
const START_LIMIT = 60_000;

/** One PostgreSQL server of a pair. */
export class PostgresServer {
  private child?: ChildProcess;

  private constructor(
    private readonly data: string,
    readonly port: number,
  ) {}

  /** Makes and starts a server, with an empty database `test`. */
  static async primary(folder: string): Promise<PostgresServer> {
    const server = new PostgresServer(join(folder, 'primary'), await freePort());
    const options = ['-D', server.data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '-N'];
    await run(...asPostgres(postgresProgram('initdb'), options));
    const settings = ['wal_level = replica', 'max_wal_senders = 5', 'hot_standby = on', 'fsync = off'];
    appendFileSync(join(server.data, 'postgresql.conf'), `${settings.join('\n')}\n`);
    await server.start();
    await server.query('CREATE DATABASE test', 'postgres');
    return server;
  }

  /** Makes and starts a standby of this server. */
  async standby(folder: string): Promise<PostgresServer> {
    const server = new PostgresServer(join(folder, 'standby'), await freePort());
    const from = `host=127.0.0.1 port=${this.port} user=postgres application_name=standby`;
    const options = ['-D', server.data, '-R', '-X', 'stream', '-c', 'fast', '-d', from];
    await run(...asPostgres(postgresProgram('pg_basebackup'), options));
    await server.start();
    return server;
  }

  /** Where a client connects, if it does not use a proxy. */
  get options(): DataSourceOptions & { url: string } {
    return optionsOf(this.port);
  }

  /** Runs a statement over a new connection. */
  async query<T>(sql: string, database = 'test'): Promise<T> {
    const dataSource = await new DataSource(optionsOf(this.port, {}, database)).initialize();
    try {
      return await dataSource.query<T>(sql);
    } finally {
      await dataSource.destroy();
    }
  }

  /** Waits until the standby has everything that this server has committed. */
  async caughtUp(): Promise<void> {
    const sql = 'SELECT count(*) AS n FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()';
    while (Number((await this.query<[{ n: string }]>(sql))[0].n) === 0) await sleep(50);
  }

  /** Cuts this standby off from its primary, and settles once the primary knows it. */
  async cutOff(primary: PostgresServer): Promise<void> {
    await this.query(`ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'`);
    await this.query('SELECT pg_reload_conf()');
    const sql = 'SELECT count(*) AS n FROM pg_stat_replication';
    while (Number((await primary.query<[{ n: string }]>(sql))[0].n) > 0) await sleep(50);
  }

  /** Makes this standby the primary. */
  async promote(): Promise<void> {
    await this.query('SELECT pg_promote(true, 60)');
  }

  /** Ends the server as a crash does. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    // The first line is the id of its process. `runuser` does not pass on every signal.
    process.kill(Number(readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n')[0]), 'SIGQUIT');
    while (child.exitCode === null && child.signalCode === null) await sleep(20);
  }

  private async start(): Promise<void> {
    const settings = ['-p', `${this.port}`, '-k', this.data, '-c', 'listen_addresses=127.0.0.1'];
    const command = asPostgres(postgresProgram('postgres'), ['-D', this.data, ...settings]);
    this.child = spawn(...command, { stdio: 'ignore' });
    const giveUp = performance.now() + START_LIMIT;
    for (;;) {
      const answers = this.query('SELECT 1', 'postgres').then(
        () => true,
        () => false,
      );
      if (await answers) return;
      if (performance.now() > giveUp) throw new Error(`the server in ${this.data} did not start`);
      await sleep(50);
    }
  }
}

/** A primary, and a standby that follows it asynchronously. */
export interface PostgresPair {
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  /** Ends both servers, and deletes their data. */
  remove(): Promise<void>;
}

/** Starts a pair with its data in a temporary folder. */
export async function startPair(): Promise<PostgresPair> {
  const folder = await newFolder();
  const primary = await PostgresServer.primary(folder);
  const standby = await primary.standby(folder);
  return {
    primary,
    standby,
    remove: async () => {
      await Promise.all([primary.kill(), standby.kill()]);
      rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
    },
  };
}

/** Makes a temporary folder that the servers may write. */
export async function newFolder(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'postgres-'));
  chmodSync(folder, 0o755);
  if (process.getuid?.() === 0) await run('chown', ['postgres:', folder]);
  return folder;
}

/** Returns how a client connects to a server, or to a proxy in front of it. */
export function optionsOf(
  port: number,
  more: { poolSize?: number; extra?: object } = {},
  database = 'test',
): DataSourceOptions & { url: string } {
  return { type: 'postgres', url: `postgres://postgres@127.0.0.1:${port}/${database}`, ...more };
}
