import { parseArgs } from 'node:util';
import { wholeNumber } from './options.js';

export interface GrowthOptions {
  /** The table sizes to measure, in sessions. */
  readonly sizes: readonly number[];
  /** How often each operation is timed at each size. */
  readonly operations: number;
  /** Number of expired sessions to clean up. The table contains as many live ones. */
  readonly expired: number;
  /** Seconds for which refreshes are timed before the cleanup. */
  readonly seconds: number;
}

/**
 * Reads the command line.
 * @throws Error for an unknown option or an invalid value
 */
export function readGrowthOptions(): GrowthOptions {
  const { values } = parseArgs({
    options: {
      sizes: { type: 'string', default: '10000,100000,1000000,10000000' },
      operations: { type: 'string', default: '300' },
      expired: { type: 'string', default: '1000000' },
      seconds: { type: 'string', default: '20' },
    },
  });
  return {
    sizes: values.sizes.split(',').map((size) => wholeNumber('sizes', size, 1000)),
    operations: wholeNumber('operations', values.operations, 1),
    expired: wholeNumber('expired', values.expired, 1000),
    seconds: wholeNumber('seconds', values.seconds, 1),
  };
}
