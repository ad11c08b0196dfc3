import {
  checkObject,
  type Duration,
  duration,
  type OptionFaults,
  optional,
  positiveInteger,
  withDefault,
} from '../option-check.js';
import type { RevocationPush } from './push.js';

/** The `revocation` part of the options: how processes learn that a session has ended. */
export interface RevocationOptions {
  /** How often each process asks for new entries: the longest that a session ended elsewhere is still let in. Default: `'1s'`. */
  pollInterval?: Duration;
  /** How far back each poll looks again, since commits can be seen out of order. Default: `'30s'`. */
  overlap?: Duration;
  /** Without a poll for so long, a request reads its session's row instead, or gets 503. Default: `'10s'`. */
  maxStaleness?: Duration;
  /**
   * Tells the other processes at once, where they would wait for their next poll: `'postgres'` for LISTEN and NOTIFY of the
   * database, or a push such as `redisPush`. Default: none.
   */
  push?: 'postgres' | RevocationPush;
  /** How many ended sessions are held in memory. While there are more, a request reads its session's row. Default: 1 000 000. */
  maxEntries?: number;
}

/** `RevocationOptions`, checked and completed, its times in milliseconds. */
export interface RevocationConfig {
  readonly pollInterval: number;
  readonly overlap: number;
  readonly maxStaleness: number;
  readonly push?: 'postgres' | RevocationPush;
  readonly maxEntries: number;
}

export function readRevocationOptions(given: unknown, faults: OptionFaults): RevocationConfig {
  const config = checkObject<RevocationConfig>(given ?? {}, 'revocation', faults, {
    pollInterval: withDefault(1000, duration()),
    overlap: withDefault(30_000, duration()),
    maxStaleness: withDefault(10_000, duration()),
    push: optional(push),
    maxEntries: withDefault(1_000_000, positiveInteger),
  });
  if (config.maxStaleness < config.pollInterval) {
    faults.add('revocation.maxStaleness', 'is below pollInterval, so every request would read its row; make it larger');
  }
  if (config.overlap < 1000) faults.add('revocation.overlap', "must be at least '1s'");
  return config;
}

function push(value: unknown, name: string, faults: OptionFaults): RevocationConfig['push'] {
  const given = value as Partial<Record<string, unknown>> | null;
  const isPush = ['start', 'publish', 'stop'].every((method) => typeof given?.[method] === 'function');
  if (value !== 'postgres' && !isPush) faults.add(name, "must be 'postgres', or have start, publish and stop");
  return value as RevocationConfig['push'];
}
