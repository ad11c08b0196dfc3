import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePortsInRow } from '../helpers/free-port.js';

const run = promisify(execFile);
const PROGRAM = '/usr/bin/redis-server';
/** How long a step of a cluster may take, in milliseconds. */
const LIMIT = 60_000;
/** Below the ports that the system gives to outgoing connections, and above those of Galera's tests. */
const FIRST_PORT = 5900;
const LAST_PORT = 6300;
/** After this time without an answer, the others replace a master, in milliseconds. A busy machine must not seem to be down. */
const DOWN_AFTER = 3000;
const MASTER = 'main';

/** One server: a master, a replica or a sentinel. */
export class RedisServer {
  private child?: ChildProcess;
  private isFrozen = false;

  constructor(
    private readonly folder: string,
    readonly port: number,
    private readonly settings: readonly string[],
  ) {
    mkdirSync(this.data);
  }

  /**
   * Starts the server, with its data if it has any. Settles once it answers.
   * @param more further settings, for this start
   */
  async start(...more: string[]): Promise<void> {
    const file = join(this.data, 'redis.conf');
    const common = [`port ${this.port}`, 'bind 127.0.0.1', `dir ${this.data}`, 'save ""', 'appendonly no'];
    // Sentinels keep what they know in this file.
    if (!existsSync(file)) writeFileSync(file, [...common, ...this.settings].join('\n'));
    this.child = spawn(PROGRAM, [file, ...more], { stdio: 'ignore' });
    await until(`the start of the server on port ${this.port}`, async () => (await this.ask('PING')) === 'PONG');
  }

  /** Returns what the server answers, or an empty text if it does not. */
  async ask(...command: string[]): Promise<string> {
    const asked = run('redis-cli', ['-p', `${this.port}`, ...command], { timeout: 2000 });
    return await asked.then(
      ({ stdout }) => stdout.trim(),
      () => '',
    );
  }

  /** Ends the server as a crash does. */
  async kill(): Promise<void> {
    const { child } = this;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    while (child.exitCode === null && child.signalCode === null) await sleep(20);
    this.isFrozen = false;
  }

  /** Stops the process: its connections stay open, and nothing answers. */
  freeze(): void {
    this.isFrozen = this.child?.kill('SIGSTOP') ?? false;
  }

  thaw(): void {
    if (this.isFrozen) this.child?.kill('SIGCONT');
    this.isFrozen = false;
  }

  private get data(): string {
    return join(this.folder, `${this.port}`);
  }
}

/** Several servers that replace a master which fails. */
export interface RedisServers {
  /** The servers with data, and those that watch them. */
  readonly servers: readonly RedisServer[];
  readonly sentinels?: readonly RedisServer[];
  /** What a client is given: the sentinels, or the nodes of the cluster. */
  readonly ports: readonly number[];
  /** The name under which the sentinels know the master. */
  readonly name: string;
  /** Returns a master: the only one, or one of the cluster that has a replica. */
  master(): Promise<RedisServer>;
  /** Settles once another server is master in place of this one. */
  replaced(master: RedisServer): Promise<void>;
  /** Settles once each master has a replica again. */
  complete(): Promise<void>;
  /** Kills the servers, and deletes their data. */
  remove(): Promise<void>;
}

/**
 * Starts a master, two replicas and three sentinels on this machine.
 * @throws if Debian's packages `redis-server` and `redis-tools` are not installed
 */
export async function startSentinels(): Promise<RedisServers> {
  const { folder, ports } = await prepare(6);
  const [first] = ports;
  const servers = ports.slice(0, 3).map((port) => {
    const role = port === first ? [] : [`replicaof 127.0.0.1 ${first}`];
    return new RedisServer(folder, port, [...role, 'repl-diskless-sync-delay 0']);
  });
  const sentinels = ports.slice(3).map((port) => {
    const settings = [
      `sentinel monitor ${MASTER} 127.0.0.1 ${first} 2`,
      `sentinel down-after-milliseconds ${MASTER} ${DOWN_AFTER}`,
      `sentinel failover-timeout ${MASTER} 5000`,
    ];
    return new RedisServer(folder, port, settings);
  });
  const masterOf = async (sentinel: RedisServer) =>
    Number((await sentinel.ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER)).split('\n')[1]);
  const known = async () => new Set((await Promise.all(sentinels.map(masterOf))).filter(Boolean));
  const complete = () =>
    until('two replicas and three sentinels', async () => {
      const masters = await known();
      const synced = await Promise.all(servers.map((server) => server.ask('INFO', 'replication')));
      const counts = await Promise.all(sentinels.map((sentinel) => sentinel.ask('SENTINEL', 'CKQUORUM', MASTER)));
      return (
        masters.size === 1 &&
        synced.filter((info) => info.includes('master_link_status:up')).length === 2 &&
        counts.every((text) => text.includes('3 usable'))
      );
    });
  return await started(folder, [...servers, ...sentinels], {
    servers,
    sentinels,
    ports: ports.slice(3),
    name: MASTER,
    complete,
    master: async () => {
      const [port] = await known();
      return servers.find((server) => server.port === port) as RedisServer;
    },
    replaced: ({ port }: RedisServer) =>
      until('a new master', async () => {
        const now = await known();
        return now.size === 1 && !now.has(port);
      }),
    start: async () => {
      for (const server of servers) await server.start();
      for (const sentinel of sentinels) await sentinel.start('--sentinel');
    },
  });
}

