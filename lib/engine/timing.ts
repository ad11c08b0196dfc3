/**
 * Every time span that a safety argument rests on, with the argument. Other constants in the code only tune how fast or how
 * often something happens; these decide whether a promise holds.
 *
 * All spans are in milliseconds unless the name says otherwise. This file imports nothing, so every room may import it.
 */

/**
 * Clock skew that we allow for between two processes. Each process takes the time from the database at every poll. Its error
 * is at most half a round trip plus the drift of its monotonic clock until the next poll, far below this margin.
 */
export const CLOCK_MARGIN = 5000;

/**
 * How long a transaction waits for a lock. A process that was frozen while it holds a lock must not block the others for
 * longer than this. It is below the usual 30 s time-out of a proxy, so a client sees our 503 and not the proxy's 504.
 */
export const LOCK_WAIT = 10_000;

/**
 * How much longer than `LOCK_WAIT` we wait for a server that does not answer. The server's own lock time-out must fire first,
 * so that a lock wait ends with the server's error on a healthy connection and not with a closed socket.
 */
export const ANSWER_MARGIN = 5000;

/**
 * Default of `revocation.overlap`: how far each poll looks back beyond the start of the last one. Commits become visible out
 * of order: an entry carries the time at which it was written, and its transaction may commit later. A transaction that
 * writes entries gives up after half of the overlap (`maxEntryDelay`), so its entries are still inside the window of the
 * first poll that can see them.
 */
export const DEFAULT_OVERLAP = 30_000;

/** The smallest `revocation.overlap` that leaves `maxEntryDelay` room for one ordinary commit. */
export const MIN_OVERLAP = 1000;

/**
 * How long a transaction may take from its first entry to its commit. Half of the overlap goes to the writer and half to the
 * poll: the poll's own start, its round trip and the clock skew between the two.
 */
export function maxEntryDelay(overlap: number): number {
  return overlap / 2;
}

/**
 * How long a revocation entry is kept after its session has ended. An access token that was issued a moment before the end
 * lives for its lifetime, is accepted `clockTolerance` longer, and another process may judge it by a clock that is behind.
 * After that no access token of the session can be accepted, so the entry has nothing left to refuse.
 * @param longestAccessTokenLifetime over all session types
 */
export function entryLife(longestAccessTokenLifetime: number, clockTolerance: number): number {
  return longestAccessTokenLifetime + clockTolerance + CLOCK_MARGIN;
}

/**
 * How long clients may cache `jwks.json`, in seconds (RFC 9111 section 5.2.2.1). A new public key does not sign before every
 * cached copy that lacks it has expired: see `keyActivation`.
 */
export const JWKS_MAX_AGE_SECONDS = 300;

/**
 * How long a managed key waits between "a process has read it after its commit" and its first signature. By then every
 * process has polled since the commit and knows the key, or has not polled for `maxStaleness` and knows that it is stale: it
 * answers 503 and never reports a token of that key as invalid. Twice, so that one poll may fail. A public key also waits
 * until cached copies of `jwks.json` have expired.
 */
export function keyActivation({ pollInterval, maxStaleness }: PollTimes, isPublic: boolean): number {
  const known = 2 * (pollInterval + maxStaleness);
  return isPublic ? Math.max(known, JWKS_MAX_AGE_SECONDS * 1000) : known;
}

/**
 * How long a managed key is kept after its successor has started to sign. The last token that it signed may live for the
 * longest lifetime of any token, is accepted `clockTolerance` longer, and a process that has not yet seen the successor may
 * sign with the old key for as long as `keyActivation` allows it to lag.
 */
export function keyRetention(longestTokenLifetime: number, clockTolerance: number, activation: number): number {
  return longestTokenLifetime + clockTolerance + activation + CLOCK_MARGIN;
}

interface PollTimes {
  readonly pollInterval: number;
  readonly maxStaleness: number;
}
