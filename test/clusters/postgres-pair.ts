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

  /**
   * Makes and starts a server, with an empty database `test`.
   * @param more lines for `postgresql.conf`
   */
  static async primary(folder: string, more: readonly string[] = []): Promise<PostgresServer> {
    const server = new PostgresServer(join(folder, 'primary'), await freePort());
    const options = ['-D', server.data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '-N'];
    await run(...asPostgres(postgresProgram('initdb'), options));
    const settings = ['wal_level = replica', 'max_wal_senders = 5', 'hot_standby = on', 'fsync = off'];
    // In the folder, because a server that is killed does not remove it.
    settings.push('dynamic_shared_memory_type = mmap', ...more);
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

  /** Makes every commit of this server wait until the standby has it. */
  async followSynchronously(): Promise<void> {
    await this.query(`ALTER SYSTEM SET synchronous_standby_names = 'standby'`);
    await this.query('SELECT pg_reload_conf()');
    const sql = `SELECT count(*) AS n FROM pg_stat_replication WHERE sync_state = 'sync'`;
    while (Number((await this.query<[{ n: string }]>(sql))[0].n) === 0) await sleep(50);
  }

  /** Counts the commits that wait for the standby. */
  async waitingCommits(): Promise<number> {
    const sql = `SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
    return Number((await this.query<[{ n: string }]>(sql))[0].n);
  }

  /** Stops all processes of the server. Its connections stay open, and it answers nothing. */
  async freeze(): Promise<void> {
    await this.signal('SIGSTOP');
  }

  /** Lets the processes of the server go on. */
  async thaw(): Promise<void> {
    await this.signal('SIGCONT');
    // `runuser` stops with the process that it runs.
    this.child?.kill('SIGCONT');
  }

  /** Makes this standby the primary. */
  async promote(): Promise<void> {
    await this.query('SELECT pg_promote(true, 60)');
  }

  /** Ends the server as a crash does. */
  async kill(): Promise<void> {
    if (!this.isRunning) return;
    process.kill(this.pid, 'SIGQUIT');
    await this.thaw();
    while (this.isRunning) await sleep(20);
  }

  /** Ends all processes of the server at once, as a loss of power does. */
  async killAll(): Promise<void> {
    // This segment of shared memory marks the folder as used. It outlives processes that are killed.
    const [, segment] = this.lockFile[6].trim().split(/\s+/);
    await this.signal('SIGKILL');
    while (this.isRunning) await sleep(20);
    await run('ipcrm', ['-m', segment]);
  }

  private get isRunning(): boolean {
    return this.child?.exitCode === null && this.child.signalCode === null;
  }

  /** The id of the server's first process. It is not that of `child`, because `runuser` does not pass on every signal. */
  get pid(): number {
    return Number(this.lockFile[0]);
  }

  private get lockFile(): string[] {
    return readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n');
  }

  /** Sends a signal to the first process of the server, and then to those that it has started. */
  private async signal(signal: NodeJS.Signals): Promise<void> {
    const { pid } = this;
    const { stdout } = await run('pgrep', ['-P', `${pid}`]).catch(() => ({ stdout: '' }));
    for (const one of [pid, ...stdout.split('\n').filter(Boolean).map(Number)]) {
      try {
        process.kill(one, signal);
      } catch {
        // This one has ended meanwhile.
      }
    }
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

/** A primary, and a standby that follows it: asynchronously, unless the primary is told otherwise. */
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
