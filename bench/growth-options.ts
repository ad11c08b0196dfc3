import { parseArgs } from 'node:util';
import { wholeNumber } from './options.js';

export interface GrowthOptions {
  /** How many sessions there are, one after the other. */
  readonly sizes: readonly number[];
  /** How often each operation is timed, at each size. */
  readonly operations: number;
  /** How many expired sessions are cleaned up, among as many that have not. */
  readonly expired: number;
  /** For how long refreshes are timed before the cleanup. */
  readonly seconds: number;
}

/** @throws for what is not known */
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
