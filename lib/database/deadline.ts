/** The server has said nothing for too long: it hangs, a lock is held on our rows, or the network loses what we send. */
export class TimeoutError extends Error {
  constructor() {
    super('no answer in time');
  }
}

/**
 * @param deadline on the monotonic clock, in milliseconds
 * @throws NoAnswer where `work` takes until after the deadline; what it comes to then is nobody's
 */
export async function before<T>(deadline: number, work: () => Promise<T>): Promise<T> {
  const left = deadline - performance.now();
  if (left <= 0) throw new TimeoutError();
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TimeoutError()), left);
  });
  // A `work` that throws at once must be a rejection too, or the timer would stay.
  const working = (async () => work())();
  return Promise.race([working, tooLate]).finally(() => clearTimeout(timer));
}
