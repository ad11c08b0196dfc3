import { readdirSync, readFileSync } from 'node:fs';

/** Microseconds in the unit of `/proc`. */
const TICK = 10_000;

const PROCESS_NAMES = { postgres: 'postgres', mariadb: 'mariadbd' } as const;
export type ServerName = keyof typeof PROCESS_NAMES;

/** Microseconds of processor time that the database servers of this kind have used on this machine; NaN where it does not tell. */
export function serverTime(server: ServerName): number {
  const times = processStats().flatMap((stat) => timeOf(stat, PROCESS_NAMES[server]));
  return times.length > 0 ? times.reduce((sum, time) => sum + time) * TICK : NaN;
}

function processStats(): string[] {
  try {
    return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? statOf(name) : []));
  } catch {
    return [];
  }
}

/** None where it has ended meanwhile. */
function statOf(pid: string): string[] {
  try {
    return [readFileSync(`/proc/${pid}/stat`, 'utf8')];
  } catch {
    return [];
  }
}

/** Its own time and that of its children that have ended, in ticks; none where it has another name. */
function timeOf(stat: string, processName: string): number[] {
  const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(stat) ?? [];
  if (name !== processName) return [];
  const [user, system, childrensUser, childrensSystem] = rest.split(' ').slice(11, 15).map(Number);
  return [user + system + childrensUser + childrensSystem];
}
