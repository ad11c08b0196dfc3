/**
 * Every time span on which a safety argument depends, with the argument. Other constants only tune how fast or how often
 * something happens. These decide whether a promise holds.
 *
 * All spans are in milliseconds unless the name says otherwise. This file imports nothing, so every module may import it.
 */

/**
 * Clock skew that we allow for between two processes. Each process takes the time from the database at every poll. Its error
 * is at most half a round trip plus the drift of its monotonic clock until the next poll, far below this margin.
 */
export const CLOCK_MARGIN = 5000;

/**
 * How far the monotonic clock of a process may drift from the database's clock, as a fraction of the elapsed time. Linux
 * slews a clock by at most 500 parts per million, and both clocks may be slewed in opposite directions.
 */
export const CLOCK_DRIFT = 1 / 1000;

/**
 * How long a transaction waits for a lock. A process that freezes while it holds a lock must not block the others for
 * longer. This is below the usual 30 s time-out of a proxy, so that clients see our 503 and not the proxy's 504.
 */
export const LOCK_WAIT = 10_000;

/**
 * How long a login may take, from the moment before the credentials are checked to the insert of its session. An ending of all
 * sessions refuses the logins that started before it. The row that remembers the ending must therefore outlive every login
 * that may still insert: see `USER_ROW_LIFE`. `SessionAdministration.endAll` passes again after this time.
 */
export const MAX_LOGIN = 600_000;

/** How long a row of a user without sessions is kept after its last use. Far longer than `MAX_LOGIN`. */
export const USER_ROW_LIFE = 86_400_000;

/**
 * How much an ending of all sessions adds to its time on a cluster with several writers. The clocks of its nodes differ, and
 * a login may have been started by the clock of another node.
 */
export const NODE_CLOCK_MARGIN = 1000;

/**
 * How much longer than `LOCK_WAIT` we wait for an answer of the server. The server's own lock time-out must fire first. A
 * lock wait then ends with the server's error on a healthy connection, and not with a closed socket.
 */
export const ANSWER_MARGIN = 5000;

/**
 * How long a statement is sent again because it reached a server that is not the primary. Each attempt closes its connection,
 * so the pool has only connections to the new primary soon after a fail-over. Longer waits would only pile up requests while
 * there is no primary.
 */
export const SERVER_CHANGE = 1000;

/** How often it is sent at least, even if that takes longer. On a busy machine, opening connections takes long. */
export const MIN_SERVER_ATTEMPTS = 4;

/** When a process polls again that has reached a server which is not the primary. Until then, all of its requests get 503. */
export const POLL_AGAIN = 200;

/**
 * Default of `revocation.overlap`: how far each poll looks back beyond the start of the last one. Commits become visible out
 * of order: an entry carries the time at which it was written, and its transaction may commit later. A transaction that
 * writes entries gives up after half of the overlap (`maxEntryDelay`). Its entries are therefore still inside the window of
 * the first poll that can see them.
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
 * Maximum of `jwt.clockTolerance`. Another process may accept expired tokens for longer than this one does. It knows nothing
 * of this process's option, so the bound is fixed.
 */
export const MAX_CLOCK_TOLERANCE = 60_000;

/**
 * How much longer than the longest access token of its session a revocation entry is kept. Any process may accept the token
 * for `MAX_CLOCK_TOLERANCE` after its expiry, and its clock may be behind by `CLOCK_MARGIN`.
 */
export const ENTRY_MARGIN = MAX_CLOCK_TOLERANCE + CLOCK_MARGIN;

/**
 * How long a revocation entry is kept after its session has ended. By then, no process can accept an access token of the
 * session any more, whatever its options are. The row says for how long tokens were issued, so the result does not depend on
 * the options of the process that ends the session. Its own longest lifetime is only a second safeguard.
 * @param recordedLifetime the longest lifetime under which an access token of this session was issued
 * @param ownLongestLifetime the longest lifetime of an access token over the session types of this process
 */
export function entryLife(recordedLifetime: number, ownLongestLifetime: number): number {
  return Math.max(recordedLifetime, ownLongestLifetime) + ENTRY_MARGIN;
}

/**
 * How long clients may cache `jwks.json`, in seconds (RFC 9111 section 5.2.2.1). A new public key must not sign until every
 * cached copy without it has expired: see `keyActivation`.
 */
export const JWKS_MAX_AGE_SECONDS = 300;

/**
 * How long a managed key waits before its first signature, counted from the first time a process reads it after its commit.
 *
 * By then, every process has either polled since the commit and knows the key, or has not polled for `maxStaleness` and
 * knows that it is stale. A stale process answers 503 and never reports a token of that key as invalid. The factor 2 allows
 * for one failed poll. A public key also waits until cached copies of `jwks.json` have expired.
 */
export function keyActivation({ pollInterval, maxStaleness }: PollTimes, isPublic: boolean): number {
  const known = 2 * (pollInterval + maxStaleness);
  return isPublic ? Math.max(known, JWKS_MAX_AGE_SECONDS * 1000) : known;
}

