/** One at a time for each key, in the order of arrival, within this process. */
export class KeyedMutex {
  /** The last in each queue. It gives the time of the last success in the queue, on the monotonic clock. */
  private readonly tails = new Map<string, Promise<number>>();

  /**
   * Runs `work` when all that was given earlier for this key has settled, with the time in milliseconds at which one of those
   * that it waited for last succeeded: minus infinity for none.
   */
  async run<T>(key: string, work: (movedAt: number) => Promise<T>): Promise<T> {
    const before = this.tails.get(key) ?? Promise.resolve(-Infinity);
    const turn = before.then(work);
    const tail = turn.then(
      () => performance.now(),
      () => before,
    );
    this.tails.set(key, tail);
    try {
      return await turn;
    } finally {
      // The last one out takes the key away, or the map would grow by every user who ever logged in.
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }
}
