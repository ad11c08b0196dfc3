import { Logger } from '@nestjs/common';

/** The rest after a failure of the database, in milliseconds. */
const REST = 1000;

/**
 * Repeats a step: at once while there is more to do, at once when somebody nudges, and else after an interval.
 */
export class Worker {
  private readonly logger = new Logger('MultiSession');
  private timer?: NodeJS.Timeout;
  private running?: Promise<void>;
  private isNudged = false;
  private isStopped = true;
  private hasFailed = false;

  /**
   * @param what names the work in logs
   * @param interval milliseconds from one idle step to the next
   * @param step returns whether there is more to do
   */
  constructor(
    private readonly what: string,
    private readonly interval: number,
    private readonly step: () => Promise<boolean>,
  ) {}

  start(): void {
    this.isStopped = false;
    this.nudge();
  }

  /** Runs the step soon. */
  nudge(): void {
    if (this.isStopped) return;
    this.isNudged = true;
    this.running ??= this.work().finally(() => (this.running = undefined));
  }

  /** Waits for the step that is under way, and runs no other. */
  async stop(): Promise<void> {
    this.isStopped = true;
    clearTimeout(this.timer);
    await this.running;
  }

  private async work(): Promise<void> {
    clearTimeout(this.timer);
    let rest = this.interval;
    try {
      while (this.isNudged && !this.isStopped) {
        this.isNudged = false;
        if (await this.step()) this.isNudged = true;
      }
      this.hasFailed = false;
    } catch (error) {
      rest = Math.max(REST, rest);
      // Log the first failure only: the database itself is already in the log.
      if (!this.hasFailed) this.logger.warn(`${this.what} failed and will be retried: ${(error as Error).message}`);
      this.hasFailed = true;
    }
    if (!this.isStopped) this.timer = setTimeout(() => this.nudge(), rest).unref();
  }
}
