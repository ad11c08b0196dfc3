import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** What others may use of one core while something is measured. */
const TOLERATED = 0.1;
const LOOK = 250;

/**
 * Measures while the machine has nothing else to do, as long as it has patience: waits for a quiet moment, and throws away
 * what was measured while others were at work. When the patience is at its end, it takes what it gets.
 */
export class Patience {
  private left: number;

  /** @param seconds to be spent in all on waiting, and on measurements thrown away */
  constructor(seconds: number) {
    this.left = seconds * 1000;
  }

  /** @param othersBelong whether the work of other processes is a part of what is measured: a database server's */
  async undisturbed<T extends { others: number }>(
    measure: () => Promise<T>,
    othersBelong: boolean,
  ): Promise<{ result: T; thrownAway: number }> {
    for (let thrownAway = 0; ; thrownAway++) {
      await this.untilQuiet();
      const startedAt = performance.now();
      const result = await measure();
      if (othersBelong || result.others < TOLERATED || this.left <= 0) return { result, thrownAway };
      this.left -= performance.now() - startedAt;
    }
  }

  private async untilQuiet(): Promise<void> {
    while (this.left > 0) {
      const before = machineTime();
      await sleep(LOOK);
      if ((machineTime() - before) / (LOOK * 1000) < TOLERATED) return;
      this.left -= LOOK;
    }
  }
}

/** Processor time that the machine has spent, in microseconds: all processes together, and what a host took away. */
export function machineTime(): number {
  const worked = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys, 0);
  return (worked + stolen()) * 1000;
}

/** Milliseconds that a host machine ran something else than this virtual one; Linux alone tells. */
function stolen(): number {
  try {
    const ticks = Number(readFileSync('/proc/stat', 'utf8').split('\n')[0].trim().split(/\s+/)[8]);
    return ticks * 10;
  } catch {
    return 0;
  }
}
