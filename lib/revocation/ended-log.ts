/** An ended session, as the log keeps it. */
export interface LoggedSession {
  readonly sessionId: string;
  /** The expiry of its last access token, in milliseconds since 1970. */
  readonly expiresAt: number;
  /** Whether it is known from a push only. */
  readonly isPushed: boolean;
  /**
   * The database's time at which this process learned of it, or at which its entry was created if that was before the process
   * started. Never earlier than its creation, apart from the error of the clock.
   */
  readonly at: number;
}

/** Entries that are kept for the feed. A receiver that was away for longer reads all of them again. */
const MAX_ENTRIES = 100_000;
/** How long an entry is kept, in milliseconds. Far longer than a receiver needs to reconnect. */
const SPAN = 600_000;

/**
 * The sessions that have ended most recently, in the order in which this process has learned of them.
 *
 * Invariant: it holds every entry of memory that this process learned of at `since` or later, by the database's time.
 */
export class EndedLog {
  private entries: LoggedSession[] = [];
  /** The position of `entries[0]`. Positions count up and are never used again. */
  private first = 0;
  /** Entries that were created before the process started. Undefined once it has started. */
  private older?: LoggedSession[] = [];
  private since = Infinity;
  private readonly waiters = new Set<() => void>();
  private notifying = false;

  /** @param now returns the database's time, in milliseconds; undefined if it is unknown */
  constructor(private readonly now: () => number | undefined) {}

  /** The position after the last entry. */
  get position(): number {
    return this.first + this.entries.length;
  }

  /** Adds a session of which the process has just learned. */
  add(sessionId: string, expiresAt: number, isPushed: boolean): void {
    const last = this.entries.at(-1)?.at ?? 0;
    this.entries.push({ sessionId, expiresAt, isPushed, at: Math.max(this.now() ?? 0, last) });
    this.trim();
    this.notify();
  }

  /** Adds a session that the first full load has found. */
  addOlder(sessionId: string, expiresAt: number, createdAt: number): void {
    if (createdAt < (this.now() ?? 0) - SPAN) return;
    this.older?.push({ sessionId, expiresAt, isPushed: false, at: createdAt });
  }

  /** Begins to answer: the first full load is over. */
  open(): void {
    if (!this.older) return;
    const older = this.older.sort((one, other) => one.at - other.at);
    this.older = undefined;
    this.entries = [...older, ...this.entries];
    this.since = (this.now() ?? 0) - SPAN;
    this.trim();
  }

  /** Forgets everything: memory was incomplete, so receivers must read all entries again. */
  reset(): void {
    this.first = this.position;
    this.entries = [];
    this.older = undefined;
    this.since = this.now() ?? Infinity;
  }

  /** Returns the entries after a position of this process; undefined if some of them are gone. */
  after(position: number): readonly LoggedSession[] | undefined {
    const at = position - this.first;
    return at < 0 || at > this.entries.length ? undefined : this.entries.slice(at);
  }

  /** Returns the entries of which this process learned at this time or later; undefined if some of them are gone. */
  startingAt(time: number): readonly LoggedSession[] | undefined {
    if (time < this.since) return undefined;
    let [low, high] = [0, this.entries.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.entries[middle].at < time) low = middle + 1;
      else high = middle;
    }
    return this.entries.slice(low);
  }

  /**
   * Waits until the condition holds, but no longer than this.
   * @param condition checked now, and whenever something changes
   * @param milliseconds the longest wait
   */
  until(condition: () => boolean, milliseconds: number): Promise<void> {
    if (condition() || milliseconds <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.waiters.delete(check);
        resolve();
      };
      const check = () => condition() && end();
      const timer = setTimeout(end, milliseconds);
      this.waiters.add(check);
    });
  }

  /** Lets those who wait check their condition, once for all changes of this turn of the event loop. */
  notify(): void {
    if (this.notifying || this.waiters.size === 0) return;
    this.notifying = true;
    setImmediate(() => {
      this.notifying = false;
      for (const check of [...this.waiters]) check();
    });
  }

  private trim(): void {
    const oldest = (this.now() ?? 0) - SPAN;
    let gone = Math.max(0, this.entries.length - MAX_ENTRIES);
    while (gone < this.entries.length && this.entries[gone].at < oldest) gone++;
    // Moving the array costs time, so it is done for many entries at once.
    if (gone < MAX_ENTRIES / 10 && gone < this.entries.length) return;
    if (gone === 0) return;
    this.since = Math.max(this.since, this.entries[gone - 1].at + 1);
    this.entries = this.entries.slice(gone);
    this.first += gone;
  }
}
