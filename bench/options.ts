import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** Duration of one measurement in seconds. */
  seconds: number;
  /** How often each contestant is measured. */
  rounds: number;
  /** Whether to check only that everything runs, with few rows. True if there is one round. */
  isTrial: boolean;
  /** The guards to measure. Undefined: all of them. */
  guards?: readonly string[];
  /** Seconds that each benchmark may wait for other processes to be quiet. */
  patience: number;
}

/**
 * Reads the command line.
 * @param known the names of all benchmarks
 * @returns the benchmarks to run and their options
 * @throws Error for an unknown name or option, or an invalid value
 */
export function readArguments(known: readonly string[]): { names: string[]; options: BenchOptions } {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '0.5' },
      rounds: { type: 'string', default: '21' },
      patience: { type: 'string', default: '20' },
      only: { type: 'string', default: known.join() },
      guards: { type: 'string' },
    },
  });
  const names = values.only.split(',');
  for (const name of names) {
    if (!known.includes(name)) throw new Error(`--only ${name}: unknown benchmark; choose from ${known.join(', ')}`);
  }
  const seconds = Number(values.seconds);
  if (!(seconds >= 0.1)) throw new Error(`--seconds ${values.seconds}: must be a number of at least 0.1`);
  const rounds = wholeNumber('rounds', values.rounds, 1);
  return {
    names,
    options: {
      seconds,
      rounds,
      isTrial: rounds === 1,
      patience: wholeNumber('patience', values.patience, 0),
      guards: values.guards?.split(','),
    },
  };
}

/**
 * Reads a whole number.
 * @throws Error if `text` is not a whole number or is below `least`
 */
export function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${name} ${text}: must be a whole number of at least ${least}`);
  return value;
}
