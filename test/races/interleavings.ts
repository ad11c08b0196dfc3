import { setImmediate as turn } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { LOCK_WAIT } from '../../lib/engine/timing.js';
import type { GatedStatement } from './statement-gate.js';

/** One of the operations whose steps are interleaved. A step is a statement, or something that `step` marks. */
export interface Operation {
  readonly name: string;
  /** Whether it begins with a look at the clock, which is compared with the time in the row of the user. */
  readonly readsClock: boolean;
  /**
   * Waits until the clock of its process has passed the time of every statement so far. A process knows the database's time only
   * within an error. Without this wait, the error would decide whether a login finds that an ending has overtaken it, so the
   * same order would not have the same result.
   */
  readonly clockHasPassed: () => Promise<void>;
  readonly run: () => Promise<unknown>;
}

/** How an operation ended. */
export type Ended = { readonly value: unknown } | { readonly error: unknown };

/** What happened in one interleaving. */
export interface Run {
  readonly ended: ReadonlyMap<string, Ended>;
  /** The steps in their order, each as `<operation>: <statement>`. Operations begin with `<operation>: begin`. */
  readonly steps: readonly string[];
}

/** What is known of an operation. */
interface Progress {
  state: 'waiting' | 'running' | 'done';
  /** The step that it waits to make. */
  next: string;
  connection: number;
  readonly readsClock: boolean;
  readonly clockHasPassed: () => Promise<void>;
  /** The tables that its transaction has written or locked so far. */
  readonly written: Map<string, boolean>;
  go: () => void;
}

/** A choice between the operations that can go on. */
interface Choice {
  /** The tables that the next step of each operation uses. */
  readonly from: ReadonlyMap<string, Footprint>;
  /** Operations whose turn here would only repeat an order that has been tried. */
  readonly asleep: ReadonlySet<string>;
  readonly tried: string[];
}

/** The tables that a step uses, and whether it writes them. */
type Footprint = ReadonlyMap<string, boolean>;

/** How long a step may take that is not blocked by another operation, in milliseconds. */
const PATIENCE = 60_000;
/** Statements that use no table, so that their place in the order does not matter. */
const WITHOUT_EFFECT = /^\s*(?:(?:SET (?!STATEMENT)|START TRANSACTION|BEGIN|SHOW )[^;]*)?$/i;
const TABLE =
  /\b(?:user_session|session_user|session_job|session_blacklist|session_epoch|known_device|session_provider|session_signal)\b/g;
const IS_READ = /^\s*SELECT(?!.*\b(FOR UPDATE|FOR SHARE|pg_\w*lock\w*|GET_LOCK|RELEASE_LOCK)\b)/is;
const BEGIN = 'begin';
/**
 * An order that takes longer than this is run again, in milliseconds. On a machine that is too busy, an operation gives up while
 * it waits for its turn, which is none of the orders.
 */
const MAX_ORDER = LOCK_WAIT;
/** How often an order is run at most. */
const ATTEMPTS = 20;
/** How often the progress is reported, in orders. */
const REPORT_EVERY = 500;

/**
 * Runs operations in every order in which their steps can take place.
 *
 * Each operation has its own connections, like a process. At each step, one operation goes on until it reaches its next step,
 * ends, or waits for a lock that another one holds. All choices are tried, depth first: the operations run again from their
 * beginning for each order, with the same choices up to the last one that leaves another.
 *
 * Two neighboring steps that use different tables, or only read them, have the same result in either order. Of such orders,
 * only one is run ("sleep sets").
 */
export class Interleavings {
  private readonly progress = new Map<string, Progress>();
  private isOn = false;

  /** @param observer connections of the test itself, to see which operations are blocked */
  constructor(private readonly observer: DataSource) {}

  /** Makes an operation wait until it is its turn. Does nothing unless the operations are being interleaved. */
  async step(operation: string, { text, connection }: GatedStatement): Promise<void> {
    const progress = this.progress.get(operation);
    if (!this.isOn || !progress || hasNoEffect(text)) return;
    await new Promise<void>((go) => {
      Object.assign(progress, { state: 'waiting', next: text, connection: connection || progress.connection, go });
    });
  }

