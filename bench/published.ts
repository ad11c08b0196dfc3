import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { hash } from '@node-rs/argon2';
import { User } from '../sample-app/src/users/user.entity.js';
import { type Cluster, startCluster, type Tokens } from '../test/helpers/cluster.js';
import { wholeNumber } from './options.js';
import { percentile, say, sayTitle, table, writeReport } from './report.js';
import { processTimeOf, serverTime } from './server-time.js';

/** The hash of Keycloak 26: argon2id with 7 MiB and 5 passes. The algorithm is the package's default. */
const KEYCLOAK: HashOptions = { memoryCost: 7168, timeCost: 5, parallelism: 1 };
/** That of the sample application, which OWASP recommends. */
const OWASP: HashOptions = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };
type HashOptions = NonNullable<Parameters<typeof hash>[1]>;

const CLIENTS = 16;
const TYPE = 'LONG';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '15' } } });
const options = { seconds: wholeNumber('seconds', values.seconds, 1) };

/** What one operation cost. Times are CPU time. */
interface Cost {
  readonly perSecond: number;
  readonly median: number;
  readonly p99: number;
  /** Operations per second of CPU time of the application. */
  readonly perCore: number;
  /** Cores of the database for 100 operations a second. */
  readonly databaseCores: number;
  /** How often the database made its log durable, per 100 operations. */
  readonly syncs: number;
  readonly walBytes: number;
}

/** Runs an operation with all clients for some seconds. */
async function measure(cluster: Cluster, operation: (client: number) => Promise<void>): Promise<Cost> {
  const { pid = 0 } = cluster.processes[0].app.child;
  const walOf = async () => {
    const sql = 'SELECT wal_sync AS syncs, pg_wal_lsn_diff(pg_current_wal_lsn(), $1) AS bytes FROM pg_stat_wal';
    const [{ syncs, bytes }] = await cluster.dataSource.query<[{ syncs: string; bytes: string }]>(sql, ['0/0']);
    return { syncs: Number(syncs), bytes: Number(bytes) };
  };
  const before = { app: processTimeOf(pid), database: serverTime('postgres'), wal: await walOf() };
  const times: number[] = [];
  const start = performance.now();
  const client = async (at: number) => {
    while (performance.now() - start < options.seconds * 1000) {
      const begun = performance.now();
      await operation(at);
      times.push(performance.now() - begun);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, at) => client(at)));
  const seconds = (performance.now() - start) / 1000;
  const wal = await walOf();
  const perOperation = (microseconds: number) => microseconds / 1e6 / times.length;
  return {
    perSecond: times.length / seconds,
    median: percentile(times, 50),
    p99: percentile(times, 99),
    perCore: 1 / perOperation(processTimeOf(pid) - before.app),
    databaseCores: 100 * perOperation(serverTime('postgres') - before.database),
    syncs: (100 * (wal.syncs - before.wal.syncs)) / times.length,
    walBytes: (wal.bytes - before.wal.bytes) / times.length,
  };
}

/** Logs in users whose passwords have this hash. Each client has a user of its own. */
async function logins(cluster: Cluster, name: string, hashOptions: HashOptions): Promise<Cost> {
  const passwordHash = await hash(cluster.password, hashOptions);
  const users = Array.from({ length: CLIENTS }, (_, at) => `${name} ${at}`);
  const rows = users.map((username) => ({ username, passwordHash, active: true }));
  await cluster.dataSource.manager.insert(User, rows);
  return measure(cluster, async (client) => {
    await cluster.processes[0].loggedIn(users[client], TYPE);
  });
}

/** Each client refreshes a session of its own. Each refresh rotates the token. */
async function refreshes(cluster: Cluster): Promise<Cost> {
  const [process] = cluster.processes;
  const users = Array.from({ length: CLIENTS }, (_, at) => `refresh ${at}`);
  await cluster.addUsers(users);
  const held: Tokens[] = [];
  for (const user of users) held.push(await process.loggedIn(user, TYPE));
  return measure(cluster, async (client) => {
    const { status, body } = await process.refresh(held[client].refresh, TYPE);
    if (status !== 200) throw new Error(`refresh: ${status} ${JSON.stringify(body)}`);
    held[client] = { ...held[client], ...(body as Tokens) };
  });
}

const cluster = await startCluster(
  'postgres',
  { policies: { [TYPE]: { refreshTokenLifetime: '30d', maxActiveSessions: 5, reuseGrace: 0 } } },
  () => [{}],
);
try {
  sayTitle('Logins and refreshes over HTTP, one process of the sample application, PostgreSQL');
  const measured = [
    ['login, argon2id of Keycloak', await logins(cluster, 'keycloak', KEYCLOAK)],
    ['login, argon2id of OWASP', await logins(cluster, 'owasp', OWASP)],
    ['refresh that rotates', await refreshes(cluster)],
  ] as const;
  const head = [
    'operation',
    'per second',
    'median, ms',
    'p99',
    'per core',
    'cores of the database per 100',
    'fsyncs per 100',
    'WAL, bytes',
  ];
  const rows = measured.map(([name, cost]) => [
    name,
    ...[cost.perSecond, cost.median, cost.p99, cost.perCore].map((value) => value.toFixed(1)),
    cost.databaseCores.toFixed(3),
    ...[cost.syncs, cost.walBytes].map((value) => value.toFixed(0)),
  ]);
  say(table(head, rows));
  const status = readFileSync(`/proc/${cluster.processes[0].app.child.pid}/status`, 'utf8');
  say(`memory of the process: ${(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1000).toFixed(0)} MB`);
} finally {
  await cluster.stop();
}
writeReport('published', options);
