import { CLOCK_DRIFT } from '../engine/timing.js';

/**
 * The time of another machine, as this process knows it: the monotonic clock of this machine plus an offset, which each answer
 * of the other machine corrects.
 *
 * It knows its error. An answer bounds the offset by its round trip, and the bounds drift apart until the next answer. A
 * virtual machine that was suspended shows an earlier time until it asks again, so the lower bound still holds.
 */
export class RemoteClock {
  /** The other machine's time minus the monotonic clock, in milliseconds. It was between `low` and `high` at `learnedAt`. */
  private offset = 0;
  private low = -Infinity;
  private high = Infinity;
  /** When the last question was sent, on the monotonic clock. Undefined until the other machine has answered once. */
  private learnedAt?: number;

  /** Whether the other machine has answered once. Until then, the time is unknown. */
  get isSet(): boolean {
    return this.learnedAt !== undefined;
  }

  /** Returns the time in whole milliseconds since 1970, or undefined until the other machine has answered once. */
  read(): number | undefined {
    return this.isSet ? Math.floor(performance.now() + this.offset) : undefined;
  }

  /**
   * Returns a lower bound of the time in whole milliseconds since 1970, or undefined until the other machine has answered
   * once. Its clock has certainly reached it, unless somebody has set that clock back since its last answer.
   */
  readEarliest(): number | undefined {
    if (this.learnedAt === undefined) return undefined;
    const now = performance.now();
    return Math.floor(now + this.low - (now - this.learnedAt) * CLOCK_DRIFT);
  }

  /**
   * Corrects the offset with an answer.
   * @param remoteTime the answer, in milliseconds since 1970
   * @param sentAt when the question was sent, by `performance.now()`
   * @param answeredAt when the answer arrived, by `performance.now()`
   */
  learn(remoteTime: number, sentAt: number, answeredAt: number): void {
    // The other machine read its clock at some instant between the two, and rounded it up or down.
    const [min, max] = [remoteTime - 1 - answeredAt, remoteTime + 1 - sentAt];
    const drift = (answeredAt - (this.learnedAt ?? answeredAt)) * CLOCK_DRIFT;
    const [low, high] = [Math.max(this.low - drift, min), Math.min(this.high + drift, max)];
    // A slow answer must not replace precise bounds with rough ones. But if the two do not meet, a clock was set or suspended.
    [this.low, this.high] = low <= high ? [low, high] : [min, max];
    this.offset = this.isSet ? Math.min(Math.max(this.offset, this.low), this.high) : (min + max) / 2;
    this.learnedAt = sentAt;
  }
}