  /**
   * Runs the operations in every order.
   * @param prepare makes what one run needs, and returns its operations
   * @param check called after each run
   * @param watch called after each step
   * @param report gets the number of orders so far and the estimated share of all orders, if there are many
   * @returns the number of orders
   */
  async explore(
    prepare: () => Promise<readonly Operation[]>,
    check: (run: Run) => Promise<void>,
    watch: (steps: readonly string[]) => Promise<void> = async () => {},
    report: (orders: number, share: number) => void = () => {},
  ): Promise<number> {
    let orders = 0;
    const path: Choice[] = [];
    do {
      const { isRepeated, ...run } = await this.runInTime(prepare, path, watch);
      await check(run);
      if (isRepeated) continue;
      if (++orders % REPORT_EVERY === 0) report(orders, shareOf(path));
    } while (turnBack(path));
    return orders;
  }

  /** Runs the operations once, and again if the machine was too busy. */
  private async runInTime(
    prepare: () => Promise<readonly Operation[]>,
    path: Choice[],
    watch: (steps: readonly string[]) => Promise<void>,
  ): Promise<Run & { isRepeated: boolean }> {
    const { length } = path;
    for (let attempt = 1; ; attempt++) {
      const operations = await prepare();
      const since = performance.now();
      const isLate = () => performance.now() - since > MAX_ORDER && attempt < ATTEMPTS;
      try {
        const run = await this.run(operations, path, watch);
        if (!isLate()) return run;
      } catch (error) {
        if (!isLate()) throw error;
      }
      path.length = length;
    }
  }

  /**
   * Runs the operations once.
   * @param path the choices so far, whose last one has just been changed. Adds those that follow
   */
  private async run(
    operations: readonly Operation[],
    path: Choice[],
    watch: (steps: readonly string[]) => Promise<void>,
  ): Promise<Run & { isRepeated: boolean }> {
    const ended = new Map<string, Ended>();
    const steps: string[] = [];
    this.isOn = true;
    const running = operations.map((operation) => this.begin(operation, ended, steps));
    let isRepeated = false;
    try {
      for (let at = 0; ; at++) {
        const wanted = path[at]?.tried.at(-1);
        const waiting = await this.ready(wanted);
        if (waiting.length === 0) break;
        const from = new Map(waiting.map((name) => [name, this.footprintOf(name)]));
        const before = path[at - 1];
        const asleep = before ? asleepAfter(before, from) : new Set<string>();
        const awake = waiting.filter((name) => !asleep.has(name));
        isRepeated ||= awake.length === 0;
        const chosen = wanted ?? awake[0] ?? waiting[0];
        if (wanted === undefined && !isRepeated) path.push({ from, asleep, tried: [chosen] });
        const progress = this.progress.get(chosen) as Progress;
        if (progress.next === BEGIN && progress.readsClock) await progress.clockHasPassed();
        steps.push(`${chosen}: ${progress.next.replaceAll(/\s+/g, ' ').trim()}`);
        this.goOn(progress, from.get(chosen) as Footprint);
        if (wanted !== undefined && at < path.length - 1) continue;
        await this.ready();
        await watch(steps);
      }
    } finally {
      this.isOn = false;
      for (const { go } of this.progress.values()) go();
      await Promise.all(running);
      this.progress.clear();
    }
    return { ended, steps, isRepeated };
  }

  private async begin(operation: Operation, ended: Map<string, Ended>, steps: string[]): Promise<void> {
    const { name, run, readsClock, clockHasPassed } = operation;
    const progress: Progress = {
      state: 'running',
      next: '',
      connection: 0,
      readsClock,
      clockHasPassed,
      written: new Map(),
      go: () => undefined,
    };
    this.progress.set(name, progress);
    try {
      await this.step(name, { text: BEGIN, connection: 0 });
      ended.set(name, { value: await run() });
    } catch (error) {
      ended.set(name, { error });
    }
    progress.state = 'done';
    steps.push(`${name}: end`);
  }

  private goOn(progress: Progress, footprint: Footprint): void {
    if (isEnd(progress.next)) progress.written.clear();
    else for (const [table, writes] of footprint) if (writes) progress.written.set(table, true);
    progress.state = 'running';
    progress.go();
  }

