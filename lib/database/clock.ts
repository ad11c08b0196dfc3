/**
 * The database's time, as this process knows it: the monotonic clock of this machine plus an offset, which each poll
 * corrects.
 *
 * Grace periods, expiry, `iat`, `createdAt` and the blacklist all use it, so all processes agree on the time. A wall clock
 * that is wrong, or that is set while the process runs, has no effect.
 */
export class Clock {
  private offset: number;
  private hasLearned = false;

  /** Until the first `learn`, the offset comes from the wall clock of this machine. */
  constructor() {
    this.offset = Date.now() - performance.now();
  }

  /** Returns the time in whole milliseconds since 1970. */
  now(): number {
    return Math.floor(performance.now() + this.offset);
  }

  /**
   * Corrects the offset with an answer of the database.
   * @param databaseTime the answer, in milliseconds since 1970
   * @param sentAt when the question was sent, by `performance.now()`
   * @param answeredAt when the answer arrived, by `performance.now()`
   */
  learn(databaseTime: number, sentAt: number, answeredAt: number): void {
    // The database read its clock at some instant between the two. Keep the known offset if it fits that: a slow answer must
    // not replace a precise offset with a rough one.
    const [min, max] = [databaseTime - answeredAt, databaseTime + 1 - sentAt];
    this.offset = this.hasLearned ? Math.min(Math.max(this.offset, min), max) : (min + max) / 2;
    this.hasLearned = true;
  }
}
