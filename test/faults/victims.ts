import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { DataSourceOptions } from 'typeorm';

/** What a victim can do. The names are those of `victim.mjs`. */
export type Work =
  | { operation: 'login'; userId: string }
  | { operation: 'refresh' | 'logout'; token: string }
  | { operation: 'destroyAllOther'; userId: string; kept: string }
  | { operation: 'adminDestroy'; sessionId: string }
  | { operation: 'adminDestroyAll'; userId: string }
  | { operation: 'signal'; token: string }
  | { operation: 'cleanup' };

/** Processes that can be killed at work. Some are started ahead, since a start takes longer than the work. */
export class Victims {
  private readonly waiting: Promise<ChildProcess>[] = [];
  private stopped = false;

  /**
   * @param options the module's options, as JSON allows
   * @param ready how many processes to start ahead
   */
  constructor(
    private readonly database: DataSourceOptions,
    private readonly options: object,
    ready = 2,
  ) {
    for (let at = 0; at < ready; at++) this.waiting.push(this.start());
  }

  /**
   * Lets a process do the work, and kill itself before one of its statements.
   * @param killBefore the number of that statement, from 1
   * @returns undefined if the process was killed, or the statements that it sent if it finished its work first
   */
  async kill(work: Work, killBefore: number): Promise<string[] | undefined> {
    const next = this.waiting.shift() ?? this.start();
    if (!this.stopped) this.waiting.push(this.start());
    const victim = await next;
    const ended = once(victim, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    const finished = new Promise<string[] | undefined>((resolve) =>
      victim.once('message', ({ statements }: { statements: string[] }) => resolve(statements)),
    );
    victim.send({ ...work, killBefore });
    const [code, signal] = await ended;
    if (signal === 'SIGKILL') return undefined;
    if (code !== 0) throw new Error(`the process for ${work.operation} exited with code ${code}`);
    return finished;
  }

  /** Kills the processes that were started ahead. */
  async stop(): Promise<void> {
    this.stopped = true;
    for (const victim of await Promise.all(this.waiting)) victim.kill('SIGKILL');
  }

  private async start(): Promise<ChildProcess> {
    const { PATH = '' } = process.env;
    const env = { PATH, VICTIM: JSON.stringify({ database: this.database, options: this.options }) };
    const victim = fork('test/faults/victim.mjs', { env, execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const ended = once(victim, 'close').then(() => {
      throw new Error('a process exited before it was ready');
    });
    await Promise.race([once(victim, 'message'), ended]);
    ended.catch(() => undefined);
    return victim;
  }
}
