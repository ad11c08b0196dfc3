import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { DataSourceOptions } from 'typeorm';

/** What a victim does: the same names as in `victim.mjs`. */
export type Work =
  | { operation: 'login'; userId: string }
  | { operation: 'refresh' | 'logout'; token: string }
  | { operation: 'destroyAllOther'; userId: string; kept: string }
  | { operation: 'cleanup' };

/** Processes that have started and wait, so that the wait for the start of one is spent in the work of another. */
export class Victims {
  private readonly waiting: Promise<ChildProcess>[] = [];
  private stopped = false;

  /** @param options of the module, which must fit into JSON */
  constructor(
    private readonly database: DataSourceOptions,
    private readonly options: object,
    ready = 2,
  ) {
    for (let at = 0; at < ready; at++) this.waiting.push(this.start());
  }

  /**
   * Has one do the work and kill itself before its n-th statement.
   * @returns the statements that it sent, where it had done all of it before; undefined where it was killed
   */
  async kill(work: Work, killBefore: number): Promise<string[] | undefined> {
    const next = this.waiting.shift() ?? this.start();
    if (!this.stopped) this.waiting.push(this.start());
    const victim = await next;
    const ended = once(victim, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    const told = new Promise<string[] | undefined>((resolve) =>
      victim.once('message', ({ statements }: { statements: string[] }) => resolve(statements)),
    );
    victim.send({ ...work, killBefore });
    const [code, signal] = await ended;
    if (signal === 'SIGKILL') return undefined;
    if (code !== 0) throw new Error(`${work.operation}: the process ended with ${code}`);
    return told;
  }

  /** Ends those that wait. */
  async stop(): Promise<void> {
    this.stopped = true;
    for (const victim of await Promise.all(this.waiting)) victim.kill('SIGKILL');
  }

  private async start(): Promise<ChildProcess> {
    const { PATH = '' } = process.env;
    const env = { PATH, VICTIM: JSON.stringify({ database: this.database, options: this.options }) };
    const victim = fork('test/faults/victim.mjs', { env, execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const ended = once(victim, 'close').then(() => {
      throw new Error('a process ended before it began');
    });
    await Promise.race([once(victim, 'message'), ended]);
    ended.catch(() => undefined);
    return victim;
  }
}
