/** Runs one piece of work at a time for each key, in the order of arrival, within this process. */
export class KeyedMutex {
  /** The last piece of work for each key, as the time of the queue's last success on the monotonic clock. */
  private readonly tails = new Map<string, Promise<number>>();

  /**
   * Runs `work` when everything that was queued earlier for this key has settled.
   * @param work receives the time of the queue's last success, in milliseconds on the monotonic clock; minus infinity if there
   *   was none
   * @returns what `work` returns
   * @throws what `work` throws
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
      // The last one removes the key, or the map would grow by every user who ever logged in.
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }
}
