import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** A process of this machine, as Linux describes it. */
export interface Process {
  readonly pid: number;
  readonly parent: number;
  /** The first 15 characters of its name. */
  readonly name: string;
  readonly args: readonly string[];
}

function processes(): Process[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const status = readFileSync(`/proc/${entry}/status`, 'utf8');
        const args = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0').filter(Boolean);
        const parent = Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1]);
        return [{ pid: Number(entry), parent, name: /^Name:\s*(.*)$/m.exec(status)?.[1] ?? '', args }];
      } catch {
        // It has ended in the meantime.
        return [];
      }
    });
}

/** Returns the processes that this one has started, and those that they have started. */
export function descendants(): Process[] {
  const all = processes();
  const below = (pid: number): Process[] =>
    all.filter(({ parent }) => parent === pid).flatMap((child) => [child, ...below(child.pid)]);
  return below(process.pid);
}

/**
 * Stops processes, as a suspended device would, until the function that is returned lets them go on.
 * @throws if there are none, because then a test would test nothing
 */
export function freeze(stopped: readonly Process[]): () => void {
  if (stopped.length === 0) throw new Error('there is no process that runs pages');
  const signal = (name: NodeJS.Signals) => {
    for (const { pid } of stopped) {
      try {
        process.kill(pid, name);
      } catch (error) {
        // The browser may end a process that it does not need.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  };
  signal('SIGSTOP');
  return () => signal('SIGCONT');
}

/** @throws if a browser is not installed, so that no test is skipped */
export function mustExist(path: string, name: string, debian: string, variable: string): string {
  if (!existsSync(path))
    throw new Error(`no ${name} at ${path}: install Debian's package ${debian}, or set ${variable} to its path`);
  return path;
}
