import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { optionsOf } from './postgres-pair.js';
import { freePort } from '../helpers/free-port.js';

const PROGRAM = '/usr/sbin/pgbouncer';
const START_LIMIT = 30_000;

/** A PgBouncer in front of a server. */
export interface PgBouncer {
  readonly port: number;
  stop(): Promise<void>;
}

/**
 * Starts PgBouncer.
 * @param folder where it may write
 * @param target the port of the server
 * @param more further lines of its configuration
 * @throws if Debian's package `pgbouncer` is not installed
 */
export async function startPgBouncer(
  folder: string,
  target: number,
  mode: 'transaction' | 'session',
  more: readonly string[] = [],
): Promise<PgBouncer> {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} does not exist. Install pgbouncer.`);
  const port = await freePort();
  const file = join(folder, `${mode}-${port}.ini`);
  const settings = [
    '[databases]',
    `* = host=127.0.0.1 port=${target}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'max_client_conn = 500',
    `pool_mode = ${mode}`,
    ...more,
  ];
  // With `auth_type = any`, PgBouncer logs in as the user of the database entry.
  settings[1] += ' user=postgres';
  writeFileSync(file, settings.join('\n'));
  const asUser = process.getuid?.() === 0 ? ['-u', 'postgres'] : [];
  const child: ChildProcess = spawn(PROGRAM, ['-q', ...asUser, file], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  const giveUp = performance.now() + START_LIMIT;
  while (!(await answers(port))) {
    if (performance.now() > giveUp || child.exitCode !== null) {
      await stop();
      throw new Error(`PgBouncer did not start with ${file}`);
    }
    await sleep(50);
  }
  return { port, stop };
}

async function answers(port: number): Promise<boolean> {
  try {
    const dataSource = await new DataSource(optionsOf(port)).initialize();
    await dataSource.destroy();
    return true;
  } catch {
    return false;
  }
}
