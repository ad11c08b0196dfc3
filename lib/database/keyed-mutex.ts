/** One at a time for each key, in the order of arrival, within this process. */
export class KeyedMutex {
  private readonly tails = new Map<string, Promise<unknown>>();

  /** Runs `work` when all that was given earlier for this key has settled. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.tails.get(key) ?? Promise.resolve()).then(work, work);
    const tail = turn.catch(() => undefined);
    this.tails.set(key, tail);
    try {
      return await turn;
    } finally {
      // The last one out takes the key away, or the map would grow by every user who ever logged in.
      if (this.tails.get(key) === tail) this.tails.delete(key);
    }
  }
}
