import {
  checkObject,
  type Duration,
  type OptionFaults,
  positiveInteger,
  timerSpan,
  withDefault,
} from '../option-check.js';

/** The option `cleanup`. With `false`, no timer runs: call `SessionCleanup.run()` yourself. */
export interface CleanupOptions {
  /** How often each process tries to clean up. Only one process at a time cleans up. Default: `'10m'`. */
  interval?: Duration | undefined;
  /** How many rows one batch deletes; at most 1,000. Default: 100. */
  batchSize?: number | undefined;
}

/** `CleanupOptions`, checked and completed. The interval is in milliseconds; 0 means never. */
export interface CleanupConfig {
  readonly interval: number;
  readonly batchSize: number;
}

/** Each row is a parameter of a statement. SQLite allows 32,766 of them, and a short transaction should have far fewer. */
const MAX_BATCH_SIZE = 1000;

function readBatchSize(value: unknown, name: string, faults: OptionFaults): number {
  const size = positiveInteger(value, name, faults);
  if (size > MAX_BATCH_SIZE)
    faults.add(
      name,
      `must be at most ${MAX_BATCH_SIZE}, because the database deletes them in one transaction and limits its parameters; got ${size}`,
    );
  return size;
}

/** Checks the option `cleanup`, and adds the faults that it finds to `faults`. */
export function readCleanupOptions(given: unknown, faults: OptionFaults): CleanupConfig {
  if (given === false) return { interval: 0, batchSize: 100 };
  return checkObject(given ?? {}, 'cleanup', faults, {
    interval: withDefault(600_000, timerSpan),
    batchSize: withDefault(100, readBatchSize),
  });
}
