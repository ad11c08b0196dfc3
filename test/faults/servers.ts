import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { freePort } from '../helpers/free-port.js';

const run = promisify(execFile);
const START_LIMIT = 60_000;

/** How a server stops: in order, but without waiting for its clients (`fast`), or as in a crash (`immediate`, `kill`). */
export type Stop = 'fast' | 'immediate' | 'kill';
export type ServerName = 'postgres' | 'mariadb';

/** A database server that belongs to one suite, with its data in a temporary folder. */
export interface OwnServer {
  readonly options: DataSourceOptions & { url: string };
  /** Starts the server. Settles once it accepts statements. */
  start(): Promise<void>;
  /** Stops the server. Settles once its process has ended. */
  stop(how: Stop): Promise<void>;
  /** Stops the server and deletes its folder. */
  remove(): Promise<void>;
}

interface Program {
  prepare(): Promise<unknown>;
  launch(): ChildProcess;
  readonly signals: Record<Stop, NodeJS.Signals>;
  readonly pidFile: string;
}

/** Creates and starts a server on a free port, with an empty database `faults`. */
export async function startServer(name: ServerName): Promise<OwnServer> {
  const [folder, port] = [mkdtempSync(join(tmpdir(), `${name}-`)), await freePort()];
  chmodSync(folder, 0o755);
  const data = join(folder, 'data');
  const program = name === 'postgres' ? postgres(data, port) : mariadb(data, port);
  mkdirSync(data);
  if (isRoot) await run('chown', [`${USERS[name]}:`, data]);
  await program.prepare();
  const user = name === 'postgres' ? 'postgres' : 'root';
  const url = (database: string) => `${name}://${user}@127.0.0.1:${port}/${database}`;
  const administration = { type: name, url: url(name === 'postgres' ? 'postgres' : 'mysql') } as DataSourceOptions;
  let child: ChildProcess | undefined;
  const isRunning = () => child?.exitCode === null && child.signalCode === null;
  const start = async () => {
    const giveUp = performance.now() + START_LIMIT;
    while (performance.now() < giveUp) {
      // Processes that outlive a killed server can make the first attempts fail.
      if (!isRunning()) child = program.launch();
      if (await answers(administration)) return;
      await sleep(100);
    }
    throw new Error(`${name} did not start within ${START_LIMIT} ms`);
  };
  const stop = async (how: Stop) => {
    if (!isRunning()) return;
    process.kill(Number(readFileSync(program.pidFile, 'utf8').split('\n')[0]), program.signals[how]);
    while (isRunning()) await sleep(20);
  };
  await start();
  await query(administration, 'CREATE DATABASE faults');
  return {
    options: { type: name, url: url('faults') } as OwnServer['options'],
    start,
    stop,
    remove: async () => {
      await stop('immediate');
      // Its last process may still be writing.
      rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
    },
  };
}

/** Runs one statement over a new connection. */
export async function query<T>(options: DataSourceOptions, sql: string): Promise<T> {
  const dataSource = await new DataSource(options).initialize();
  try {
    return await dataSource.query<T>(sql);
  } finally {
    await dataSource.destroy();
  }
}

const isRoot = process.getuid?.() === 0;
const USERS: Record<ServerName, string> = { postgres: 'postgres', mariadb: 'mysql' };

/** Makes the command run as the server's own user if this is root, as which a database server refuses to run. */
function as(name: ServerName, command: string, args: string[]): [string, string[]] {
  return isRoot ? ['runuser', ['-u', USERS[name], '--', command, ...args]] : [command, args];
}

/** Makes the command run as the user `postgres` if this is root. */
export const asPostgres = (command: string, args: string[]) => as('postgres', command, args);

/** Returns the path of a program of PostgreSQL. */
export const postgresProgram = (program: string) => join(postgresFolder(), program);

function postgres(data: string, port: number): Program {
  const args = ['-D', data, '-p', `${port}`, '-k', data, '-c', 'listen_addresses=127.0.0.1', '-c', 'fsync=off'];
  return {
    prepare: () =>
      run(
        ...as('postgres', postgresProgram('initdb'), [
          '-D',
          data,
          '-U',
          'postgres',
          '--auth=trust',
          '--encoding=UTF8',
          '-N',
        ]),
      ),
    launch: () => launch(...as('postgres', postgresProgram('postgres'), args)),
    signals: { fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' },
    pidFile: join(data, 'postmaster.pid'),
  };
}

function postgresFolder(): string {
  const all = '/usr/lib/postgresql';
  const versions = existsSync(all) ? readdirSync(all).sort((a, b) => Number(a) - Number(b)) : [];
  return versions.length > 0 ? join(all, versions[versions.length - 1], 'bin') : '';
}

function mariadb(data: string, port: number): Program {
  const pidFile = join(data, 'pid');
  const own = ['--no-defaults', `--datadir=${data}`];
  const server = [`--socket=${data}/socket`, `--pid-file=${pidFile}`, `--port=${port}`, '--bind-address=127.0.0.1'];
  // This shows the locks of GET_LOCK in performance_schema.
  const instruments = ['--performance-schema=ON', '--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON'];
  const program = existsSync('/usr/sbin/mariadbd') ? '/usr/sbin/mariadbd' : 'mariadbd';
  return {
    prepare: () =>
      run(
        ...as('mariadb', 'mariadb-install-db', [...own, '--auth-root-authentication-method=normal', '--skip-test-db']),
      ),
    launch: () =>
      launch(...as('mariadb', program, [...own, ...server, ...instruments, '--innodb-flush-log-at-trx-commit=2'])),
    signals: { fast: 'SIGTERM', immediate: 'SIGKILL', kill: 'SIGKILL' },
    pidFile,
  };
}

function launch(command: string, args: string[]): ChildProcess {
  return spawn(command, args, { stdio: 'ignore' });
}

async function answers(options: DataSourceOptions): Promise<boolean> {
  return query(options, 'SELECT 1').then(
    () => true,
    () => false,
  );
}
