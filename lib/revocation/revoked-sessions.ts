import { Logger } from '@nestjs/common';
import type { RevocationConfig } from './options.js';
import type { RevokedSession } from './revoked-session.js';

/** One moment on both clocks of this machine, in milliseconds. */
export interface Moment {
  /** `performance.now()`. It cannot be set back, but it stops while a virtual machine is suspended. */
  readonly monotonic: number;
  /** `Date.now()`. It accounts for a suspension, but it can be set back. */
  readonly wall: number;
}

/** Reads both clocks of this machine. */
export function currentMoment(): Moment {
  return { monotonic: performance.now(), wall: Date.now() };
}

/** The progress of a full load. */
interface FullLoad {
  /** The id of the last entry that it has read; empty at first. */
  lastId: string;
  /** The value of `overflows` when the load began. If it has changed since, entries that the load read may be lost again. */
  readonly overflows: number;
}

/**
 * Holds recently ended sessions in memory: those whose access tokens may not have expired yet.
 *
 * Invariant: while `isFresh()` returns true, every entry that was committed more than `maxStaleness` ago is known here. While polls
 * succeed, that takes one poll interval. The `Poller` adds the entries of other processes. A push adds them sooner, but no
 * guarantee depends on it.
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

  /** Milliseconds since the last successful poll started. `Infinity` before the first one. */
  get lag(): number {
    return this.polledAt ? performance.now() - this.polledAt.monotonic : Infinity;
  }

  /** Whether a poll has succeeded. The first one includes a full load. */
  get isLoaded(): boolean {
    return this.polledAt !== undefined;
  }

  /** Whether the session has ended. `false` is only reliable while `isFresh()` returns true. */
  has(sessionId: string): boolean {
    return this.expiries.has(sessionId);
  }

  /** Whether memory holds all entries: a full load has finished, and there has been room for all entries since. */
  get isComplete(): boolean {
    return this.complete;
  }

  /** Whether `has` is reliable: the last poll is recent enough, and memory holds all entries. */
  isFresh(): boolean {
    return this.isComplete && this.isUpToDate();
  }

  /**
   * Whether the last successful poll started less than `maxStaleness` ago. Both clocks must agree: the monotonic clock stops
   * while a virtual machine is suspended, and the wall clock can be set back.
   */
  isUpToDate(): boolean {
    if (!this.polledAt) return false;
    const { monotonic, wall } = this.polledAt;
    const { maxStaleness } = this.config;
    return performance.now() - monotonic < maxStaleness && Date.now() - wall < maxStaleness;
  }

  /**
   * Sets the listener. It is called once for each ended session that this process learns of, whether from itself, a push or a
   * poll. After an overflow, it may be called again for the same session. It is not called for entries of the first full load,
   * because the process that ended those sessions has already announced them.
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
      // An incomplete set is no more reliable than an empty one, and clearing it is quick.
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
