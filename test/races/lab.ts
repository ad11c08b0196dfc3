import { DataSource, type DataSourceOptions } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { type MultiSessionOptions, readOptions } from '../../lib/engine/options.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import type { Credentials } from '../../lib/session/authenticator.js';
import { createDatabase, type DatabaseName, type TestDatabase } from '../helpers/databases.js';
import { type Gate, gateStatements } from './statement-gate.js';

/** The engine of one process, with connections of its own. */
export interface LabProcess {
  readonly name: string;
  readonly engine: Engine;
  readonly dataSource: DataSource;
}

/** What holds a process back. */
export interface LabGates {
  /** Called before each statement. */
  readonly statement: (process: string) => Gate;
  /** Called while credentials are checked. */
  readonly authenticate: (process: string) => Promise<void>;
}

/** The engines of several processes on one database, without Nest and timers, so that a test decides who goes on when. */
export interface Lab {
  readonly processes: readonly LabProcess[];
  /** Connections of the test itself. */
  readonly observer: DataSource;
  /** The ids of the sessions whose end a process has announced since the last call. */
  takeEnded(): string[];
  close(): Promise<void>;
}

const NO_GATES: LabGates = {
  statement: () => ({ pass: () => Promise.resolve() }),
  authenticate: () => Promise.resolve(),
};

/** Creates a database and the engines. On SQLite they share its one connection. */
export async function openLab(
  databaseName: DatabaseName,
  options: Pick<MultiSessionOptions, 'policies'> & Partial<MultiSessionOptions>,
  count: number,
  gatesOn: (observer: DataSource) => LabGates = () => NO_GATES,
): Promise<Lab> {
  const jwt = { secret: 'a signing secret of more than thirty-two bytes' };
  const config = readOptions({ jwt, secretKey: false, ...options }, Object.keys(options.policies));
  const database = await createDatabase(databaseName);
  const observer = await open(database, { synchronize: true });
  const gates = gatesOn(observer);
  const ended: string[] = [];
  const isShared = 'url' in database.options;
  const start = async (_: unknown, at: number): Promise<LabProcess> => {
    const name = `process ${at}`;
    const dataSource = isShared ? await open(database) : observer;
    if (isShared) gateStatements(dataSource, gates.statement(name));
    const users = {
      authenticate: async ({ username }: Credentials) => {
        await gates.authenticate(name);
        return { id: username };
      },
    };
    const engine = createEngine(config, dataSource, { users: () => users });
    engine.events.on('session.ended', ({ session }) => void ended.push(session.id));
    await engine.poller.poll();
    return { name, engine, dataSource };
  };
  const processes = await Promise.all(Array.from({ length: count }, start));
  return {
    processes,
    observer,
    takeEnded: () => ended.splice(0),
    close: async () => {
      for (const { engine, dataSource } of processes) {
        await engine.seen.flush();
        await engine.poller.stop();
        if (isShared) await dataSource.destroy();
      }
      await observer.destroy();
      await database.drop();
    },
  };
}

function open({ options }: TestDatabase, more: Partial<DataSourceOptions> = {}): Promise<DataSource> {
  const all = { ...options, entities: [...MULTI_SESSION_ENTITIES], poolSize: 5, ...more } as DataSourceOptions;
  return new DataSource(all).initialize();
}
