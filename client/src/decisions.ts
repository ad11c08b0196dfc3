/**
 * Every rule of the client as a pure function. The client calls them, and so does an exhaustive search over the orders of
 * requests, lost answers and tabs. This file imports nothing and reads no clock.
 *
 * All times are in milliseconds.
 */

/** Why a session ended. `logout`: a user ended it. `expired`: it was not used for too long. `revoked`: the server refuses it. */
export type EndReason = 'logout' | 'expired' | 'revoked';

/** What the tabs of a browser share: the session, or that it ended. */
export interface SessionRecord {
  /** Orders logins, logouts and endings in this browser. Each of them takes a higher one: see `nextEpoch`. */
  readonly epoch: number;
  /** Undefined if there is no session. */
  readonly sessionId?: string | undefined;
  /** Why there is no session. Undefined with a session, and if there never was one. */
  readonly ended?: EndReason | undefined;
  /** What the server says about the ending, such as `evicted`. */
  readonly cause?: string | undefined;
  /** The session type. */
  readonly type?: string | undefined;
  /** The generation of the refresh token. In cookies, which scripts cannot read, the number of refreshes that were seen. */
  readonly generation: number;
  /** When the server issued the access token, by the server's clock. 0 in cookies. */
  readonly issuedAt: number;
  readonly access?: string | undefined;
  readonly refresh?: string | undefined;
  /** When the tokens arrived, by the clock of this device. */
  readonly arrivedAt: number;
  /** How long the access token lives, counted from its arrival. */
  readonly accessLife: number;
  /** How long the session lives without a further refresh, counted from `arrivedAt`. */
  readonly sessionLife: number;
  /** False if the session must not outlive the browser. */
  readonly persistent?: boolean | undefined;
  /**
   * The refresh token of a session that the user left, until the server knows. In cookies it is empty, because the browser
   * has the token.
   */
  readonly revoke?: string | undefined;
}

/** The epoch of a login, a logout or an ending. It stays higher than all others if storage is cleared or a clock is set back. */
export function nextEpoch(held: SessionRecord | null, now: number): number {
  return Math.max((held?.epoch ?? 0) + 1, now);
}

/**
 * Whether a record replaces another. Of one session, the later generation wins, and of one generation the later access token.
 * If two logins took the same epoch, the later session id wins: ids sort by the time of the login. An ending wins over a login
 * of its epoch.
 */
export function supersedes(next: SessionRecord, held: SessionRecord | null): boolean {
  if (!held) return true;
  if (next.epoch !== held.epoch) return next.epoch > held.epoch;
  if (next.sessionId !== held.sessionId)
    return !next.sessionId || (!!held.sessionId && next.sessionId > held.sessionId);
  if (next.generation !== held.generation) return next.generation > held.generation;
  return next.issuedAt > held.issuedAt;
}

/** Returns the newer of two records. */
export function newest<One extends SessionRecord | null>(one: One, other: One): One {
  return other && supersedes(other, one) ? other : one;
}

/**
 * Whether the answer to a login is stored. It replaces whatever was stored before the login was sent, but it does not undo a
 * logout since then. Of two logins at once, the later one wins: session ids sort by the time of the login.
 * @param epochBefore the epoch that was stored when the login was sent; 0 if there was none
 */
export function takesLogin(held: SessionRecord | null, epochBefore: number, sessionId: string): boolean {
  if (!held || held.epoch <= epochBefore) return true;
  return held.sessionId ? sessionId > held.sessionId : held.ended !== 'logout';
}

/** What decides about an answer. */
export interface Answered {
  /** 0 if no answer of the server arrived. */
  readonly status: number;
  /** The server's code if it refused the request, or `unreachable`. */
  readonly code?: string | undefined;
  /** Seconds, from the header `Retry-After`. */
  readonly retryAfter?: number | undefined;
}

/** What an answer to a refresh means. `over`: the token is refused for good. `later`: nothing is known, so keep the session. */
export function meaningOfRefresh({ status, code }: Answered): 'renewed' | 'over' | 'later' {
  if (status === 200 && code === undefined) return 'renewed';
  return status === 401 && (code === 'token_not_valid' || code === 'session_not_found') ? 'over' : 'later';
}

/**
 * What follows from a refusal of the refresh token that was sent.
 * @param held the newest record, read again after the answer
 * @param sent the record whose token was sent
 * @returns `end` if the record still has that token, `retry` if it has a newer one, `adopt` if it has ended already
 */
export function afterRefusal(held: SessionRecord | null, sent: SessionRecord): 'end' | 'retry' | 'adopt' {
  if (!held || !supersedes(held, sent)) return 'end';
  return held.sessionId ? 'retry' : 'adopt';
}

