import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { freePortsInRow } from '../helpers/free-port.js';

const run = promisify(execFile);
const PROVIDER = '/usr/lib/galera/libgalera_smm.so';
/** How long a node may take to start, in milliseconds. */
const START_LIMIT = 300_000;
/** Below the ports that the system gives to outgoing connections, so that none is taken while the cluster runs. */
const FIRST_PORT = 5400;
const LAST_PORT = 5900;
const isRoot = process.getuid?.() === 0;
/** A server that root starts must give up root's rights. */
const AS_SERVER = isRoot ? ['--user=mysql'] : [];
const INSTALLED = ['--auth-root-authentication-method=normal', '--skip-test-db'];

/** The ports of a node. */
interface Ports {
  readonly sql: number;
  /** For the other nodes, for the writes that a node has missed, and for a copy of the data. */
  readonly group: number;
  readonly missed: number;
  readonly copy: number;
}

/** One MariaDB server of the cluster. */
export class GaleraNode {
  private child?: ChildProcess;
  private readonly data: string;
  /** As which a client connects. */
  readonly options: DataSourceOptions & { url: string };

  constructor(
    folder: string,
    private readonly number: number,
    private readonly ports: Ports,
    private readonly group: string,
  ) {
    this.data = join(folder, `node${number}`);
    this.options = { type: 'mariadb', url: `mariadb://root@127.0.0.1:${ports.sql}/test`, charset: 'utf8mb4' };
  }

  /**
   * Starts the node. Settles once it has every write of the cluster.
   * @param isFirst whether it begins a new cluster
   */
  async start(isFirst: boolean): Promise<void> {
    mkdirSync(this.data);
    if (isRoot) await run('chown', ['mysql:', this.data]);
    // A node that joins gets all of its data from another one.
    if (isFirst) await run('mariadb-install-db', this.installation());
    const more = isFirst ? ['--wsrep-new-cluster'] : [];
    this.child = spawn('/usr/sbin/mariadbd', [...this.settings(), ...more], { stdio: 'ignore' });
    const giveUp = performance.now() + START_LIMIT;
    while (!(await this.isSynced())) {
      if (performance.now() > giveUp || this.child.exitCode !== null)
        throw new Error(`node ${this.number} did not start:\n${readFileSync(this.log, 'utf8').slice(-3000)}`);
      await sleep(200);
    }
  }

  /** Kills the node. Its data is deleted with the folder of the cluster. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    while (child.exitCode === null && child.signalCode === null) await sleep(20);
  }

  /** Lets the node lose the others. It keeps its clients. */
  async cutOff(): Promise<void> {
    await this.setIsolated(1);
  }

  /** Lets the node find the others again. Settles once it has every write of theirs. */
  async rejoin(): Promise<void> {
    await this.setIsolated(0);
    while (!(await this.isSynced())) await sleep(100);
  }

  /** Runs a statement over a new connection. */
  async query<T>(sql: string, database = 'test'): Promise<T> {
    const url = this.options.url.replace(/[^/]*$/, database);
    const dataSource = await new DataSource({ ...this.options, url } as DataSourceOptions).initialize();
    try {
      return await dataSource.query<T>(sql);
    } finally {
      await dataSource.destroy();
    }
  }

  /** Uses MariaDB's own client, because a node without its cluster refuses the statements with which TypeORM connects. */
  private async setIsolated(value: 0 | 1): Promise<void> {
    const sql = `SET GLOBAL wsrep_provider_options = 'gmcast.isolate=${value}'`;
    await run('mariadb', ['--no-defaults', '--user=root', `--socket=${join(this.data, 'socket')}`, `--execute=${sql}`]);
  }

  private get log(): string {
    return join(this.data, 'error.log');
  }

  private installation(): string[] {
    return ['--no-defaults', ...AS_SERVER, `--datadir=${this.data}`, ...INSTALLED];
  }

