import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { watch } from './log-watch.js';

const MAIN = 'dist-app/main.js';
/** The two lines that a start prints on purpose, with the demo user's password and the secret key. */
const LOGIN_OF_DEMO = /^(Demo user:| +curl ).*$/gm;

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The built sample application in its own process. */
export interface SampleApp {
  readonly child: ChildProcess;
  readonly url: string;
  /** What it has printed to its standard output. */
  readonly stdout: () => string;
  /** What it has printed to its standard error. */
  readonly stderr: () => string;
  readonly ended: Promise<Ended>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<{ status: number; body: any }>;
  /** Sends SIGTERM. A process that does not end within 15 s is killed, and its code is null. */
  stop(): Promise<Ended>;
}

function spawnSampleApp(environment: Record<string, string>) {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} does not exist. Run: npm run build && npm run build:app`);
  const env = { PATH: process.env.PATH ?? '', PORT: '0', ...environment };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const printed = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (printed.stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (printed.stderr += String(chunk)));
  watch.secret('signing key', environment.JWT_SECRET);
  watch.secret('secret key', environment.SESSION_SECRET_KEY);
  watch.log('sample application, stdout', () => printed.stdout.replaceAll(LOGIN_OF_DEMO, ''));
  watch.log('sample application, stderr', () => printed.stderr);
  const ended = once(child, 'close').then(([code]): Ended => ({ code: code as number | null, ...printed }));
  return { child, printed, ended };
}

/** Runs the application with variables with which it cannot start. */
export function runSampleApp(environment: Record<string, string>): Promise<Ended> {
  return spawnSampleApp(environment).ended;
}

/**
 * Starts the application on a free port.
 * @throws with what the application printed, if it does not start
 */
export async function startSampleApp(environment: Record<string, string> = {}): Promise<SampleApp> {
  const { child, printed, ended } = spawnSampleApp(environment);
  const listening = new Promise<string>((resolve) => {
    child.stdout.on('data', () => {
      // This is the last line of the announcement.
      const [, url] = /listens on (http:\S+),[^]*\n$/.exec(printed.stdout) ?? [];
      if (url) resolve(url);
    });
  });
  const failed = ended.then(({ code, stderr }) => {
    throw new Error(`the sample application exited with code ${code}:\n${stderr}`);
  });
  const url = await Promise.race([listening, failed]);
  failed.catch(() => undefined);
  return {
    child,
    url,
    stdout: () => printed.stdout,
    stderr: () => printed.stderr,
    ended,
    post: async (path, body, headers) => {
      const response = await fetch(url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
      return { status: response.status, body: await response.json() };
    },
    stop: () => {
      child.kill('SIGTERM');
      const killer = setTimeout(() => child.kill('SIGKILL'), 15_000);
      return ended.finally(() => clearTimeout(killer));
    },
  };
}
