/** 1.2 bytes per entry, and 7 probes: about 1 % false positives in a full generation. */
const BITS_PER_ENTRY = 9.6;
const PROBES = 7;
/** The room of the first generation. */
const MIN_CAPACITY = 16_384;

/** Entries that were added in one period, as a Bloom filter. */
interface Generation {
  readonly words: Uint32Array;
  size: number;
  /** How many more entries it has room for. */
  room: number;
  /** Takes no more entries after this time: those that existed when it began have expired by then. */
  closesAt: number;
  /** The latest expiry of its entries. */
  lastExpiry: number;
}

/**
 * Remembers which sessions have ended in about 1.2 bytes each, so that most live sessions need no look at their row if there are
 * too many ended ones to remember exactly. All times are in milliseconds since 1970.
 *
 * Invariant: `mayHave` is true for every entry that was added, until a time after its expiry was given to `deleteExpired`. An
 * entry is in a generation that lives at least as long as the entry, and single entries are never removed.
 *
 * A generation takes entries until it is full, or until all that existed when it began have expired. It is dropped when its last
 * entry has expired. The next one has room for as many as there are in the others. So there are about two of them, unless the
 * number of entries grows quickly.
 */
export class EndedFilter {
  /** The newest one is the last. */
  private generations: Generation[] = [];

  /** How many entries it holds, with those that have expired and are still there. */
  get size(): number {
    return this.generations.reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Whether the session may have ended. False is certain, true is wrong for one to three sessions in a hundred.
   * @param until looks only where entries stay at least until then. Default: everywhere
   */
  mayHave(sessionId: string, until = -Infinity): boolean {
    return this.generations.some(
      ({ words, lastExpiry }) =>
        lastExpiry >= until && bitsOf(sessionId, words).every((bit) => ((words[bit >>> 5] >>> (bit & 31)) & 1) === 1),
    );
  }

  /** Adds an ended session. */
  add(sessionId: string, expiresAt: number): void {
    // Where its bits are set and stay until its expiry, adding it would change nothing.
    if (this.mayHave(sessionId, expiresAt)) return;
    this.reserve(this.size + 1);
    const newest = this.generations[this.generations.length - 1];
    for (const bit of bitsOf(sessionId, newest.words)) newest.words[bit >>> 5] |= 1 << (bit & 31);
    newest.size++;
    newest.room--;
    newest.closesAt ||= expiresAt;
    newest.lastExpiry = Math.max(newest.lastExpiry, expiresAt);
  }

  /** Makes room for so many entries in all, so that they need no more generations than necessary. */
  reserve(count: number): void {
    const missing = count - this.size;
    if ((this.generations.at(-1)?.room ?? 0) >= missing) return;
    const room = Math.max(missing, MIN_CAPACITY, this.size);
    const closesAt = Math.max(0, ...this.generations.map(({ lastExpiry }) => lastExpiry));
    const words = new Uint32Array(Math.ceil((room * BITS_PER_ENTRY) / 32));
    this.generations.push({ words, size: 0, room, closesAt, lastExpiry: 0 });
  }

  /** Drops the generations whose entries have all expired before this time. */
  deleteExpired(before: number): void {
    this.generations = this.generations.filter(({ lastExpiry }) => lastExpiry >= before);
    for (const generation of this.generations) if (generation.closesAt < before) generation.room = 0;
  }
}

/**
 * Returns the positions of a session in a filter. The last digits of a UUID are random, so they need no hash. Any other text has
 * positions too.
 */
function bitsOf(sessionId: string, { length }: Uint32Array): number[] {
  let at = parseInt(sessionId.slice(28), 16);
  let step = parseInt(sessionId.slice(24, 28) + sessionId.slice(20, 23), 16);
  return Array.from({ length: PROBES }, (_, probe) => {
    step += probe;
    return (at += step) % (length * 32);
  });
}
