import { type ChildProcess, execFile, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { watch } from './log-watch.js';

const MAIN = 'dist-app/main.js';
/** The secrets of all processes that a test starts, unless it names others. */
const SAMPLE_SIGNING_SECRET = 'a signing secret of the sample application';
export const SAMPLE_SECRET_KEY = 'the secret key of the sample application';
/** The body of a login of the demonstration's first user. */
export const ALICE = {
  username: 'alice',
  password: 'alice-demo-password',
  secret_key: SAMPLE_SECRET_KEY,
  session: 'LONG',
  info: 'a test',
};
/** The two lines that a start prints on purpose, with the public password of the demo user. */
const LOGIN_OF_DEMO = /^(Demo user:| +curl ).*$/gm;

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the curl line that a start printed, in a shell that knows the secret key. */
export async function runPrintedCurl(printed: string, secretKey = SAMPLE_SECRET_KEY): Promise<any> {
  const line = printed.split('\n').find((text) => text.trim().startsWith('curl '));
  const { stdout } = await promisify(execFile)('sh', ['-c', `${line} --silent --show-error`], {
    env: { ...process.env, SESSION_SECRET_KEY: secretKey },
  });
  return JSON.parse(stdout);
}

/** Posts JSON. */
type Post = (path: string, body: unknown, headers?: Record<string, string>) => Promise<{ status: number; body: any }>;

function poster(url: string): Post {
  return async (path, body, headers) => {
    const response = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  };
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
  readonly post: Post;
  /** Sends SIGTERM. A process that does not end within 15 s is killed, and its code is null. */
  stop(): Promise<Ended>;
}

function variablesOf(environment: Record<string, string>) {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} does not exist. Run: npm run build && npm run build:app`);
  const secrets = { JWT_SECRET: SAMPLE_SIGNING_SECRET, SESSION_SECRET_KEY: SAMPLE_SECRET_KEY };
  return { PORT: '0', ...secrets, ...environment };
}

function spawnSampleApp(environment: Record<string, string>) {
  const env = { PATH: process.env.PATH ?? '', ...variablesOf(environment) };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const printed = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (printed.stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (printed.stderr += String(chunk)));
  watch.secret('signing key', env.JWT_SECRET);
  watch.secret('secret key', env.SESSION_SECRET_KEY);
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
      const [, url] = /listens on (https?:\S+),[^]*\n$/.exec(printed.stdout) ?? [];
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
    post: poster(url),
    stop: () => {
      child.kill('SIGTERM');
      const killer = setTimeout(() => child.kill('SIGKILL'), 15_000);
      return ended.finally(() => clearTimeout(killer));
    },
  };
}

/** The built sample application in a process that it shares with others. */
export interface HostedApp {
  readonly url: string;
  /** What a start prints. */
  readonly announcement: string;
  readonly post: Post;
  stop(): Promise<void>;
}

/** See `sample-app-host.mjs`. */
interface HostRequest {
  readonly id: number;
  readonly start?: Readonly<Record<string, string>>;
  readonly stop?: true;
}

interface HostAnswer {
  readonly id: number;
  readonly url: string;
  readonly announcement: string;
  readonly refusal?: string;
  readonly error?: string;
}

/**
 * A process that runs any number of sample applications. A start takes much less time in it than in a process of its own.
 * Applications in it share the classes, so all must have the same path and the same kind of OpenAPI document.
 */
export class SampleAppHost {
  private readonly child: ChildProcess;
  private readonly running = new Set<HostedApp>();
  private readonly waiting = new Map<number, (answer: HostAnswer) => void>();
  private lastId = 0;

  private constructor() {
    this.child = fork('test/helpers/sample-app-host.mjs', { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], execArgv: [] });
    let printed = '';
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (chunk) => (printed += String(chunk)));
    watch.log('sample applications', () => printed);
    const failed = (code: number | null) => {
      for (const [id, answer] of this.waiting)
        answer({
          id,
          url: '',
          announcement: '',
          error: `the host of the sample applications exited: ${code}\n${printed}`,
        });
    };
    this.child.on('exit', failed);
    this.child.on('message', (answer: HostAnswer) => {
      this.waiting.get(answer.id)?.(answer);
      this.waiting.delete(answer.id);
    });
  }

  static async start(): Promise<SampleAppHost> {
    variablesOf({});
    const host = new SampleAppHost();
    const [first] = (await Promise.race([once(host.child, 'message'), once(host.child, 'exit')])) as [unknown];
    if (first !== 'ready') throw new Error(`the host of the sample applications exited with code ${String(first)}`);
    return host;
  }

  /** Starts an application with these variables on a free port. */
  async app(environment: Record<string, string> = {}): Promise<HostedApp> {
    const { id, url, announcement, refusal } = await this.begin(environment);
    if (refusal !== undefined) throw new Error(refusal);
    watch.log('sample application', () => announcement.replaceAll(LOGIN_OF_DEMO, ''));
    const app: HostedApp = {
      url,
      announcement,
      post: poster(url),
      stop: async () => {
        this.running.delete(app);
        await this.ask({ id, stop: true });
      },
    };
    this.running.add(app);
    return app;
  }

  /** Returns the message with which the application refuses to start. */
  async refusal(environment: Record<string, string>): Promise<string> {
    const { refusal } = await this.begin(environment);
    if (refusal === undefined) throw new Error('the sample application started');
    return refusal;
  }

  /** Stops all applications and the process. */
  async stop(): Promise<void> {
    await Promise.all([...this.running].map((app) => app.stop()));
    const ended = once(this.child, 'exit');
    this.child.disconnect();
    await ended;
  }

  private begin(environment: Record<string, string>): Promise<HostAnswer> {
    const variables = variablesOf(environment);
    watch.secret('signing key', variables.JWT_SECRET);
    watch.secret('secret key', variables.SESSION_SECRET_KEY);
    return this.ask({ id: ++this.lastId, start: variables });
  }

  private async ask(request: HostRequest): Promise<HostAnswer> {
    const answer = await new Promise<HostAnswer>((resolve) => {
      this.waiting.set(request.id, resolve);
      this.child.send(request);
    });
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }
}