/**
 * What follows from an answer that set cookies, which may be those of another session.
 * @param held the newest record, read again after the answer
 * @param sent the record at the time of the request
 * @param sessionId the session of the answer
 * @returns `store` if it is the session of the record, `adopt` if the browser had another session's cookies all along, `again`
 *   if a login or logout has overtaken the request, so it is unknown whose cookies the browser has now
 */
export function afterCookies(
  held: SessionRecord | null,
  sent: SessionRecord | null,
  sessionId: string,
): 'store' | 'adopt' | 'again' {
  if (held?.sessionId === sessionId) return 'store';
  return (held?.epoch ?? 0) === (sent?.epoch ?? 0) ? 'adopt' : 'again';
}

/**
 * What `GET sessions` shows after a login in cookies.
 * @param current the id of the current session in the answer
 * @param expected the id in the answer to the login
 * @returns `dropped` if the browser has no cookies, `overtaken` if a late answer has put others in their place, and otherwise
 *   `kept`, also if the answer shows nothing, for example if the server does not have the route
 */
export function loginCookies(
  { status, code }: Answered,
  current: string | undefined,
  expected: string,
): 'kept' | 'dropped' | 'overtaken' {
  if (status === 401 && code === 'not_authenticated') return 'dropped';
  return (status === 401 && code === 'token_not_valid') || (current && current !== expected) ? 'overtaken' : 'kept';
}

/** Who sends a request that sets cookies or rotates tokens. It lapses with the time limit of the request. */
export interface Lease {
  readonly owner: string;
  readonly until: number;
}

/**
 * Whether a tab may take the lease, in one step with its reading. A lease that lies too far ahead was written before the clock
 * was set back, and lapses too.
 * @param longest the longest time for which a lease is ever taken
 */
export function mayTake(lease: Lease | null, owner: string, now: number, longest: number): boolean {
  return !lease || lease.owner === owner || lease.until <= now || lease.until > now + longest;
}

/** A point in time by both clocks. */
export interface Instant {
  readonly wall: number;
  readonly monotonic: number;
}

/**
 * Whether an answer came too late to be used, because the tab was frozen or the device slept. It counts as lost, whatever it
 * says. In the same way, a value read from an asynchronous storage may be too old to be sent.
 */
export function isTooLate(since: Instant, now: Instant, limit: number): boolean {
  return ageOf(now.monotonic - since.monotonic, now.wall - since.wall) > limit;
}

/** The longest `Retry-After` to wait for, in seconds. Otherwise the caller gets the 503. */
export const LONGEST_RETRY_AFTER = 10;

/**
 * What to do with a request that was refused. `refresh`: the access token is not valid, so nothing was done. `wait`: the server
 * is not available.
 * @param mayRepeat whether the body can be sent again
 */
export function afterAnswer(
  method: string,
  { status, code, retryAfter }: Answered,
  mayRepeat: boolean,
): 'return' | 'refresh' | 'wait' {
  if (!mayRepeat) return 'return';
  if (status === 401) return code === 'token_not_valid' ? 'refresh' : 'return';
  const isUnhandled = code === 'unavailable' || (retryAfter && /^(GET|HEAD|OPTIONS)$/i.test(method));
  return isUnhandled && status === 503 && (retryAfter ?? 0) <= LONGEST_RETRY_AFTER ? 'wait' : 'return';
}

/**
 * How old a record is. A monotonic clock may stand still while the device sleeps, and the other clock may be set. The larger
 * difference counts: at worst, the client refreshes too early.
 * @param monotonic the time since this tab has the record, by a monotonic clock
 * @param wall the time since the tokens arrived, by the clock of this device
 */
export function ageOf(monotonic: number, wall: number): number {
  return Math.max(0, monotonic, wall);
}

/**
 * The age at which a record is refreshed ahead of time: between 70 and 90 percent of the life of its access token.
 * @param random between 0 and 1, drawn once per tab and record, so that tabs do not refresh all at once
 */
export function refreshAge({ accessLife }: SessionRecord, random: number): number {
  return accessLife * (0.7 + 0.2 * random);
}

/**
 * How long to wait before another attempt. At least as long as the server says, otherwise half a second, and twice as long
 * after each further failure, up to half a minute.
 * @param attempt how many attempts have failed before, from 0
 * @param retryAfter seconds
 * @param random between 0 and 1
 */
export function retryDelay(attempt: number, retryAfter: number | undefined, random: number): number {
  const backoff = Math.min(500 * 2 ** attempt, 30_000) * (1 + random / 2);
  return Math.max(backoff, (retryAfter ?? 0) * 1000);
}

/** Why a session is over whose refresh token was refused. */
export function reasonOfEnd({ sessionLife }: SessionRecord, age: number): EndReason {
  return age >= sessionLife ? 'expired' : 'revoked';
}
