import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** CPU time that this process has used, in microseconds. */
export const processorTime = (): number => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** A child process, so that the measured code and the measuring code share no thread. It answers one question at a time. */
export class Child<Question, Answer> {
  private constructor(private readonly process: ChildProcess) {}

  /**
   * Starts a child process.
   * @param script the name of a script in this folder, without its extension
   * @param args the arguments of the script
   * @param flags additional flags for Node; the child also gets the flags of this process
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

  /**
   * Asks the child one question.
   * @throws Error if the child reports a failure or exits
   */
  async ask(question: Question): Promise<Answer> {
    const ended = new AbortController();
    const onExit = (code: number | null) => ended.abort(new Error(`the child process exited with code ${code}`));
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

/** The child's side: answers the parent's questions, and exits when the parent is gone. */
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
  // The parent may have exited before this listener could be added.
  if (process.connected) process.on('disconnect', end);
  else end();
}
