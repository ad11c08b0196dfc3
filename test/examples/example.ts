import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../helpers/free-port.js';

const run = promisify(execFile);
/** A build prints much. */
const MAX_OUTPUT = 50_000_000;
/** How long an example may take to answer its first request, in milliseconds. */
const START_LIMIT = 60_000;

/** The variables of each process. The frameworks must not report anything to their makers. */
const QUIET = {
  PATH: process.env.PATH ?? '',
  HOME: process.env.HOME ?? '',
  CI: 'true',
  NEXT_TELEMETRY_DISABLED: '1',
  NUXT_TELEMETRY_DISABLED: '1',
  npm_config_audit: 'false',
  npm_config_fund: 'false',
  npm_config_update_notifier: 'false',
};

/** A running example. */
export interface Example {
  readonly url: string;
  /** What it has printed. */
  readonly output: () => string;
  stop(): Promise<void>;
}

/** Copies of the examples, in which the packed client is installed. */
export class Examples {
  private readonly folder = mkdtempSync(join(tmpdir(), 'examples-'));
  private tarball = '';

  /** Packs the client as it would be published, unless that has been done: packing builds it, which disturbs other tests. */
  async pack(): Promise<void> {
    this.tarball = process.env.TEST_CLIENT_TARBALL ?? '';
    if (this.tarball) return;
    await run('npm', ['pack', '--workspace', 'client', '--pack-destination', this.folder], { env: this.environment() });
    this.tarball = join(this.folder, readdirSync(this.folder).find((name) => name.endsWith('.tgz')) as string);
  }

  /**
   * Installs, builds and starts an example.
   * @param variables of its environment
   */
  async start(name: string, variables: Record<string, string>): Promise<Example> {
    const cwd = join(this.folder, name);
    mkdirSync(cwd, { recursive: true });
    cpSync(join('examples', name), cwd, {
      recursive: true,
      filter: (path) => !/node_modules|\.next|\.nuxt|\.output|\.svelte-kit/.test(path),
    });
    const port = String(await freePort());
    const env = { ...this.environment(), ...variables, PORT: port, NITRO_PORT: port };
    const npm = (...given: string[]) => run('npm', given, { cwd, env, maxBuffer: MAX_OUTPUT });
    await npm('install', '--no-save', '--no-package-lock', '--omit=dev', this.tarball);
    await npm('run', '--if-present', 'build');
    const child = spawn('npm', ['start'], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    child.stdout.on('data', (chunk) => (output += String(chunk)));
    child.stderr.on('data', (chunk) => (output += String(chunk)));
    const closed = once(child, 'close');
    const url = `http://localhost:${port}`;
    const stop = async () => {
      // The whole group: npm starts the server in a process of its own.
      if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
      await closed;
    };
    try {
      await untilAnswered(`${url}/login`, () => {
        if (child.exitCode !== null) throw new Error(`the example ${name} has ended:\n${output}`);
      });
    } catch (error) {
      await stop();
      throw error;
    }
    return { url, output: () => output, stop };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  private environment() {
    return QUIET;
  }
}

async function untilAnswered(url: string, check: () => void): Promise<void> {
  for (const since = Date.now(); ; await sleep(100)) {
    check();
    const isUp = await fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isUp) return;
    if (Date.now() - since > START_LIMIT) throw new Error(`${url} did not answer within ${START_LIMIT} ms`);
  }
}
