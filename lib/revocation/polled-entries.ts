import type { StoredRevocation } from './revoked-sessions.js';

/** The part of the table that a poll looks at, by the times at which entries were written. All times are the database's. */
export interface PollWindow {
  /** Entries that were written earlier have been read, or are left to the full loads. */
  readonly since: number;
  /** Entries that were written at this time or later are probably new. */
  readonly recent: number;
}

/** How many unexpired entries the table has in the two parts of a `PollWindow`, by one statement. */
export interface WindowCounts {
  /** When the statement started. Entries that had expired by then do not count. */
  readonly now: number;
  /** Entries from `since` until before `recent`. */
  readonly older: number;
  /** Entries from `recent` on. */
  readonly newer: number;
}

/**
 * The entries that polls have read from the table and that the next poll may see again. It tells a poll which part of its
 * window it need not read.
 *
 * Invariant: each entry here was read from the table, only once, and `RevokedSessions` knows it. An entry of the table does
 * not change, and is not deleted before it has expired. The table therefore holds every unexpired entry that is here, and if
 * it holds equally many, it holds no others.
 *
 * Whoever breaks the second sentence calls `clear`: a server that may have lost commits, or a memory that does not cover all entries.
 * Entries that an operator deletes make the counts differ, and are forgotten when the poll has read that part of the window.
 */
export class PolledEntries {
  private entries: readonly Required<Pick<StoredRevocation, 'createdAt' | 'expiresAt'>>[] = [];

  /** Forgets all entries. The next poll reads its whole window. */
  clear(): void {
    this.entries = [];
  }

  /**
   * Forgets the entries that have left the window or have expired.
   * @returns the time from which on a poll must read the entries of the table; undefined if it knows all of them
   */
  unknownSince({ since, recent }: PollWindow, { now, older, newer }: WindowCounts): number | undefined {
    this.entries = this.entries.filter(({ createdAt, expiresAt }) => createdAt >= since && expiresAt > now);
    const knownNewer = this.entries.filter(({ createdAt }) => createdAt >= recent).length;
    if (this.entries.length - knownNewer !== older) return since;
    return knownNewer === newer ? undefined : recent;
  }

  /**
   * Replaces the entries that were written at `from` or later.
   * @param read all unexpired entries of the table that were written at `from` or later
   */
  replace(from: number, read: typeof this.entries): void {
    this.entries = [...this.entries.filter(({ createdAt }) => createdAt < from), ...read];
  }
}
