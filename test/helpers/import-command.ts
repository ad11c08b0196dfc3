import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import { createDatabase, type DatabaseName } from './databases.js';
import { watch } from './log-watch.js';
import { openOldDatabase } from './old-systems.js';

/* Runs the command `nestjs-multisession import` as a process of its own. */

export const SESSIONS = 'simplejwt_multisessions_authenticationsession';
const CONFIG = {
  jwt: { accessTokenLifetime: '5m' },
  path: 'api/',
  devices: true,
  management: false,
  policies: { SHORT: { refreshTokenLifetime: '10y' }, LONG: { refreshTokenLifetime: '20y' } },
};

/** What a test has opened, to be closed after it. */
export const opened: (() => Promise<unknown>)[] = [];

/** How a process of the command ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** A process of the real command. */
export class Command {
  private out = '';
  private err = '';
  readonly ended: Promise<Ended>;

  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    child.stdout.on('data', (chunk) => (this.out += String(chunk)));
    child.stderr.on('data', (chunk) => (this.err += String(chunk)));
    watch.log('nestjs-multisession', () => this.err);
    this.ended = once(child, 'close').then(([code, signal]) => ({ code, signal, out: this.out, err: this.err }));
  }

  static run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Command {
    const { PATH = '' } = process.env;
    return new Command(
      spawn(process.execPath, ['dist/cli/main.js', ...args], { env: { PATH, NO_COLOR: '1', ...env } }),
    );
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }
}

/** Creates the new database with its tables. */
export async function openTarget(name: DatabaseName): Promise<{ url: string; dataSource: DataSource }> {
  const database = await createDatabase(name);
  opened.push(() => database.drop());
  const folder = await mkdtemp(join(tmpdir(), 'import-'));
  opened.push(() => rm(folder, { recursive: true }));
  const url = name === 'sqlite' ? join(folder, 'new.sqlite') : (database.options as { url: string }).url;
  const options = name === 'sqlite' ? { type: 'better-sqlite3' as const, database: url } : database.options;
  const dataSource = new DataSource({ ...options, entities: [...MULTI_SESSION_ENTITIES], synchronize: true });
  await dataSource.initialize();
  opened.push(() => dataSource.destroy());
  return { url, dataSource };
}

export async function openOld(more = 0): Promise<string> {
  const old = await openOldDatabase('simplejwt-multisessions');
  opened.push(() => old.drop());
  if (more > 0) {
    await old.run(
      `INSERT INTO ${SESSIONS} (session_id, session, refresh, expiresAt, createdAt, lastUpdateDate, info, user_id)
       WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${more})
       SELECT 'more-' || n, 1, 'e30.' || ${PAYLOAD} || '.c2lnbmF0dXJl', '2036-11-25 13:28:59', '2026-08-10 10:49:41', '2026-08-11 10:49:41',
         'another', 1 + n % 30
       FROM numbers`,
    );
  }
  return old.url;
}

/** Runs a statement on an SQLite file. */
export async function runOn(file: string, sql: string): Promise<void> {
  const dataSource = await new DataSource({ type: 'better-sqlite3', database: file }).initialize();
  await dataSource.query(sql);
  await dataSource.destroy();
}

/**
 * An SQL expression for the base64 of the claims of a token whose `jti` is made of the digits of `n`. SQLite has no base64, but
 * three characters are always four letters, so each digit between two hyphens is one of ten texts.
 */
const PAYLOAD = (() => {
  const start = Buffer.from('{"exp":2111232539,  "jti":"').toString('base64');
  const digits = Array.from({ length: 10 }, (_, digit) => Buffer.from(`-${digit}-`).toString('base64')).join('');
  const place = (at: number) => `substr('${digits}', 1 + 4 * ((n / ${10 ** at}) % 10), 4)`;
  const end = Buffer.from('"}').toString('base64');
  return `'${start}' || ${[5, 4, 3, 2, 1, 0].map(place).join(' || ')} || '${end}'`;
})();

export async function configFile(content: string = JSON.stringify(CONFIG)): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'import-'));
  opened.push(() => rm(folder, { recursive: true }));
  const path = join(folder, 'sessions.json');
  await writeFile(path, content);
  return path;
}

/** Returns a number of the table of results. A line that is absent counts as 0. */
export const counted = ({ out }: Ended, line: string) =>
  Number((new RegExp(`^${line} +([\\d,]+)$`, 'm').exec(out)?.[1] ?? '0').replaceAll(',', ''));

export const argumentsFor = async (from: string, to: string) => [
  'import',
  'simplejwt-multisessions',
  '--from',
  from,
  '--to',
  to,
  '--config',
  await configFile(),
];
