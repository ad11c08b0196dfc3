import type { BenchOptions } from './options.js';
import { Patience, type Undisturbed } from './others.js';
import { say } from './report.js';

/**
 * Measures each of them once a round, a round at a time, each round beginning with another: what disturbs, disturbs all of them. Before
 * several rounds there are some that do not count, long enough for the compiler to have seen all of it. Says how
 * many measurements were thrown away, and how many are kept though other processes were at work.
 * @returns for each of them a result a round, in the order in which they were given
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
  if (thrownAway > 0) say(`${thrownAway} measurements were thrown away: other processes took the processor.`);
  if (disturbed > 0) say(`${disturbed} measurements were kept though other processes were at work.`);
  return results;
}
