import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** What others may use of one core while something is measured. */
const TOLERATED = 0.1;
const LOOK = 250;
/** Microseconds in the unit of `/proc`. */
const TICK = 10_000;
/** Their work is a part of what is measured. */
const DATABASE_SERVERS = new Set(['postgres', 'mariadbd', 'mysqld', 'redis-server']);

/** A result, and what everybody else used of the machine meanwhile, in cores; NaN where the system does not tell. */
export interface Undisturbed<R> {
  readonly result: R;
  readonly others: number;
}

/**
 * Measures while the machine has nothing else to do, as long as it has patience: waits for a quiet moment, and throws away
 * what was measured while others were at work. When the patience is at its end, it takes what it gets.
 */
export class Patience {
  private left: number;
  /** How many measurements were thrown away, since others took the processor. */
  thrownAway = 0;
  /** How many were kept all the same, since the patience was at its end. */
  disturbed = 0;

  /** @param seconds to be spent in all on waiting, and on measurements thrown away */
  constructor(seconds: number) {
    this.left = seconds * 1000;
  }

  async undisturbed<R>(measure: () => Promise<R>): Promise<Undisturbed<R>> {
    for (;;) {
      await this.untilQuiet();
      const startedAt = performance.now();
      const measured = await watched(measure);
      if (!(measured.others >= TOLERATED)) return measured;
      if (this.left <= 0) {
        this.disturbed++;
        return measured;
      }
      this.thrownAway++;
      this.left -= performance.now() - startedAt;
    }
  }

  private async untilQuiet(): Promise<void> {
    while (this.left > 0) {
      const { others } = await watched(() => sleep(LOOK));
      if (!(others >= TOLERATED)) return;
      this.left -= LOOK;
    }
  }
}

/** Runs `work` and tells how many cores others used meanwhile. */
async function watched<R>(work: () => Promise<R>): Promise<Undisturbed<R>> {
  const [all, own, startedAt] = [machineTime(), ownTime(), performance.now()];
  const result = await work();
  const others = (machineTime() - all - (ownTime() - own)) / ((performance.now() - startedAt) * 1000);
  return { result, others: others < 0 ? 0 : others };
}

/** Processor time that the machine has spent, in microseconds: all processes together, and what a host took away. */
function machineTime(): number {
  const [, user, nice, system, , , interrupts, soft, stolen] = (read('/proc/stat')?.split('\n')[0] ?? '').split(/\s+/);
  return [user, nice, system, interrupts, soft, stolen].reduce((sum, ticks) => sum + Number(ticks), 0) * TICK;
}

/** Processor time of what is measured, in microseconds: this process, those it has started, and the database servers. */
function ownTime(): number {
  const processes = allProcesses();
  const isOurs = (pid: number): boolean => pid === process.pid || (pid > 1 && isOurs(processes.get(pid)?.parent ?? 0));
  let ticks = 0;
  for (const [pid, { name, time }] of processes) if (DATABASE_SERVERS.has(name) || isOurs(pid)) ticks += time;
  return processes.size > 0 ? ticks * TICK : NaN;
}

/** Processor time of the database servers on this machine, in microseconds. */
export function databaseTime(): number {
  let ticks = 0;
  for (const { name, time } of allProcesses().values()) if (DATABASE_SERVERS.has(name)) ticks += time;
  return ticks * TICK;
}

function allProcesses(): Map<number, { name: string; parent: number; time: number }> {
  const pids = (() => {
    try {
      return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    } catch {
      return [];
    }
  })();
  const found = new Map<number, { name: string; parent: number; time: number }>();
  for (const pid of pids) {
    // It may have ended meanwhile. The name, in brackets, may have any character in it.
    const stat = /^\d+ \((.*)\) (.*)$/s.exec(read(`/proc/${pid}/stat`) ?? '');
    if (!stat) continue;
    const fields = stat[2].split(' ').map(Number);
    // Its own, and that of its children that have ended.
    const time = fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0);
    found.set(Number(pid), { name: stat[1], parent: fields[1], time });
  }
  return found;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
