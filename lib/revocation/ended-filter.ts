import { IdFilter } from './id-filter.js';

/** The room of the first generation. */
const MIN_CAPACITY = 16_384;

/** Entries that were added in one period. */
interface Generation {
  readonly filter: IdFilter;
  /** Takes no entries any more after this time: those that were there at its begin have expired by then. */
  closesAt: number;
  /** The latest expiry of its entries. */
  lastExpiry: number;
}

/**
 * Remembers which sessions have ended in about 1.5 bytes each, so that most live sessions need no look at their row if there are
 * too many ended ones to remember exactly. All times are in milliseconds since 1970.
 *
 * Invariant: `mayHave` is true for every entry that was added, until a time after its expiry was given to `deleteExpired`. An
 * entry is in a generation that lives at least as long as the entry, and single entries are never removed.
 *
 * A generation takes entries until it is full, or until all that were there at its begin have expired, and is dropped when its
 * last entry has expired. The next one has room for as many as there are in all. So there are about two of them, unless the
 * number of entries grows quickly.
 */
export class EndedFilter {
  /** The newest one is the last. */
  private generations: Generation[] = [];
  private isClosed = false;

  /** How many entries it holds, with those that have expired and are still there. */
  get size(): number {
    return this.generations.reduce((sum, { filter }) => sum + filter.size, 0);
  }

  get bytes(): number {
    return this.generations.reduce((sum, { filter }) => sum + filter.bytes, 0);
  }

  /** Whether the session may have ended. False is certain, true is wrong for about one session in a hundred. */
  mayHave(sessionId: string): boolean {
    return this.generations.some(({ filter }) => filter.mayHave(sessionId));
  }

  /** Adds an ended session. Does nothing if it is known for at least as long. */
  add(sessionId: string, expiresAt: number): void {
    // Where the bits of an entry are set and stay until its expiry, adding it would change nothing.
    if (this.generations.some(({ filter, lastExpiry }) => lastExpiry >= expiresAt && filter.mayHave(sessionId))) return;
    let newest = this.generations.at(-1);
    if (!newest || this.isClosed || newest.filter.size >= newest.filter.capacity)
      newest = this.begin(Math.max(this.size, MIN_CAPACITY));
    if (newest.filter.size === 0) newest.closesAt = Math.max(newest.closesAt, expiresAt);
    newest.filter.add(sessionId);
    newest.lastExpiry = Math.max(newest.lastExpiry, expiresAt);
  }

  /**
   * Makes room, so that a known number of entries needs no more generations than necessary.
   * @param count how many entries there are about to be in all
   */
  reserve(count: number): void {
    const missing = count - this.size;
    const newest = this.generations.at(-1);
    const room = newest && !this.isClosed ? newest.filter.capacity - newest.filter.size : 0;
    if (missing > Math.max(room, MIN_CAPACITY)) this.begin(missing);
  }

  /** Drops the generations whose entries have all expired before this time. */
  deleteExpired(before: number): void {
    this.generations = this.generations.filter(({ lastExpiry }) => lastExpiry >= before);
    const newest = this.generations.at(-1);
    this.isClosed = newest !== undefined && newest.closesAt < before;
  }

  private begin(capacity: number): Generation {
    const closesAt = Math.max(-Infinity, ...this.generations.map(({ lastExpiry }) => lastExpiry));
    const generation = { filter: new IdFilter(capacity), closesAt, lastExpiry: -Infinity };
    this.generations.push(generation);
    this.isClosed = false;
    return generation;
  }
}
