import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** How long one measurement takes. */
  seconds: number;
  /** How often each contestant is measured. */
  rounds: number;
  /** How many seconds each benchmark may spend on waiting for other processes to be quiet. */
  patience: number;
}

/** @param known the names of the benchmarks @returns which of them to run, and how @throws for what is not known */
export function readArguments(known: readonly string[]): { names: string[]; options: BenchOptions } {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '5' },
      patience: { type: 'string', default: '20' },
      only: { type: 'string', default: known.join() },
    },
  });
  const names = values.only.split(',');
  for (const name of names) {
    if (!known.includes(name)) throw new Error(`--only ${name}: known are ${known.join(', ')}`);
  }
  return {
    names,
    options: {
      seconds: wholeNumber('seconds', values.seconds, 1),
      rounds: wholeNumber('rounds', values.rounds, 1),
      patience: wholeNumber('patience', values.patience, 0),
    },
  };
}

/** @throws where it is none, or less than `least` */
export function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${name} ${text}: must be a whole number from ${least}`);
  return value;
}
