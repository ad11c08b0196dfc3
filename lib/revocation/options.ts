import { DEFAULT_OVERLAP, MIN_OVERLAP } from '../engine/timing.js';
import {
  checkObject,
  type Duration,
  type OptionFaults,
  optional,
  positiveInteger,
  timerSpan,
  texts,
  withDefault,
} from '../option-check.js';
import type { RevocationPush } from './push.js';

const MIN_KEY_BYTES = 32;

/** The option `revocation`: how processes learn that a session has ended. */
export interface RevocationOptions {
  /**
   * How often each process asks the database for newly ended sessions. While polls succeed, a session that another process
   * has ended is accepted for at most this long. Default: `'1s'`.
   */
  pollInterval?: Duration | undefined;
  /**
   * How far each poll looks back beyond the previous one. Commits may become visible out of order, so a poll can miss an entry
   * that a later one sees. Must be at least `'1s'`. Default: `'30s'`.
   */
  overlap?: Duration | undefined;
  /**
   * If no poll has succeeded for this long, each request reads the row of its session instead. If that fails too, it gets 503.
   * Must be at least `pollInterval`. Default: `'10s'`.
   */
  maxStaleness?: Duration | undefined;
  /**
   * How to inform the other processes at once instead of at their next poll: `'postgres'` for LISTEN and NOTIFY, or a push such
   * as `redisPush`. Default: none.
   */
  push?: 'postgres' | RevocationPush | undefined;
  /**
   * The secret that authenticates pushed messages: at least 32 bytes, the same on every process. If you give several, the first
   * one writes and messages of all of them are accepted, so that you can replace one. Default: `jwt.managed.encryptionKey`, else
   * the keys of `jwt`.
   */
  pushKey?: string | string[] | undefined;
  /**
   * Maximum number of ended sessions in memory. While there are more, some requests read the row of their session.
   * Default: 1,000,000.
   */
  maxEntries?: number | undefined;
}

/** `RevocationOptions`, checked and complete. All times are in milliseconds. */
export interface RevocationConfig {
  readonly pollInterval: number;
  readonly overlap: number;
  readonly maxStaleness: number;
  readonly push?: 'postgres' | RevocationPush;
  readonly pushKey?: readonly string[];
  readonly maxEntries: number;
}

/** Checks the option `revocation` and adds the faults it finds to `faults`. */
export function readRevocationOptions(given: unknown, faults: OptionFaults): RevocationConfig {
  const before = faults.list.length;
  const config = checkObject<RevocationConfig>(given ?? {}, 'revocation', faults, {
    pollInterval: withDefault(1000, timerSpan),
    overlap: withDefault(DEFAULT_OVERLAP, timerSpan),
    maxStaleness: withDefault(10_000, timerSpan),
    push: optional(push),
    pushKey: optional(texts),
    maxEntries: withDefault(1_000_000, positiveInteger),
  });
  if (faults.list.length === before && config.maxStaleness < config.pollInterval) {
    faults.add(
      'revocation.maxStaleness',
      `is below pollInterval (${config.maxStaleness} < ${config.pollInterval} ms), so every request would read its row; make it larger`,
    );
  }
  if (config.overlap < MIN_OVERLAP) faults.add('revocation.overlap', `must be at least '1s'; got ${config.overlap} ms`);
  if (config.pushKey?.some((key) => Buffer.byteLength(key) < MIN_KEY_BYTES))
    faults.add('revocation.pushKey', `must have at least ${MIN_KEY_BYTES} bytes per key`);
  return config;
}

function push(value: unknown, name: string, faults: OptionFaults): RevocationConfig['push'] {
  const methods = value as Partial<Record<string, unknown>> | null;
  const isPush = ['start', 'publish', 'stop'].every((method) => typeof methods?.[method] === 'function');
  if (value !== 'postgres' && !isPush) {
    faults.add(
      name,
      "must be 'postgres' or an object with the methods start, publish and stop, such as redisPush({ url })",
    );
  }
  return value as RevocationConfig['push'];
}
