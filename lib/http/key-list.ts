import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/** A list of keys that a caller may know. */
export class KeyList {
  // Compare digests, not keys: digests have equal lengths, so the comparison takes the same time for every input.
  private readonly digestKey = randomBytes(32);
  private readonly digests: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.digests = keys.map((key) => this.digest(key));
  }

  /** How many keys there are. */
  get size(): number {
    return this.digests.length;
  }

  /** Tells whether a caller has sent one of the keys. */
  includes(key: string): boolean {
    const digest = this.digest(key);
    // Compare every key, even after a match, so that the duration does not reveal which one matched.
    return this.digests.map((known) => timingSafeEqual(known, digest)).includes(true);
  }

  private digest(text: string): Buffer {
    return createHmac('sha256', this.digestKey).update(text).digest();
  }
}