  /** The end of a transaction shows and frees everything that it has written. */
  private footprintOf(name: string): Footprint {
    const { next, written, readsClock } = this.progress.get(name) as Progress;
    if (next === BEGIN) return new Map(readsClock ? [['session_user', false]] : []);
    if (isEnd(next)) return new Map(written);
    const tables = next.match(TABLE) ?? ['a lock'];
    return new Map(tables.map((table) => [table, !IS_READ.test(next)]));
  }

  /**
   * Waits until each operation has ended, waits for its turn, or is blocked by another one.
   * @param wanted an operation that must be ready
   * @returns the operations that can go on; none if all have ended
   */
  private async ready(wanted?: string): Promise<string[]> {
    const giveUp = performance.now() + PATIENCE;
    for (;;) {
      const running = this.inState('running');
      const waiting = this.inState('waiting');
      const isSettled =
        running.length === 0 || (waiting.length > 0 && (await this.areBlocked(running)) && this.areStill(running));
      if (isSettled && (wanted === undefined || waiting.includes(wanted))) return waiting;
      if (wanted !== undefined && this.progress.get(wanted)?.state === 'done')
        throw new Error(`${wanted} has ended earlier than in the run before`);
      if (performance.now() > giveUp) throw new Error(`stuck: ${JSON.stringify([...this.progress])}`);
      await turn();
    }
  }

  private inState(state: Progress['state']): string[] {
    return [...this.progress].flatMap(([name, progress]) => (progress.state === state ? [name] : [])).sort();
  }

  private areStill(running: readonly string[]): boolean {
    return running.every((name) => this.progress.get(name)?.state === 'running');
  }

  /** Whether another operation blocks each of these. The answer of the server is never late: it reads its table of locks. */
  private async areBlocked(running: readonly string[]): Promise<boolean> {
    const connections = running.map((name) => this.progress.get(name)?.connection ?? 0);
    if (connections.includes(0)) return false;
    if (this.observer.options.type === 'postgres') {
      const sql = 'SELECT bool_and(cardinality(pg_blocking_pids(pid)) > 0) AS blocked FROM unnest($1::int[]) AS pid';
      const [{ blocked }] = await this.observer.query<[{ blocked: boolean }]>(sql, [connections]);
      return blocked;
    }
    const [{ Status }] = await this.observer.query<[{ Status: string }]>('SHOW ENGINE INNODB STATUS');
    const transactions = Status.split('---TRANSACTION').slice(1);
    return connections.every((connection) =>
      transactions.some((text) => text.includes(`thread id ${connection},`) && text.includes('LOCK WAIT')),
    );
  }
}

const hasNoEffect = (text: string): boolean =>
  text !== BEGIN && text.split(';').every((statement) => WITHOUT_EFFECT.test(statement));

const isEnd = (statement: string): boolean => /^\s*(COMMIT|ROLLBACK)/i.test(statement);

/** Estimates which share of all orders has been run: every choice is assumed to lead to equally many. */
function shareOf(path: readonly Choice[]): number {
  let [share, part] = [0, 1];
  for (const { from, asleep, tried } of path) {
    part /= from.size - asleep.size;
    share += (tried.length - 1) * part;
  }
  return share;
}

/** Operations that could have gone first with the same result. */
function asleepAfter({ asleep, tried, from }: Choice, now: ReadonlyMap<string, Footprint>): Set<string> {
  const chosen = tried[tried.length - 1];
  const others = [...asleep, ...tried.slice(0, -1)].filter((name) => name !== chosen && now.has(name));
  return new Set(others.filter((name) => areIndependent(from.get(name), from.get(chosen))));
}

function areIndependent(one: Footprint | undefined, other: Footprint | undefined): boolean {
  if (!one || !other) return false;
  return [...one].every(([table, writes]) => !other.has(table) || (!writes && !other.get(table)));
}

/**
 * Changes the last choice that leaves another one, and drops those after it.
 * @returns whether there was one
 */
function turnBack(path: Choice[]): boolean {
  for (let last = path.at(-1); last; last = path.at(-1)) {
    const { from, asleep, tried } = last;
    const next = [...from.keys()].find((name) => !asleep.has(name) && !tried.includes(name));
    if (next !== undefined) {
      tried.push(next);
      return true;
    }
    path.pop();
  }
  return false;
}
