/**
 * The database's time, as this process knows it: the monotonic clock of this machine plus an offset, which each poll corrects.
 *
 * Grace periods, expiry, `iat`, `createdAt` and the blacklist all use it. So all processes agree on the time, and a wall clock
 * that is wrong, or set while the process runs, changes nothing.
 */
export class Clock {
  private offset: number;
  private hasLearned = false;

  /** Until the first `learn`, this is the time of this machine. */
  constructor() {
    this.offset = Date.now() - performance.now();
  }

  /** The time in whole milliseconds since 1970. */
  now(): number {
    return Math.floor(performance.now() + this.offset);
  }

  /**
   * Corrects the offset by an answer of the database.
   * @param databaseTime the answer, in milliseconds since 1970
   * @param sentAt when the question was sent, by `performance.now()`
   * @param answeredAt when the answer arrived, by `performance.now()`
   */
  learn(databaseTime: number, sentAt: number, answeredAt: number): void {
    // The database read its clock at some instant between the two. If the known offset is possible, keep it: otherwise one slow
    // answer would spoil what a fast one has taught.
    const [min, max] = [databaseTime - answeredAt, databaseTime + 1 - sentAt];
    this.offset = this.hasLearned ? Math.min(Math.max(this.offset, min), max) : (min + max) / 2;
    this.hasLearned = true;
  }
}
