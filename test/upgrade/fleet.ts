import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSourceOptions } from 'typeorm';
import { LibraryProcess } from '../helpers/library-process.js';
import type { Build } from './builds.js';

/** A place for a process, to which a load balancer sends calls. */
interface Slot {
  process: LibraryProcess;
  /** Whether the load balancer sends new calls to it. */
  isOpen: boolean;
  underWay: number;
}

/** Processes of different builds on the same tables, behind a load balancer. */
export class Fleet {
  private constructor(
    private readonly database: DataSourceOptions,
    private readonly options: object,
    private readonly slots: Slot[],
  ) {}

  /** Starts one process for each build. They run no migrations. */
  static async start(database: DataSourceOptions, options: object, builds: readonly Build[]): Promise<Fleet> {
    const fleet = new Fleet(database, options, []);
    for (const build of builds) fleet.slots.push({ process: await fleet.launch(build), isOpen: true, underWay: 0 });
    return fleet;
  }

  /** The processes that get calls now. */
  get open(): LibraryProcess[] {
    return this.slots.filter((slot) => slot.isOpen).map((slot) => slot.process);
  }

  /** Makes calls to a process that gets calls, chosen at random. */
  async anywhere<T>(call: (process: LibraryProcess) => Promise<T>): Promise<T> {
    const open = this.slots.filter((slot) => slot.isOpen);
    const slot = open[Math.floor(Math.random() * open.length)];
    slot.underWay++;
    try {
      return await call(slot.process);
    } finally {
      slot.underWay--;
    }
  }

  /** Replaces the process of a slot, as a deployment does: it gets no new calls, ends those under way, and stops. */
  async replace(at: number, build: Build): Promise<void> {
    const slot = this.slots[at];
    slot.isOpen = false;
    while (slot.underWay > 0) await sleep(5);
    await slot.process.stop();
    slot.process = await this.launch(build);
    slot.isOpen = true;
  }

  async stop(): Promise<void> {
    await Promise.all(this.slots.map((slot) => slot.process.stop()));
  }

  private launch({ folder }: Build): Promise<LibraryProcess> {
    return LibraryProcess.start({ build: folder, database: this.database, options: this.options });
  }
}
