const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * How long to wait after each failed try, in milliseconds: the schedule that Standard Webhooks recommends. After the tenth
 * failure there is no other try. Handlers of the application have the same schedule.
 */
const DELAYS = [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/** The largest part of a delay that chance adds, so that many events do not come back at the same moment. */
const JITTER = 0.2;

/** The longest time for which a destination that is down is left alone. It also bounds how late its return is noticed. */
const MAX_PAUSE = 5 * MINUTE;

/** The longest `Retry-After` that is obeyed. */
const MAX_RETRY_AFTER = 24 * HOUR;

/**
 * Returns how long to wait after a failed try, in milliseconds; undefined if it was the last one.
 * @param attempts how often it was tried, including this try
 * @param retryAfter the earliest time that the destination has named, in milliseconds from now. Default: none
 */
export function delayAfter(attempts: number, retryAfter = 0, random = Math.random()): number | undefined {
  const delay = DELAYS.at(attempts - 1);
  if (attempts > DELAYS.length || delay === undefined) return undefined;
  return Math.round(Math.max(delay * (1 + JITTER * random), Math.min(retryAfter, MAX_RETRY_AFTER)));
}

/**
 * Returns how long to leave a destination alone that did not answer, or that asked for it. In milliseconds.
 * @param failures how many tries in a row have failed
 */
export function pauseAfter(failures: number, retryAfter = 0, random = Math.random()): number {
  const delay = DELAYS[Math.min(failures, DELAYS.length) - 1] ?? 0;
  const pause = Math.min(delay, MAX_PAUSE) * (1 + JITTER * random);
  return Math.round(Math.max(pause, Math.min(retryAfter, MAX_RETRY_AFTER)));
}