/**
 * Starts a cluster of three masters with a replica each on this machine.
 * @throws if Debian's packages `redis-server` and `redis-tools` are not installed
 */
export async function startRedisCluster(): Promise<RedisServers> {
  const { folder, ports } = await prepare(12);
  const servers = ports.slice(0, 6).map((port, at) => {
    const settings = [`cluster-port ${ports[6 + at]}`, `cluster-node-timeout ${DOWN_AFTER}`];
    return new RedisServer(folder, port, ['cluster-enabled yes', 'repl-diskless-sync-delay 0', ...settings]);
  });
  /** The nodes as one of the living servers sees them: port, flags, id of the master, id. */
  const nodesOf = async (server: RedisServer) =>
    (await server.ask('CLUSTER', 'NODES'))
      .split('\n')
      .map((line) => line.split(' '))
      .filter((parts) => parts.length >= 8)
      .map(([id, address, flags, of]) => ({ id, port: Number(/:(\d+)@/.exec(address)?.[1]), flags, of }));
  const isUp = ({ flags }: { flags: string }) => !/fail|handshake/.test(flags);
  const complete = () =>
    until('a cluster of three masters with a replica each', async () => {
      const views = await Promise.all(servers.map(nodesOf));
      const states = await Promise.all(servers.map((server) => server.ask('CLUSTER', 'INFO')));
      const synced = await Promise.all(servers.map((server) => server.ask('INFO', 'replication')));
      return (
        states.every((state) => state.includes('cluster_state:ok')) &&
        synced.every((info) => /role:master[^]*connected_slaves:1|master_link_status:up/.test(info)) &&
        views.every((nodes) => nodes.filter(isUp).length === 6)
      );
    });
  return await started(folder, servers, {
    servers,
    ports: ports.slice(0, 6),
    name: MASTER,
    complete,
    master: async () => {
      const nodes = await nodesOf(servers[0]);
      const found = nodes.find((node) => isUp(node) && nodes.some(({ of }) => of === node.id));
      return servers.find(({ port }) => port === found?.port) as RedisServer;
    },
    replaced: ({ port }: RedisServer) =>
      until('a new master', async () => {
        const others = servers.filter((server) => server.port !== port);
        const views = await Promise.all(others.map(nodesOf));
        return views.every(
          (nodes) =>
            nodes.length === 6 &&
            nodes.filter((node) => node.flags.includes('master') && isUp(node) && node.port !== port).length === 3,
        );
      }),
    start: async () => {
      for (const server of servers) await server.start();
      const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
      await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes']);
    },
  });
}

async function prepare(count: number): Promise<{ folder: string; ports: number[] }> {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} does not exist. Install redis-server and redis-tools.`);
  return { folder: mkdtempSync(join(tmpdir(), 'redis-')), ports: await freePortsInRow(count, FIRST_PORT, LAST_PORT) };
}

async function started<T extends { start: () => Promise<void>; complete: () => Promise<void> }>(
  folder: string,
  all: readonly RedisServer[],
  { start, ...rest }: T,
): Promise<Omit<T, 'start'> & { remove(): Promise<void> }> {
  const remove = async () => {
    await Promise.all(all.map((server) => server.kill()));
    rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
  };
  try {
    await start();
    await rest.complete();
  } catch (error) {
    await remove();
    throw error;
  }
  return { ...rest, remove };
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const giveUp = performance.now() + LIMIT;
  while (!(await condition())) {
    if (performance.now() > giveUp) throw new Error(`no sign of ${what} within ${LIMIT} ms`);
    await sleep(100);
  }
}