/**
 * How long a managed key is kept after its successor has started to sign. The last token that it signed may live for the
 * longest lifetime of any token, and another process may accept it for `MAX_CLOCK_TOLERANCE` longer. A process that has not
 * yet seen the successor may go on signing with the old key for as long as `activation`.
 */
export function keyRetention(longestTokenLifetime: number, activation: number): number {
  return longestTokenLifetime + MAX_CLOCK_TOLERANCE + activation + CLOCK_MARGIN;
}

/**
 * How long after its last transaction a process keeps its turn of a job, such as the cleanup. A batch takes at most as long as
 * a transaction, and rests of a multiple of that follow it. If a slow process loses its turn nevertheless, it stops. If one
 * crashes, the job waits for this long.
 */
export const JOB_LEASE = 4 * (LOCK_WAIT + ANSWER_MARGIN);

/** How long after its start `endAll` passes again, when every login that was in progress has ended or committed its session. */
export const SECOND_PASS_AFTER = MAX_LOGIN + LOCK_WAIT + ANSWER_MARGIN + CLOCK_MARGIN;

/**
 * How old a pushed message may be, by the database's clock. A recorded message that is sent again later is refused. It must
 * exceed the time from the message to the commit of its transaction (`maxEntryDelay`, 15 s by default) and the broker's delay.
 * A message that is late costs nothing but speed, because the polls deliver its entries.
 */
export const PUSH_LIFE = 60_000;

/**
 * How many successful polls that began after a pushed entry has arrived must find it in the table. Otherwise it is dropped.
 * A push is sent with the commit or after it, so the first such poll already sees the entry. The second one allows for a
 * read from another node, which may lag behind.
 */
export const POLLS_TO_CONFIRM = 2;

/**
 * How long a process issues the same nonce for DPoP proofs. Proofs are remembered by the period of their nonce.
 */
export const DPOP_NONCE_PERIOD = 10_000;

/**
 * How long a nonce for DPoP proofs is accepted, and so how long a proof that was signed in advance can be used. Each process
 * remembers the proofs that were used for as long. A multiple of `DPOP_NONCE_PERIOD`. A client whose nonce is older gets a new one and
 * repeats its request.
 */
export const DPOP_NONCE_LIFE = 120_000;

/**
 * How long a process collects used DPoP proofs before it pushes them to the others. A proof that is copied and sent to another
 * process within this time is accepted there once more.
 */
export const DPOP_PUSH_DELAY = 100;

/**
 * How long a service without the database asks the feed to wait for news. Its knowledge is as old as the issuer's last poll when
 * the answer is made, so it is at most this plus a poll interval old when the next answer comes. That leaves it more than half
 * of `maxStaleness` to recover from a failure.
 */
export function feedWait(maxStaleness: number): number {
  return maxStaleness / 4;
}

/**
 * How long the service waits for an answer of the feed. A process of the issuer that is frozen never answers. Afterwards there
 * is still time for another try, which may reach another process, before the service is stale.
 */
export function feedTimeout(maxStaleness: number): number {
  return maxStaleness / 2;
}

/** How long a service waits after a failed request to the feed, at most, and at least. Services must not come back all at once. */
export const FEED_RETRY = { min: 50, max: 1000 } as const;

/**
 * How long a service rests between two requests to the feed. Many endings in a row then share an answer. It rests longer if the
 * issuer has answered at once without anything new.
 */
export const FEED_PAUSE = { news: 20, nothing: 250 } as const;

/** How often a service reads all ended sessions again, page by page. It finds those that were committed too late for the log. */
export const FEED_RELOAD_AFTER = 60_000;

/**
 * When a service loads the public keys again. A managed key signs only after `JWKS_MAX_AGE_SECONDS`, so the service knows it long
 * before. A key that the operator has removed is accepted for this long.
 */
export const KEYS_RELOAD_AFTER = 60_000;

/** How old the public keys may be, if they cannot be loaded again. Afterwards the service refuses every token with 503. */
export const KEYS_MAX_AGE = 2 * JWKS_MAX_AGE_SECONDS * 1000;

/** The shortest time between two loads of the public keys, whatever tokens arrive. */
export const KEYS_MIN_PAUSE = 1000;

/**
 * The longest delay of a timer, a little less than 25 days. Node.js fires a timer with a longer delay at once, so every option
 * that becomes a timer is bounded by this, and so is every wait whose deadline is calculated.
 */
export const MAX_TIMER = 2 ** 31 - 1;

interface PollTimes {
  readonly pollInterval: number;
  readonly maxStaleness: number;
}

/** How often open connections are compared with the time. They close this long after their access token has expired, at most. */
export const CONNECTION_TICK = 250;

/**
 * How often this process asks whether the sessions of its open connections are live, although no event says otherwise. When
 * memory has become stale, connections stay open for this long, at most.
 */
export const CONNECTION_RECHECK = 1000;
