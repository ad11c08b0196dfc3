/** 1.5 bytes per id, and 8 probes: about 0.3 % false positives when the filter is full. */
const BITS_PER_ID = 12;
const PROBES = 8;
/** Positions of bits are numbers below 2^32. */
const MAX_CAPACITY = 350_000_000;

/** A set of session ids that answers "not in the set" or "maybe" (a Bloom filter). An id that was added is never missing. */
export class IdFilter {
  /** How many ids were added. */
  size = 0;
  /** How many ids it has room for. With more of them, more answers are "maybe". */
  readonly capacity: number;
  private readonly words: Uint32Array;

  constructor(capacity: number) {
    this.capacity = Math.min(capacity, MAX_CAPACITY);
    this.words = new Uint32Array(Math.ceil((this.capacity * BITS_PER_ID) / 32));
  }

  get bytes(): number {
    return this.words.byteLength;
  }

  add(id: string): void {
    this.size++;
    for (const bit of this.bitsOf(id)) this.words[bit >>> 5] |= 1 << (bit & 31);
  }

  /** Whether the id may have been added. False is certain. */
  mayHave(id: string): boolean {
    return this.bitsOf(id).every((bit) => (this.words[bit >>> 5] & (1 << (bit & 31))) !== 0);
  }

  /**
   * Returns the positions of an id. The last digits of a UUID are random, so they need no hash. Any other text has positions too.
   */
  private bitsOf(id: string): number[] {
    let at = parseInt(id.slice(28), 16);
    let step = parseInt(id.slice(24, 28) + id.slice(20, 23), 16);
    return Array.from({ length: PROBES }, (_, probe) => {
      step += probe;
      return (at += step) % (this.words.length * 32);
    });
  }
}
