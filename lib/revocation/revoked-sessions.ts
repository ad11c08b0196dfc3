import { POLLS_TO_CONFIRM } from '../engine/timing.js';
import { EndedFilter } from './ended-filter.js';
import { EndedLog } from './ended-log.js';
import type { RevocationConfig } from './options.js';
import type { RevokedSession } from './revoked-session.js';
import { SessionExpiries } from './session-expiries.js';

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
  /** Where its next page starts; empty at first. */
  position: string;
  /**
   * The value of `overflows` when the load began. If it has changed since, only the filter has some of the entries that the load
   * has read. 0 if there was no room for all of them at the begin.
   */
  readonly overflows: number;
}

/** What memory knows about a session. If it is `unknown`, the row of the session tells. */
export type KnownState = 'ended' | 'not-ended' | 'unknown';

/** An entry of the table. */
export interface StoredRevocation extends Pick<RevokedSession, 'sessionId' | 'userId' | 'reason' | 'expiresAt'> {
  /** When it was written, in milliseconds since 1970. Needed only for those of the first full load. */
  readonly createdAt?: number;
}

/** An entry that a push has announced and that no poll has found yet. */
interface PushedEntry {
  readonly expiresAt: number;
  /** On the monotonic clock. */
  readonly arrivedAt: number;
  /** Successful polls that began after it arrived. */
  polls: number;
}

/**
 * Holds recently ended sessions in memory: those whose access tokens may not have expired yet.
 *
 * Invariants:
 * - While `isUpToDate()` returns true and memory is complete, every entry that was committed more than `maxStaleness` ago is
 *   known here. While polls succeed, that takes one poll interval. The `Poller` adds the entries of other processes. A push adds
 *   them sooner, but no guarantee depends on it.
 * - `stateOf` never says `not-ended` of a session whose entry was added and has not expired, in whatever order entries are added,
 *   removed and loaded, and memory overflows. If there are more than `maxEntries`, a filter remembers them. It may take a live session for
 *   an ended one. Such a session is `unknown`, which costs one read.
 * - A push can only refuse a session, and only until polls have had the chance to confirm its entry. It can neither remove or
 *   shorten an entry of the table nor fill up the memory.
 */
export class RevokedSessions {
  /** The expiry of each entry that this process has written or read from the table, by session id. */
  private readonly expiries = new SessionExpiries();
  /** Every entry of `expiries`, and those for which there was no room. */
  private readonly filter = new EndedFilter();
  /** Entries that are known from a push only, by session id. */
  private readonly pushed = new Map<string, PushedEntry>();
  private listener: (revoked: RevokedSession) => void = () => undefined;
  /** The start of the last poll that succeeded. */
  private polledAt?: Moment;
  private isDistrusted = false;
  private readUntil = 0;
  private complete = false;
  private covering = false;
  private overflows = 1;
  private fullLoad?: FullLoad;

  /** The sessions that have ended most recently, for the feed. */
  readonly log: EndedLog;

  /**
   * @param warn logs a warning
   * @param now returns the database's time, in milliseconds; undefined if it is unknown
   */
  constructor(
    private readonly config: Pick<RevocationConfig, 'maxEntries' | 'maxStaleness'>,
    private readonly warn: (text: string) => void = () => undefined,
    now: () => number | undefined = () => undefined,
  ) {
    this.log = new EndedLog(now);
  }

  /** The number of ended sessions in memory. */
  get size(): number {
    return this.expiries.size + this.pushed.size;
  }

  /** The number of ended sessions that the table holds as far as this process knows. Those that a push has announced do not count. */
  get confirmed(): number {
    return this.expiries.size;
  }

  /** The database's time at the start of the last successful poll, in milliseconds since 1970. 0 before the first one. */
  get polledUntil(): number {
    return this.readUntil;
  }

  /** Milliseconds since the last successful poll started. `Infinity` before the first one. */
  get lag(): number {
    return this.polledAt ? performance.now() - this.polledAt.monotonic : Infinity;
  }

  /** Whether a poll has succeeded. The first one includes a full load. */
  get isLoaded(): boolean {
    return this.polledAt !== undefined;
  }

  /** Tells whether the session has ended. While memory is stale, nothing is known. */
  stateOf(sessionId: string): KnownState {
    if (!this.isUpToDate()) return 'unknown';
    if (this.has(sessionId)) return 'ended';
    return this.complete || (this.covering && !this.filter.mayHave(sessionId)) ? 'not-ended' : 'unknown';
  }

  /** Whether memory holds the session as an ended one. `false` is only reliable while memory is complete and up to date. */
  has(sessionId: string): boolean {
    return this.expiries.has(sessionId) || this.pushed.has(sessionId);
  }

  /**
   * Whether the table had an entry of this session when this process wrote or read it. A pushed entry does not count, because
   * a push may refuse a session only briefly. Reliable if it is true, even if memory is stale.
   */
  hasEnded(sessionId: string): boolean {
    return this.expiries.has(sessionId);
  }

  /** Whether memory holds all entries: a full load has finished, and there has been room for all entries since. */
  get isComplete(): boolean {
    return this.complete;
  }

  /** Whether memory holds all entries, at least in the filter: a full load has finished, and no entry was missed since. */
  get isCovering(): boolean {
    return this.covering;
  }