  private settings(): string[] {
    const { sql, group, missed, copy } = this.ports;
    const provider = {
      'gmcast.listen_addr': `tcp://127.0.0.1:${group}`,
      'ist.recv_addr': `127.0.0.1:${missed}`,
      'gcache.size': '32M',
      'gcache.dir': this.data,
    };
    const options = {
      datadir: this.data,
      socket: join(this.data, 'socket'),
      'pid-file': join(this.data, 'pid'),
      'log-error': this.log,
      'bind-address': '127.0.0.1',
      port: sql,
      'server-id': this.number,
      'max-connections': 300,
      'skip-name-resolve': 1,
      'character-set-server': 'utf8mb4',
      'binlog-format': 'ROW',
      'innodb-autoinc-lock-mode': 2,
      'innodb-flush-log-at-trx-commit': 0,
      'innodb-buffer-pool-size': '64M',
      'innodb-log-file-size': '32M',
      'wsrep-on': 'ON',
      'wsrep-provider': PROVIDER,
      'wsrep-cluster-name': 'test',
      'wsrep-cluster-address': this.group,
      'wsrep-node-address': `127.0.0.1:${group}`,
      'wsrep-provider-options': Object.entries(provider)
        .map(([name, value]) => `${name}=${value}`)
        .join(';'),
      'wsrep-sst-method': 'rsync',
      'wsrep-sst-receive-address': `127.0.0.1:${copy}`,
      'wsrep-slave-threads': 2,
    };
    return ['--no-defaults', ...AS_SERVER, ...Object.entries(options).map(([name, value]) => `--${name}=${value}`)];
  }

  private async isSynced(): Promise<boolean> {
    const sql = "SHOW GLOBAL STATUS LIKE 'wsrep_local_state_comment'";
    try {
      const [row] = await this.query<{ Value: string }[]>(sql, 'mysql');
      return row?.Value === 'Synced';
    } catch {
      return false;
    }
  }
}

/** A Galera cluster with its data in a temporary folder. */
export interface GaleraCluster {
  readonly nodes: readonly GaleraNode[];
  /** Sets whether new connections read only after they have every write of the cluster: 1 for yes, 0 for no. */
  setSyncWait(value: 0 | 1): Promise<void>;
  /** Kills the nodes, and deletes their data. */
  remove(): Promise<void>;
}

/**
 * Starts a cluster of MariaDB nodes on this machine, with an empty database `test`.
 * @throws if Debian's packages `galera-4`, `mariadb-server` and `rsync` are not installed
 */
export async function startGalera(count = 3): Promise<GaleraCluster> {
  if (!existsSync(PROVIDER)) throw new Error(`${PROVIDER} does not exist. Install galera-4, mariadb-server and rsync.`);
  const folder = mkdtempSync(join(tmpdir(), 'galera-'));
  chmodSync(folder, 0o755);
  const ports = await freePortsInRow(4 * count, FIRST_PORT, LAST_PORT);
  const group = `gcomm://${ports
    .slice(count, 2 * count)
    .map((port) => `127.0.0.1:${port}`)
    .join(',')}`;
  const nodes = Array.from({ length: count }, (_, at) => {
    const [sql, own, missed, copy] = [0, 1, 2, 3].map((kind) => ports[kind * count + at]);
    return new GaleraNode(folder, at + 1, { sql, group: own, missed, copy }, group);
  });
  const remove = async () => {
    await Promise.all(nodes.map((node) => node.kill()));
    rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
  };
  try {
    await nodes[0].start(true);
    await nodes[0].query('CREATE DATABASE test CHARACTER SET utf8mb4', 'mysql');
    // One after the other: a node that gives a copy of its data cannot give a second one at the same time.
    for (const node of nodes.slice(1)) await node.start(false);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    nodes,
    remove,
    setSyncWait: async (value) => {
      for (const node of nodes) await node.query(`SET GLOBAL wsrep_sync_wait = ${value}`);
    },
  };
}
