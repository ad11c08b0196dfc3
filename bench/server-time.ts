import { readdirSync, readFileSync } from 'node:fs';

/** Microseconds per clock tick of `/proc`. */
const TICK = 10_000;

const PROCESS_NAMES = { postgres: 'postgres', mariadb: 'mariadbd' } as const;
export type ServerName = keyof typeof PROCESS_NAMES;

/** CPU time of all database servers of this kind on this machine, in microseconds. NaN if the system does not report it. */
export function serverTime(server: ServerName): number {
  const times = processStats().flatMap((stat) => timeOf(stat, PROCESS_NAMES[server]));
  return times.length > 0 ? times.reduce((sum, time) => sum + time) * TICK : NaN;
}

/** CPU time of a process, in microseconds. NaN if the system does not report it, or if the process has ended. */
export function processTimeOf(pid: number): number {
  const [stat] = statOf(String(pid));
  const name = stat?.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
  return stat === undefined ? NaN : timeOf(stat, name)[0] * TICK;
}

function processStats(): string[] {
  try {
    return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? statOf(name) : []));
  } catch {
    return [];
  }
}

/** Returns the line of the process from `/proc`, or an empty list if it has exited in the meantime. */
function statOf(pid: string): string[] {
  try {
    return [readFileSync(`/proc/${pid}/stat`, 'utf8')];
  } catch {
    return [];
  }
}

/** Returns the CPU time of a process and its exited children in ticks, or an empty list if it has another name. */
function timeOf(stat: string, processName: string): number[] {
  const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(stat) ?? [];
  if (name !== processName) return [];
  const [user, system, childrensUser, childrensSystem] = rest.split(' ').slice(11, 15).map(Number);
  return [user + system + childrensUser + childrensSystem];
}
