import type { BenchOptions } from './options.js';
import { Patience, type Undisturbed } from './others.js';
import { say } from './report.js';

/**
 * Measures each contestant once per round. Each round starts with a different one, so that a disturbance affects all of them alike.
 * If there are several rounds, warm-ups run first and are not counted, so that the code is compiled. Reports how many
 * measurements were discarded, and how many disturbed ones were kept.
 * @param measures the measurement of each contestant
 * @returns the results of each contestant, one per round, in the order of `measures`
 */
export async function inRounds<R>(
  measures: readonly (() => Promise<R>)[],
  { rounds, patience: seconds, warmUps = 1 }: Pick<BenchOptions, 'rounds' | 'patience'> & { warmUps?: number },
): Promise<Undisturbed<R>[][]> {
  for (let count = 0; rounds > 1 && count < warmUps; count++) for (const warmUp of measures) await warmUp();
  const patience = new Patience(seconds);
  const results: Undisturbed<R>[][] = measures.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < measures.length; turn++) {
      const at = (turn + round) % measures.length;
      results[at].push(await patience.undisturbed(measures[at]));
    }
  }
  const { thrownAway, disturbed } = patience;
  if (thrownAway > 0) say(`${thrownAway} measurements were discarded because other processes used the CPU.`);
  if (disturbed > 0) say(`${disturbed} measurements were kept although other processes used the CPU.`);
  return results;
}
