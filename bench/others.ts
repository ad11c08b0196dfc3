import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** CPU usage of other processes that a measurement tolerates, in cores. */
const TOLERATED = 0.1;
/** Milliseconds for which we watch the other processes before we call the machine quiet. */
const LOOK = 250;
/** Microseconds per clock tick of `/proc`. */
const TICK = 10_000;
/** Processes whose work is part of the measurement. */
const DATABASE_SERVERS = new Set(['postgres', 'mariadbd', 'mysqld', 'redis-server']);

/** A result, and the CPU usage of all other processes in the meantime, in cores. NaN if the system does not report it. */
export interface Undisturbed<R> {
  readonly result: R;
  readonly others: number;
}

/**
 * Measures while the machine is otherwise idle. Waits for a quiet moment, and discards measurements that other processes
 * disturbed. After the time limit, it no longer waits and keeps every measurement.
 */
export class Patience {
  private left: number;
  /** Number of measurements that were discarded because other processes used the CPU. */
  thrownAway = 0;
  /** Number of disturbed measurements that were kept because the time was used up. */
  disturbed = 0;

  /** @param seconds total time for waiting and for discarded measurements */
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

/** Runs `work` and measures the CPU usage of other processes in the meantime. */
async function watched<R>(work: () => Promise<R>): Promise<Undisturbed<R>> {
  const [all, own, startedAt] = [machineTime(), ownTime(), performance.now()];
  const result = await work();
  const others = (machineTime() - all - (ownTime() - own)) / ((performance.now() - startedAt) * 1000);
  return { result, others: others < 0 ? 0 : others };
}

/** CPU time of all processes in microseconds, including time stolen by a hypervisor. */
function machineTime(): number {
  const [, user, nice, system, , , interrupts, soft, stolen] = (read('/proc/stat')?.split('\n')[0] ?? '').split(/\s+/);
  return [user, nice, system, interrupts, soft, stolen].reduce((sum, ticks) => sum + Number(ticks), 0) * TICK;
}

/** CPU time of the measured processes in microseconds: this process, its descendants, and the database servers. */
function ownTime(): number {
  const processes = allProcesses();
  const isOurs = (pid: number): boolean => pid === process.pid || (pid > 1 && isOurs(processes.get(pid)?.parent ?? 0));
  let ticks = 0;
  for (const [pid, { name, time }] of processes) if (DATABASE_SERVERS.has(name) || isOurs(pid)) ticks += time;
  return processes.size > 0 ? ticks * TICK : NaN;
}

/** CPU time of the database servers on this machine in microseconds. */
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
    // The process may have exited in the meantime. Its name, in parentheses, may contain any character.
    const stat = /^\d+ \((.*)\) (.*)$/s.exec(read(`/proc/${pid}/stat`) ?? '');
    if (!stat) continue;
    const fields = stat[2].split(' ').map(Number);
    // This includes the time of its exited children.
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
