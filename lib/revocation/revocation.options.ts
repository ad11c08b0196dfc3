import { checkObject, type Duration, duration, type OptionFaults, withDefault } from '../option-check.js';

/** The `revocation` part of the options: how processes learn that a session has ended. */
export interface RevocationOptions {
  /** How often each process asks for new entries: the longest that a session ended elsewhere is still let in. Default: `'1s'`. */
  pollInterval?: Duration;
  /** How far back each poll looks again, since commits can be seen out of order. Default: `'30s'`. */
  overlap?: Duration;
  /** Without a poll for so long, a request reads its session's row instead, or gets 503. Default: `'10s'`. */
  maxStaleness?: Duration;
}

/** `RevocationOptions`, checked and completed, in milliseconds. */
export interface RevocationConfig {
  readonly pollInterval: number;
  readonly overlap: number;
  readonly maxStaleness: number;
}

export function readRevocationOptions(given: unknown, faults: OptionFaults): RevocationConfig {
  const config = checkObject(given ?? {}, 'revocation', faults, {
    pollInterval: withDefault(1000, duration()),
    overlap: withDefault(30_000, duration()),
    maxStaleness: withDefault(10_000, duration()),
  });
  if (config.maxStaleness < config.pollInterval) {
    faults.add('revocation.maxStaleness', 'is below pollInterval, so every request would read its row; make it larger');
  }
  if (config.overlap < 1000) faults.add('revocation.overlap', "must be at least '1s'");
  return config;
}