  /**
   * Whether the last successful poll started less than `maxStaleness` ago, and no poll has reached a wrong server since. Both
   * clocks must agree: the monotonic clock stops while a virtual machine is suspended, and the wall clock can be set back.
   */
  isUpToDate(): boolean {
    if (!this.polledAt || this.isDistrusted) return false;
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

  /** Refuses the access tokens of this session from now on. Its entry must be in the table. */
  add(revoked: RevokedSession): void {
    const isNew = !this.has(revoked.sessionId);
    this.store(revoked);
    if (isNew) this.listener(revoked);
  }

  /**
   * Refuses the access tokens of a session that another process has ended, as it says. The entry is dropped if polls do not
   * confirm it. It is ignored if there is no room for it, because the next poll finds it anyway.
   */
  addPushed(revoked: RevokedSession): void {
    if (this.has(revoked.sessionId) || this.size >= this.config.maxEntries) return;
    const { sessionId, expiresAt } = revoked;
    this.pushed.set(sessionId, { expiresAt, arrivedAt: performance.now(), polls: 0 });
    this.log.add(sessionId, expiresAt, true);
    this.listener(revoked);
  }

  /** Adds the entries that a poll has read. */
  addPolled(entries: readonly StoredRevocation[]): void {
    for (const entry of entries) {
      if (this.isLoaded) this.add(entry);
      else this.store(entry);
    }
  }

  /**
   * Records a poll that has succeeded, after its entries were added. Drops pushed entries that polls do not confirm.
   * @param databaseTime the database's time when the poll began. Default: unchanged
   */
  markPolled(startedAt: Moment, databaseTime?: number): void {
    this.readUntil = databaseTime ?? this.readUntil;
    if (!this.isLoaded) this.log.open();
    this.polledAt = startedAt;
    this.isDistrusted = false;
    this.log.notify();
    for (const [sessionId, entry] of this.pushed) {
      if (entry.arrivedAt <= startedAt.monotonic && ++entry.polls >= POLLS_TO_CONFIRM) this.pushed.delete(sessionId);
    }
  }

  /**
   * Makes memory stale until the next successful poll: the last one has reached a server that is not the primary, so this
   * process does not know what has ended since.
   */
  distrust(): void {
    this.isDistrusted = true;
  }

  /** Removes the entries that expired before this time, in milliseconds since 1970. */
  removeExpired(before: number): void {
    this.expiries.deleteExpired(before);
    this.filter.deleteExpired(before);
    for (const [sessionId, { expiresAt }] of this.pushed) {
      if (expiresAt < before) this.pushed.delete(sessionId);
    }
  }

  /**
   * Returns a page of the ended sessions that are confirmed, in an order that is the same in every process.
   * @param start which page: 0, or what the page before has returned as `next`
   * @param size the page ends after about this many entries
   */
  page(start: number, size: number): ReturnType<SessionExpiries['page']> {
    return this.expiries.page(start, size);
  }

  /** Where the next page of the full load starts; undefined if no full load is under way. */
  get fullLoadPosition(): string | undefined {
    return this.fullLoad?.position;
  }

  /** Whether the full load that is under way fills only the filter, because there are too many entries. */
  get isFilterLoad(): boolean {
    return this.fullLoad !== undefined && this.fullLoad.overflows !== this.overflows;
  }

  /**
   * Begins to read all entries again, page by page. If there is no room for all of them, memory stays incomplete until a later
   * full load.
   * @param count how many unexpired entries the table has
   * @param canFilter whether to read them into the filter if there is no room for all of them. Default: reads none
   */
  beginFullLoad(count: number, canFilter = false): void {
    const fits = count <= this.config.maxEntries;
    if (!fits) this.markIncomplete();
    if (fits || canFilter) {
      this.filter.reserve(count);
      this.fullLoad = { position: '', overflows: fits ? this.overflows : 0 };
    } else {
      this.covering = false;
    }
  }

  /** Records that a poll did not read all entries, because there were too many. Only the next full load finds the others. */
  markGap(): void {
    this.covering = this.complete = false;
    this.fullLoad = undefined;
  }

  /**
   * Adds the next page of the full load.
   * @param next where the page after it starts; undefined if this is the last one. Then memory is complete again, or holds all
   * entries in the filter
   */
  addPage(page: readonly StoredRevocation[], next: string | undefined): void {
    if (this.isFilterLoad) this.addToFilter(page);
    else this.addPolled(page);
    if (!this.fullLoad) return;
    if (next !== undefined) {
      this.fullLoad.position = next;
      return;
    }
    const isComplete = !this.isFilterLoad;
    this.fullLoad = undefined;
    this.covering = true;
    if (!isComplete) return;
    if (this.isLoaded && !this.complete) this.log.reset();
    this.complete = true;
  }

  /** Adds entries that there is no room to remember exactly. Those that no poll has found are announced like polled ones. */
  private addToFilter(page: readonly StoredRevocation[]): void {
    for (const entry of page) {
      if (this.stateOf(entry.sessionId) === 'not-ended') this.add(entry);
      else this.filter.add(entry.sessionId, entry.expiresAt);
    }
  }

  private store({ sessionId, expiresAt, createdAt = 0 }: StoredRevocation): void {
    const wasPushed = this.pushed.delete(sessionId);
    const known = this.expiries.get(sessionId);
    if (known === undefined && this.expiries.size >= this.config.maxEntries) {
      // The filter has all of them, and clearing is quick.
      this.expiries.clear();
      this.markIncomplete();
    }
    if (known === undefined || expiresAt > known) {
      this.filter.add(sessionId, expiresAt);
      this.expiries.set(sessionId, expiresAt);
    }
    if (!this.isLoaded) this.log.addOlder(sessionId, expiresAt, createdAt);
    else if (known === undefined || wasPushed) this.log.add(sessionId, expiresAt, false);
  }

  private markIncomplete(): void {
    this.overflows++;
    if (this.isComplete || !this.isLoaded) {
      this.warn(
        `more than ${this.config.maxEntries} sessions have ended recently (revocation.maxEntries): until there are fewer, some requests read rows; raise the limit if this happens often`,
      );
    }
    this.complete = false;
    this.log.reset();
  }
}
