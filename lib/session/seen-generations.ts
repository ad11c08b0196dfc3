import { Logger } from '@nestjs/common';

/** One generation of a session that was seen in use. */
export interface SeenGeneration {
  readonly sessionId: string;
  readonly generation: number;
}

const FLUSH_INTERVAL = 1000;
const MAX_REMEMBERED = 100_000;
const BATCH = 200;

/**
 * Which refresh-token generations have been seen in use, by an access token or a refresh token of theirs. Noted in memory on
 * the request's path, and written in batches behind the answers: once per rotation. A batch lost in a crash makes a thief
 * be found later, and logs nobody out.
 */
export class SeenGenerations {
  private readonly logger = new Logger('MultiSession');
  /** The highest generation noted for each session, the least recently noted first. */
  private readonly noted = new Map<string, number>();
  private unwritten = new Map<string, number>();
  private timer?: NodeJS.Timeout;
  private flushing: Promise<void> = Promise.resolve();

  /** @param write stores a batch, ordered by session */
  constructor(private readonly write: (batch: SeenGeneration[]) => Promise<void>) {}

  /** Costs a look-up where the generation has been noted before. */
  note(sessionId: string, generation: number): void {
    if (generation === 0 || (this.noted.get(sessionId) ?? 0) >= generation) return;
    this.noted.delete(sessionId);
    this.noted.set(sessionId, generation);
    this.unwritten.set(sessionId, generation);
    if (this.noted.size > MAX_REMEMBERED) this.noted.delete(this.noted.keys().next().value as string);
    this.timer ??= setTimeout(() => void this.flush(), FLUSH_INTERVAL).unref();
  }

  /** The highest generation that this process has seen in use; 0 for none. */
  highest(sessionId: string): number {
    return this.noted.get(sessionId) ?? 0;
  }

  /** Writes what is noted. Called by a timer, and at shutdown. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.flushing = this.flushing.then(() => this.writeAll());
    return this.flushing;
  }

  private async writeAll(): Promise<void> {
    const batch = [...this.unwritten].map(([sessionId, generation]) => ({ sessionId, generation }));
    this.unwritten = new Map();
    batch.sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
    for (let at = 0; at < batch.length; at += BATCH) {
      const part = batch.slice(at, at + BATCH);
      try {
        await this.write(part);
      } catch (error) {
        // Forgotten, so that the next use notes it again.
        for (const { sessionId } of part) this.noted.delete(sessionId);
        this.logger.warn(`confirmed generations were not written: ${(error as Error).message}`);
      }
    }
  }
}
