const { imul } = Math;

/** 1.5 bytes per id, and 8 probes: about 0.3 % false positives when the filter is full. */
const BITS_PER_ID = 12;
const PROBES = 8;
/** Positions of bits are numbers below 2^32. */
const MAX_CAPACITY = Math.floor(2 ** 32 / BITS_PER_ID) - 32;

/**
 * A set of ids that answers "not in the set" or "maybe" (a Bloom filter). An id that was added is never reported as missing.
 */
export class IdFilter {
  private readonly words: Uint32Array;
  private readonly bits: number;
  private readonly capacity: number;
  private added = 0;

  /** @param capacity the ids for which it has room. With more of them, more answers are "maybe" */
  constructor(capacity: number) {
    this.capacity = Math.min(capacity, MAX_CAPACITY);
    this.words = new Uint32Array(Math.ceil((this.capacity * BITS_PER_ID) / 32));
    this.bits = this.words.length * 32;
  }

  /** How many ids were added. */
  get size(): number {
    return this.added;
  }

  /** How many more ids it has room for. */
  get room(): number {
    return this.capacity - this.added;
  }

  get bytes(): number {
    return this.words.byteLength;
  }

  add(id: IdHash): void {
    this.added++;
    let { first: at, second: step } = id;
    for (let probe = 0; probe < PROBES; probe++) {
      const bit = at % this.bits;
      this.words[bit >>> 5] |= 1 << (bit & 31);
      at = (at + step) >>> 0;
      step = (step + probe) >>> 0;
    }
  }

  /** Whether the id may have been added. False is certain. */
  mayHave(id: IdHash): boolean {
    let { first: at, second: step } = id;
    for (let probe = 0; probe < PROBES; probe++) {
      const bit = at % this.bits;
      if ((this.words[bit >>> 5] & (1 << (bit & 31))) === 0) return false;
      at = (at + step) >>> 0;
      step = (step + probe) >>> 0;
    }
    return true;
  }
}

/** Two independent numbers from 0 to 2^32 - 1. */
export interface IdHash {
  readonly first: number;
  readonly second: number;
}

/** Hashes an id. Nobody can choose ids that collide, because the library makes them. */
export function hashOf(id: string): IdHash {
  let [first, second] = [0x811c9dc5, 0x9747b28c];
  for (let at = 0; at < id.length; at++) {
    const code = id.charCodeAt(at);
    first = imul(first ^ code, 0x01000193);
    second = imul(second ^ code, 0x5bd1e995);
    second ^= second >>> 15;
  }
  return { first: mixed(first), second: mixed(second) };
}

/** Makes every bit depend on all others (the last step of MurmurHash3). */
function mixed(hash: number): number {
  let value = hash ^ (hash >>> 16);
  value = imul(value, 0x85ebca6b);
  value ^= value >>> 13;
  value = imul(value, 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
