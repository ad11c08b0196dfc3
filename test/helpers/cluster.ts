import { setTimeout as sleep } from 'node:timers/promises';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hash } from '@node-rs/argon2';
import { BlacklistEntity, type MultiSessionOptions, SessionEntity } from 'nestjs-multisession';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { User } from '../../sample-app/src/users/user.entity.js';
import { createDatabase, type DatabaseName } from './databases.js';
import { splitsTables, splitTables } from './partitions.js';
import { SAMPLE_SECRET_KEY, type SampleApp, startSampleApp } from './sample-app.js';

const PASSWORD = 'the password of every user of the cluster';
/** The lowest costs of argon2, since the tests log in thousands of times. The sample application reads them from the hash. */
const CHEAP = { memoryCost: 8, timeCost: 1, parallelism: 1 };
/** How long an idle connection is kept, in milliseconds: less than on the server, which must not close one under a request. */
const IDLE = 2000;

/** For the option `backendKeys` of a cluster. */
export const BACKEND_KEY = 'the backend key of the cluster';

/** An answer of a process. */
export interface ProcessAnswer {
  readonly status: number;
  readonly body: any;
}

/** The answer to a login. */
export interface Tokens {
  readonly refresh: string;
  readonly access: string;
  readonly session_id: string;
}

/** One process of the sample application, and the requests to it. */
export class ClusterProcess {
  private readonly agent = new Agent({ keepAlive: true, timeout: IDLE });

  constructor(readonly app: SampleApp) {}

  login(username: string, session: string): Promise<ProcessAnswer> {
    return this.post('login', { username, password: PASSWORD, secret_key: SAMPLE_SECRET_KEY, session });
  }

  /**
   * Logs in.
   * @throws if the login is refused
   */
  async loggedIn(username: string, session: string): Promise<Tokens> {
    for (;;) {
      const { status, body } = await this.login(username, session);
      if (status === 200) return body as Tokens;
      // An ending of the user's sessions has overtaken the login. A client tries again.
      if (status !== 503) throw new Error(`login of ${username}: ${status} ${JSON.stringify(body)}`);
      await sleep(20);
    }
  }

  refresh(refresh: string, session: string): Promise<ProcessAnswer> {
    return this.post('refresh', { refresh, session, secret_key: SAMPLE_SECRET_KEY });
  }

  /** Renews an access token, as a renderer does. The options of the cluster must have `BACKEND_KEY`. */
  renew(refresh: string): Promise<ProcessAnswer> {
    return this.post('renew', { refresh, secret_key: BACKEND_KEY });
  }

  logout(refresh: string): Promise<ProcessAnswer> {
    return this.post('logout', { refresh, secret_key: SAMPLE_SECRET_KEY });
  }

  destroy(access: string, sessionId: string): Promise<ProcessAnswer> {
    return this.post('destroy', { session_id: sessionId }, access);
  }

  destroyAllOther({ access, refresh }: Tokens, session = 'ALL'): Promise<ProcessAnswer> {
    return this.post('destroyAllOther', { session, refresh }, access);
  }

  /** Calls a guarded route of the application itself. */
  me(access: string): Promise<ProcessAnswer> {
    return this.ask('GET', '/api/me', undefined, access);
  }

  async stop(): Promise<void> {
    this.agent.destroy();
    await this.app.stop();
  }

  private post(route: string, body: unknown, access?: string): Promise<ProcessAnswer> {
    return this.ask('POST', `/api/session/${route}/`, JSON.stringify(body), access);
  }

  // `fetch` costs several times as much, and would make the test process the bottleneck.
  private ask(method: string, path: string, body?: string, access?: string): Promise<ProcessAnswer> {
    const headers = {
      ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      ...(access !== undefined && { authorization: `Bearer ${access}` }),
    };
    return new Promise((resolve, reject) => {
      const request = httpRequest(this.app.url + path, { method, headers, agent: this.agent }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }));
        response.on('error', reject);
      });
      request.on('error', reject).end(body);
    });
  }
}

/** Processes of the sample application that share a new database. */
export interface Cluster {
  readonly databaseName: DatabaseName;
  readonly processes: readonly ClusterProcess[];
  /** Connections of the test itself. */
  readonly dataSource: DataSource;
  /** The password of every user that `addUsers` adds. */
  readonly password: string;
  /** One of the processes, at random. */
  any(): ClusterProcess;
  /** Starts another process, which is not added to `processes`. */
  start(environment?: Record<string, string>): Promise<ClusterProcess>;
  /** Adds users who can log in. */
  addUsers(names: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Creates a database and starts the processes: three on a database server, one on SQLite.
 * @param sessions the module's options, which become the file of `SESSION_CONFIG`
 * @param environments the environment variables of each process, in addition to those that all have. Their number replaces the
 *   default number of processes.
 */
export async function startCluster(
  databaseName: DatabaseName,
  sessions: Partial<MultiSessionOptions>,
  environments?: (url: string) => readonly Record<string, string>[],
): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'cluster-'));
  const database = await createDatabase(databaseName);
  const isServer = 'url' in database.options;
  const url = isServer ? String(database.options.url) : join(folder, 'sample.db');
  const config = join(folder, 'sessions.json');
  writeFileSync(config, JSON.stringify(sessions));
  const environment = { DATABASE_URL: url, SESSION_CONFIG: config, THROTTLE: 'off' };
  const start = (more: Record<string, string>) =>
    startSampleApp({ ...environment, ...more }).then((app) => new ClusterProcess(app));
  const processes = await Promise.all(
    (environments?.(url) ?? Array.from({ length: isServer ? 3 : 1 }, () => ({}))).map(start),
  );
  const own = isServer ? database.options : { type: 'better-sqlite3', database: url, timeout: 10_000 };
  const entities = [SessionEntity, BlacklistEntity, User];
  const dataSource = await new DataSource({ ...own, entities } as DataSourceOptions).initialize();
  if (splitsTables(databaseName)) await splitTables(dataSource);
  return {
    databaseName,
    processes,
    dataSource,
    password: PASSWORD,
    start: (more = {}) => start(more),
    any: () => processes[Math.floor(Math.random() * processes.length)],
    addUsers: async (names) => {
      const passwordHash = await hash(PASSWORD, CHEAP);
      await dataSource.manager.insert(
        User,
        names.map((username) => ({ username, passwordHash, active: true })),
      );
    },
    stop: async () => {
      await Promise.all(processes.map((process) => process.stop()));
      await dataSource.destroy();
      await database.drop();
      rmSync(folder, { recursive: true });
    },
  };
}
