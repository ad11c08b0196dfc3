const SHARDS = 256;

/**
 * A map from session ids to expiries that can be read in pages without sorting or copying it.
 *
 * It consists of 256 maps. The last two digits of an id, which are random, choose the map. A page is some of these maps, so
 * every process divides the ids into pages in the same way. It also never has to move a million entries at once, as a single
 * map does when it grows.
 */
export class SessionExpiries {
  private readonly shards = Array.from({ length: SHARDS }, () => new Map<string, number>());
  private count = 0;

  get size(): number {
    return this.count;
  }

  has(sessionId: string): boolean {
    return this.shards[shardOf(sessionId)].has(sessionId);
  }

  get(sessionId: string): number | undefined {
    return this.shards[shardOf(sessionId)].get(sessionId);
  }

  set(sessionId: string, expiresAt: number): void {
    const shard = this.shards[shardOf(sessionId)];
    const before = shard.size;
    shard.set(sessionId, expiresAt);
    this.count += shard.size - before;
  }

  clear(): void {
    for (const shard of this.shards) shard.clear();
    this.count = 0;
  }

  /** Deletes the entries that expired before this time, in milliseconds since 1970. */
  deleteExpired(before: number): void {
    for (const shard of this.shards) {
      for (const [sessionId, expiresAt] of shard) {
        if (expiresAt < before && shard.delete(sessionId)) this.count--;
      }
    }
  }

  /**
   * Returns a page of the entries.
   * @param start which page: 0, or what the page before has returned as `next`
   * @param size the page ends after about this many entries
   * @returns the entries, and the start of the next page; undefined if this is the last one
   */
  page(start: number, size: number): { entries: [string, number][]; next?: number } {
    const entries: [string, number][] = [];
    for (let shard = start; shard < SHARDS; shard++) {
      for (const entry of this.shards[shard]) entries.push(entry);
      if (entries.length >= size && shard + 1 < SHARDS) return { entries, next: shard + 1 };
    }
    return { entries };
  }
}

function shardOf(sessionId: string): number {
  const { length } = sessionId;
  return (digitAt(sessionId, length - 2) << 4) | digitAt(sessionId, length - 1);
}

/** Returns the value of a hexadecimal digit, and some value from 0 to 15 for any other character. */
function digitAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return (code > 57 ? code - 87 : code - 48) & 15;
}
