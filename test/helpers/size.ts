const SIZES = ['small', 'full'];
const size = process.env.TEST_SIZE;
if (size !== undefined && !SIZES.includes(size))
  throw new Error(`TEST_SIZE is "${size}", which is unknown. Use ${SIZES.join(' or ')}.`);

/** Whether this is a small run, as in CI. */
export const SMALL = size === 'small';
/** Whether this is a run in all combinations. */
export const FULL = size === 'full';

/**
 * Returns all variants, or only one of them in a small run.
 * @param turn which one. Suites differ in it, so that a small run has each variant in some suite
 */
export function variants<T>(all: readonly T[], turn: number): readonly T[] {
  return SMALL ? [all[turn % all.length]] : all;
}
