/**
 * The database's time, as this process knows it: the monotonic clock, plus an offset that each poll of the database
 * corrects. Grace, expiry, `iat`, `createdAt` and the blacklist all go by it, so that it is one time for all processes and a
 * wall clock that is wrong, or set, changes nothing.
 */
export class Clock {
  private offset: number;
  private learnt = false;

  /** Until it has learnt the database's time, it is this machine's. */
  constructor() {
    this.offset = Date.now() - performance.now();
  }

  /** Milliseconds since 1970, whole. */
  now(): number {
    return Math.floor(performance.now() + this.offset);
  }

  /**
   * @param databaseTime what the database answered, in milliseconds
   * @param sentAt when it was asked, on the monotonic clock
   * @param answeredAt when its answer was here
   */
  learn(databaseTime: number, sentAt: number, answeredAt: number): void {
    // The database read its clock at some instant between the two; an offset that this allows is kept, so that one slow
    // answer cannot spoil what a quick one has taught.
    const [least, most] = [databaseTime - answeredAt, databaseTime + 1 - sentAt];
    this.offset = this.learnt ? Math.min(Math.max(this.offset, least), most) : (least + most) / 2;
    this.learnt = true;
  }
}
