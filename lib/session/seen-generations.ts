import { Logger } from '@nestjs/common';
import type { SessionEntity } from './session.entity.js';

/** A generation of a session that has been seen in use. */
export interface SeenGeneration {
  readonly sessionId: string;
  readonly generation: number;
}

const FLUSH_INTERVAL = 1000;
const MAX_REMEMBERED = 100_000;
const BATCH = 200;

/**
 * Remembers which generations have been seen in use. A generation is in use once a request has shown its access token or
 * refresh token.
 *
 * A request only notes the generation in memory. A timer writes these notes to the database in batches, once per rotation.
 * If a crash loses a batch, theft is detected later, but no session ends because of it.
 */
export class SeenGenerations {
  private readonly logger = new Logger('MultiSession');
  /** The highest noted generation of each session, in the order in which they were noted. */
  private readonly noted = new Map<string, number>();
  private unwritten = new Map<string, number>();
  private timer?: NodeJS.Timeout;
  private flushing: Promise<void> = Promise.resolve();

  /** @param write stores a batch. Batches are ordered by session id, so that two writers lock rows in the same order */
  constructor(private readonly write: (batch: SeenGeneration[]) => Promise<void>) {}

  /** Notes a generation. If it has been noted before, this costs one lookup. */
  note(sessionId: string, generation: number): void {
    if (generation === 0 || (this.noted.get(sessionId) ?? 0) >= generation) return;
    this.noted.delete(sessionId);
    this.noted.set(sessionId, generation);
    this.unwritten.set(sessionId, generation);
    if (this.noted.size > MAX_REMEMBERED) this.noted.delete(this.noted.keys().next().value as string);
    this.timer ??= setTimeout(() => void this.flush(), FLUSH_INTERVAL).unref();
  }

  /** Returns the highest generation that this process has seen in use, or 0. */
  highest(sessionId: string): number {
    return this.noted.get(sessionId) ?? 0;
  }

  /** Returns the highest generation of a session that has been seen in use, by the row or by this process. */
  confirmedIn({ id, confirmedGeneration }: Pick<SessionEntity, 'id' | 'confirmedGeneration'>): number {
    return Math.max(confirmedGeneration, this.highest(id));
  }

  /** Writes the noted generations. A timer calls it, and so does the shutdown. */
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
        // Forget the failed notes, so that the next use notes them again.
        for (const { sessionId } of part) this.noted.delete(sessionId);
        this.logger.warn(
          `could not write ${part.length} generations that have been seen in use: ${(error as Error).message}`,
        );
      }
    }
  }
}
