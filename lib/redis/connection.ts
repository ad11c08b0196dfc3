import { createClient } from 'redis';
import { MultiSessionConfigurationError } from '../configuration-error.js';

/** The methods of a client, of Redis, Sentinel or a cluster, that we use. */
export interface RedisConnection {
  duplicate(options?: object): RedisConnection;
  on(event: 'error', listener: (error: Error) => void): unknown;
  connect(): Promise<unknown>;
  publish(channel: string, message: string): Promise<unknown>;
  ping(): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  /** Since version 5. */
  destroy?(): unknown;
  /** Up to version 5. */
  disconnect?(): unknown;
  /** Only of a cluster: its masters, and the connection to one of them. */
  readonly masters?: readonly object[];
  nodeClient?(node: object): Promise<RedisConnection> | RedisConnection;
}

/** Makes connections with the settings of one client. */
export interface RedisConnections {
  /** Whether the client itself connects to several servers, and reports those that fail. */
  readonly isCluster: boolean;
  readonly subscriber: () => RedisConnection;
  readonly publisher: () => RedisConnection;
}

/** The options that we change, of a client, of Sentinel and of a cluster. */
interface ClientOptions {
  readonly socket?: object;
  readonly defaults?: ClientOptions;
  readonly sentinelClientOptions?: ClientOptions;
}

/** All in milliseconds. */
const MAX_RECONNECT_PAUSE = 5000;
const SOCKET_TIMEOUT = 5000;
/** Only for sentinels, which answer at once: the client asks them in turn. */
const SENTINEL_TIMEOUT = 1000;
const reconnectStrategy = (retries: number) =>
  Math.min(100 * 2 ** Math.min(retries, 10), MAX_RECONNECT_PAUSE) * (0.5 + Math.random());
/** The queue is bounded: otherwise it would fill the memory while Redis does not answer. */
const QUEUES = { disableOfflineQueue: true, commandsQueueMaxLength: 1000 };

/** @throws MultiSessionConfigurationError unless there is either a valid `url` or a `client` */
export function connectionsOf({ url, client }: { url?: string | undefined; client?: unknown }): RedisConnections {
  if (url === undefined && isClient(client)) return duplicatesOf(client);
  if (client === undefined && isRedisUrl(url))
    return duplicatesOf(createClient({ url, socket: { reconnectStrategy } }));
  // The message omits the URL because it may contain a password.
  throw new MultiSessionConfigurationError([
    'redisPush: needs either a url that begins with redis:// or rediss://, or a client of the package redis (of createSentinel: since version 6); give exactly one',
  ]);
}

function duplicatesOf(client: RedisConnection): RedisConnections {
  const make = (options: object) => () => client.duplicate(options);
  const { defaults, sentinelClientOptions } = optionsOf(client);
  if ('getSentinelNode' in client) {
    // A message that is published on a replica does not reach the master's subscribers.
    const one = make({
      replicaPoolSize: 0,
      masterPoolSize: 1,
      reserveClient: false,
      sentinelClientOptions: withTimeout(SENTINEL_TIMEOUT, sentinelClientOptions),
    });
    return { isCluster: true, subscriber: one, publisher: one };
  }
  if ('slots' in client) {
    const options = { useReplicas: false, defaults: withTimeout(SOCKET_TIMEOUT, { ...QUEUES, ...defaults }) };
    // The subscriber needs one node, so it does not wait for the others.
    return {
      isCluster: true,
      subscriber: make({ ...options, minimizeConnections: true }),
      publisher: make(options),
    };
  }
  return { isCluster: false, subscriber: make(QUEUES), publisher: make(QUEUES) };
}

/** Without it, a client waits for ever for the greeting of a sentinel or a node that froze, and asks none of the others. */
function withTimeout(socketTimeout: number, options: ClientOptions = {}): ClientOptions {
  const socket = { reconnectStrategy, socketTimeout, ...options.socket };
  return { pingInterval: socketTimeout / 2, ...options, socket } as ClientOptions;
}

/** Returns a client's options. The package hides them, but gives them to the constructor that `duplicate` calls. */
function optionsOf(client: RedisConnection): ClientOptions {
  let found: ClientOptions = {};
  class Reader {
    constructor(options: ClientOptions) {
      found = options;
    }
  }
  try {
    client.duplicate.call(new Proxy(client, { getPrototypeOf: () => Reader.prototype }));
  } catch {
    // Version 4 cannot be read in this way.
  }
  return found;
}

/** Settles once every server that PUBLISH may be sent to has answered. */
export async function askServers(connection: RedisConnection): Promise<void> {
  const { masters } = connection;
  if (!masters) return void (await connection.ping());
  // The client's own PING asks one of them, depending on the version.
  await Promise.all(masters.map(async (node) => (await connection.nodeClient?.(node))?.ping()));
}

/** Closes a connection, open or not, without waiting for its server. */
export function close(connection: RedisConnection | undefined): void {
  if (!connection) return;
  const closing = new Promise((resolve) => resolve((connection.destroy ?? connection.disconnect)?.call(connection)));
  // It fails if the connection is closed already.
  closing.catch(() => undefined);
}

function isClient(client: unknown): client is RedisConnection {
  return typeof (client as Partial<RedisConnection> | undefined)?.duplicate === 'function';
}

function isRedisUrl(url: string | undefined): boolean {
  // Check it here: the error of `new URL` would quote the value.
  return url !== undefined && URL.canParse(url) && /^rediss?:/.test(url);
}
