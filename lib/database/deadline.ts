import { MAX_TIMER } from '../engine/timing.js';

/**
 * The database did not answer in time. It may hang, another transaction may hold a lock, or the network may lose packets.
 */
export class TimeoutError extends Error {
  constructor() {
    super('no answer in time');
  }
}

/**
 * Runs `work` until the deadline. A late result is discarded.
 * @param deadline on the monotonic clock (`performance.now()`), in milliseconds
 * @throws TimeoutError after the deadline
 */
export async function before<T>(deadline: number, work: () => Promise<T>): Promise<T> {
  const left = deadline - performance.now();
  if (left <= 0) throw new TimeoutError();
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TimeoutError()), Math.min(left, MAX_TIMER));
  });
  // Async, so that the timer is cleared even if `work` throws synchronously.
  const working = (async () => work())();
  return Promise.race([working, tooLate]).finally(() => clearTimeout(timer));
}
