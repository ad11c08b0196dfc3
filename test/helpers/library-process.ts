import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { DataSourceOptions } from 'typeorm';
import { watch } from './log-watch.js';

/** A session with its tokens, as a process hands it out. */
export interface Issued {
  readonly sessionId: string;
  readonly access: string;
  /** Absent if the client keeps the token that it has. */
  readonly refresh?: string;
}

/** An event that a process has emitted. */
export interface Emitted {
  readonly name: string;
  readonly sessionId: string;
  /** Why the session ended. */
  readonly reason?: string;
}

/** A session in a list. */
export interface Listed {
  readonly id: string;
  readonly type: string;
  readonly data: unknown;
  readonly claims: unknown;
}

/** The properties of a session that a test sets at login. */
interface Opened {
  readonly user: string;
  readonly type: string;
  readonly data?: object;
  readonly claims?: object;
  readonly client?: { readonly userAgent?: string; readonly ipAddress?: string; readonly deviceName?: string };
}

/** What a process knows about its sockets. */
export interface SocketStatistics {
  /** Messages that were handled, and those of them whose session had ended as far as the process knew. */
  readonly handled: number;
  readonly handledAfterEnd: number;
  readonly refused: number;
  /** The open connections that the library knows, and all sockets of the server. */
  readonly size: number;
  readonly sockets: number;
  /** In bytes. */
  readonly heap: number;
}

/** The progress of the job that ends all sessions. */
interface Progress {
  readonly status: 'running' | 'waiting' | 'done';
  readonly ended: number;
}

/** What a process can do, with the arguments and the result of each call. The calls are those of `library-child.mjs`. */
interface Calls {
  /** @param hold the authenticator waits until the test releases this name; see `held` */
  login(given: Opened & { hold?: string }): Issued;
  release(given: { hold: string }): null;
  create(given: Opened): Issued;
  /** @param delay milliseconds between the commit and `issue` */
  prepare(given: Pick<Opened, 'user' | 'type'> & { delay?: number }): Issued;
  refresh(given: { refresh: string; type?: string }): Issued;
  verify(given: { access: string }): Record<string, unknown>;
  list(given: { user: string }): Listed[];
  getData(given: { sessionId: string }): unknown;
  mergeData(given: { sessionId: string; patch: object }): unknown;
  reauthenticate(given: { access: string; user: string; hold?: string }): Issued;
  logout(given: { refresh: string }): null;
  destroy(given: { sessionId: string }): null;
  destroyAll(given: { user: string; type?: string; except?: string }): number;
  destroyOthers(given: { user: string; sessionId: string }): number;
  endAll(given: object): Progress;
  endAllProgress(given: object): Progress | null;
  cleanup(given: object): unknown;
  query(given: { sql: string; parameters?: unknown[] }): any;
  takeEvents(given: object): Emitted[];
  /** Opens a server of sockets: see `socket-server.mjs`. Returns its port. */
  listen(given: object): number;
  statistics(given: { withMemory?: boolean }): SocketStatistics;
  stop(given: object): null;
}

/** How a call ended: `status` is that of the HTTP answer, and 500 for an error that is not the library's. */
export type CallAnswer<R> =
  | { readonly status: 200; readonly body: R }
  | { readonly status: number; readonly body: { readonly code: string; readonly message: string } };

export interface LibraryProcessOptions {
  /** The folder that has the build in `dist/`. Default: this project. */
  readonly build?: string;
  readonly database: DataSourceOptions;
  /** The module's options, as JSON allows. */
  readonly options: object;
  /** The servers of a push over Redis, and how its client connects to them. Default: no such push. */
  readonly redis?: {
    readonly kind: 'plain' | 'sentinel' | 'cluster';
    readonly ports: readonly number[];
    /** Of the master that sentinels watch. */
    readonly name?: string;
    readonly channel: string;
  };
  /** Whether it runs the migrations of its build first. Default: false. */
  readonly migrate?: boolean;
}

