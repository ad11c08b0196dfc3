// Looking up globals is slow in Jest.
const { floor, imul } = Math;

/** Pseudo-random numbers (mulberry32). The same seed gives the same numbers. */
export class Random {
  constructor(private state: number) {}

  /** At least 0 and less than 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer, at least 0 and less than `end`. */
  below(end: number): number {
    return floor(this.next() * end);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  /** True with a probability of 1 in `times`. */
  once(times: number): boolean {
    return this.next() * times < 1;
  }
}
