import { Logger } from '@nestjs/common';
import type { RevocationConfig } from './options.js';
import type { RevokedSession } from './revoked-session.js';

/** One moment on both clocks of this machine, in milliseconds. */
export interface Moment {
  /** `performance.now()`: it is never set, but it stands still while a virtual machine is suspended. */
  readonly monotonic: number;
  /** `Date.now()`: it goes on during a suspension, but it can be set back. */
  readonly wall: number;
}

/** Reads both clocks of this machine. */
export function currentMoment(): Moment {
  return { monotonic: performance.now(), wall: Date.now() };
}

/** How far a full load has got. */
interface FullLoad {
  /** The id of the last entry that it has read; empty at first. */
  lastId: string;
  /** `overflows` when it began: if there was another one since, entries that it has read may be lost again. */
  readonly overflows: number;
}

/**
 * The sessions that ended so recently that one of their access tokens may be unexpired, in the memory of this process.
 *
 * Invariant: an entry that was committed is known here at most one poll interval after its commit, or `isFresh()` returns
 * false. The `Poller` brings the entries of other processes. A push brings them sooner, but no promise depends on it.
 */
export class RevokedSessions {
  private readonly logger = new Logger('MultiSession');
  /** The expiry of each entry, by session id. */
  private readonly expiries = new Map<string, number>();
  private listener: (revoked: RevokedSession) => void = () => undefined;
  /** The start of the last poll that succeeded. */
  private polledAt?: Moment;
  private complete = false;
  private overflows = 0;
  private fullLoad?: FullLoad;

  constructor(private readonly config: Pick<RevocationConfig, 'maxEntries' | 'maxStaleness'>) {}

  /** The number of ended sessions in memory. */
  get size(): number {
    return this.expiries.size;
  }

  /** How old this knowledge is: milliseconds since the last successful poll started. `Infinity` before the first one. */
  get lag(): number {
    return this.polledAt ? performance.now() - this.polledAt.monotonic : Infinity;
  }

  /** Whether a poll has succeeded, and so a full load. */
  get isLoaded(): boolean {
    return this.polledAt !== undefined;
  }

  /** Whether the session has ended. A "no" is only reliable while `isFresh()`. */
  has(sessionId: string): boolean {
    return this.expiries.has(sessionId);
  }

  /** Whether all entries have fitted into memory since a full load. */
  get isComplete(): boolean {
    return this.complete;
  }

  /** Whether `has` is reliable: the last poll is recent enough, and all entries fit into memory. */
  isFresh(): boolean {
    return this.isComplete && this.isUpToDate();
  }

  /**
   * Whether the last successful poll started less than `maxStaleness` ago. Both clocks must say so: the monotonic clock stands
   * still while a virtual machine is suspended, and the wall clock can be set back.
   */
  isUpToDate(): boolean {
    if (!this.polledAt) return false;
    const { monotonic, wall } = this.polledAt;
    const { maxStaleness } = this.config;
    return performance.now() - monotonic < maxStaleness && Date.now() - wall < maxStaleness;
  }

  /**
   * Sets the listener. It is called once for each ended session that this process learns of, whether from itself, a push or a
   * poll. Entries that the first full load finds are not announced, since the process that ended those sessions has done so.
   */
  onRevoked(listener: (revoked: RevokedSession) => void): void {
    this.listener = listener;
  }

  /** Refuses the access tokens of this session from now on. */
  add(revoked: RevokedSession): void {
    if (this.expiries.has(revoked.sessionId)) return;
    this.store(revoked);
    this.listener(revoked);
  }

  /** Adds the entries that a poll has read. */
  addPolled(entries: readonly RevokedSession[]): void {
    for (const entry of entries) {
      if (this.isLoaded) this.add(entry);
      else this.store(entry);
    }
  }

  /** Records a poll that has succeeded. */
  markPolled(startedAt: Moment): void {
    this.polledAt = startedAt;
  }

  /** Removes the entries that expired before this time, in milliseconds since 1970. */
  removeExpired(before: number): void {
    for (const [sessionId, expiresAt] of this.expiries) {
      if (expiresAt < before) this.expiries.delete(sessionId);
    }
  }

  /** The id after which the next page of the full load starts; undefined if no full load is under way. */
  get fullLoadPosition(): string | undefined {
    return this.fullLoad?.lastId;
  }

  /**
   * Begins to read all entries again, page by page. If there is no room for all of them, it reads none, and memory stays
   * incomplete until a later full load.
   * @param count how many unexpired entries the table has
   */
  beginFullLoad(count: number): void {
    if (count > this.config.maxEntries) this.markIncomplete();
    else this.fullLoad = { lastId: '', overflows: this.overflows };
  }

  /**
   * Adds the next page of the full load, in the order of the ids.
   * @param isLast whether the table has no more entries; then memory is complete again
   */
  addPage(page: readonly RevokedSession[], isLast: boolean): void {
    this.addPolled(page);
    const { fullLoad } = this;
    if (fullLoad?.overflows !== this.overflows) {
      this.fullLoad = undefined;
    } else if (isLast) {
      this.fullLoad = undefined;
      this.complete = true;
    } else {
      fullLoad.lastId = page[page.length - 1].sessionId;
    }
  }

  private store({ sessionId, expiresAt }: RevokedSession): void {
    if (this.expiries.size >= this.config.maxEntries) {
      // A part of the entries is no more reliable than none, and removing all of them is quick.
      this.expiries.clear();
      this.markIncomplete();
    }
    this.expiries.set(sessionId, expiresAt);
  }

  private markIncomplete(): void {
    this.overflows++;
    if (this.isComplete || !this.isLoaded) {
      this.logger.warn(
        `more than ${this.config.maxEntries} sessions have ended recently (revocation.maxEntries): each request reads its session's row until there are fewer; raise the limit if this happens often`,
      );
    }
    this.complete = false;
  }
}