/** A process that uses a build of the library. */
export class LibraryProcess {
  private readonly waiting = new Map<number, (answer: CallAnswer<any>) => void>();
  private readonly holding = new Map<string, () => void>();
  private calls = 0;
  private stderr = '';
  private stdout = '';
  private readonly ended: Promise<unknown>;

  private constructor(private readonly child: ChildProcess) {
    child.stderr?.on('data', (chunk) => (this.stderr += String(chunk)));
    child.stdout?.on('data', (chunk) => (this.stdout += String(chunk)));
    watch.log('library process', () => this.stderr + this.stdout);
    child.on('message', (message: { held?: string; id: number } & CallAnswer<any>) => {
      if (message.held === undefined) this.waiting.get(message.id)?.(message);
      else this.holding.get(message.held)?.();
    });
    this.ended = once(child, 'close').then(() => {
      const body = { code: 'process_ended', message: 'the process has ended' };
      for (const answer of this.waiting.values()) answer({ status: 599, body });
    });
  }

  /**
   * Starts a process.
   * @throws with what it printed, if it does not start
   */
  static async start({
    build = process.cwd(),
    migrate = false,
    ...rest
  }: LibraryProcessOptions): Promise<LibraryProcess> {
    const { PATH = '' } = process.env;
    const env = { PATH, NO_COLOR: '1', LIBRARY_PROCESS: JSON.stringify({ build, migrate, ...rest }) };
    const stdio = ['ignore', 'pipe', 'pipe', 'ipc'] as ['ignore', 'pipe', 'pipe', 'ipc'];
    const child = fork('test/helpers/library-child.mjs', { env, execArgv: [], stdio });
    const started = new LibraryProcess(child);
    const failed = started.ended.then(() => {
      throw new Error(`a process of the library did not start:\n${started.stderr}`);
    });
    await Promise.race([once(child, 'message'), failed]);
    failed.catch(() => undefined);
    return started;
  }

  /** Asks the process to do something. Never throws: a refusal is an answer. */
  ask<C extends keyof Calls>(call: C, given: Parameters<Calls[C]>[0]): Promise<CallAnswer<ReturnType<Calls[C]>>> {
    const id = this.calls++;
    return new Promise<CallAnswer<ReturnType<Calls[C]>>>((resolve) => {
      this.waiting.set(id, resolve);
      this.child.send({ id, call, given }, (error) => {
        if (error) resolve({ status: 599, body: { code: 'process_ended', message: error.message } });
      });
    }).finally(() => this.waiting.delete(id));
  }

  /**
   * Asks the process to do something that must succeed.
   * @throws if it does not
   */
  async do<C extends keyof Calls>(call: C, given: Parameters<Calls[C]>[0]): Promise<ReturnType<Calls[C]>> {
    const { status, body } = await this.ask(call, given);
    if (status !== 200) throw new Error(`${call}: ${status} ${JSON.stringify(body)}\n${this.stderr}`);
    return body as ReturnType<Calls[C]>;
  }

  /** Settles once a login with this `hold` has begun and waits in the authenticator. Call it before that login. */
  held(hold: string): Promise<void> {
    return new Promise<void>((resolve) => this.holding.set(hold, resolve)).finally(() => this.holding.delete(hold));
  }

  /** What the process has printed to its standard error. */
  get printed(): string {
    return this.stderr;
  }

  /** The warnings that the process has logged. */
  get warned(): string {
    return this.stdout;
  }

  /** Closes the application, and ends the process. */
  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.ask('stop', {});
    await this.kill();
  }

  /** Ends the process at once. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

/** The status of an answer, with its error code: `200`, `401 token_not_valid`. */
export function outcomeOf({ status, body }: CallAnswer<unknown>): string {
  return status === 200 ? '200' : `${status} ${(body as { code: string }).code}`;
}
