import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** Microseconds of processor time that a process has used. */
export const processorTime = (): number => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** A process of its own, so that what is measured shares no thread with what measures. It is asked one thing at a time. */
export class Child<Question, Answer> {
  private constructor(private readonly process: ChildProcess) {}

  /**
   * @param script beside this file, without its ending
   * @param flags for Node, beside those that this process was started with
   */
  static async start<Question, Answer>(
    script: string,
    args: readonly string[] = [],
    flags: readonly string[] = [],
  ): Promise<Child<Question, Answer>> {
    const child = fork(new URL(`./${script}.js`, import.meta.url), [...args], {
      execArgv: [...process.execArgv, ...flags],
      env: { ...process.env, NODE_ENV: 'production', NO_COLOR: '1' },
    });
    await once(child, 'spawn');
    return new Child(child);
  }

  /** @throws where the child says that it failed, or ends */
  async ask(question: Question): Promise<Answer> {
    const ended = new AbortController();
    const onExit = (code: number | null) => ended.abort(new Error(`the process ended with ${code}`));
    this.process.once('exit', onExit);
    try {
      this.process.send(question as object);
      const [reply] = (await once(this.process, 'message', { signal: ended.signal })) as [Reply<Answer>];
      if ('failure' in reply) throw new Error(reply.failure);
      return reply.answer;
    } catch (error) {
      throw ended.signal.aborted ? ended.signal.reason : error;
    } finally {
      this.process.off('exit', onExit);
    }
  }

  async stop(): Promise<void> {
    if (this.process.exitCode !== null) return;
    this.process.disconnect();
    await once(this.process, 'exit');
  }
}

type Reply<Answer> = { answer: Answer } | { failure: string };

/** The child's side: answers each question of its parent, and ends when the parent has gone. */
export function answerParent<Question, Answer>(
  answer: (question: Question) => Promise<Answer>,
  close: () => Promise<void> = () => Promise.resolve(),
): void {
  process.on('message', (question: Question) => {
    answer(question).then(
      (given) => process.send?.({ answer: given } satisfies Reply<Answer>),
      (error: unknown) => process.send?.({ failure: String((error as Error).stack) } satisfies Reply<Answer>),
    );
  });
  const end = () => {
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  };
  // The parent may have gone before there was anybody to hear of it.
  if (process.connected) process.on('disconnect', end);
  else end();
}
