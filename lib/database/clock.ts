import { UnavailableError } from '../errors.js';
import { RemoteClock } from './remote-clock.js';

/**
 * The database's time, as this process knows it. Each poll corrects it.
 *
 * Grace periods, expiry, `iat`, `createdAt` and the blacklist all use it, so all processes agree on the time. The wall clock
 * of this machine has no part in it. It may be wrong, and somebody may set it while the process runs.
 */
export class Clock extends RemoteClock {
  /**
   * Returns the time in whole milliseconds since 1970.
   * @throws UnavailableError until the database has answered once: a time of this machine could make wrong tokens
   */
  now(): number {
    return this.read() ?? unknownTime();
  }

  /**
   * Returns a lower bound of the time in whole milliseconds since 1970. The database's clock has certainly reached it, unless
   * somebody has set that clock back since its last answer.
   * @throws UnavailableError until the database has answered once
   */
  earliest(): number {
    return this.readEarliest() ?? unknownTime();
  }
}

function unknownTime(): never {
  throw new UnavailableError(new Error("no poll has read the database's time yet"));
}
