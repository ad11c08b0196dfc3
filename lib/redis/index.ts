import { Logger } from '@nestjs/common';
import { createClient } from 'redis';
import { MultiSessionConfigurationError } from '../errors.js';
import type { RevocationPush } from '../revocation/push.js';

/** The methods and properties of a `redis` client that we use. */
export interface RedisConnection {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  duplicate(options?: object): RedisConnection;
  on(event: string, listener: (...values: never[]) => void): unknown;
  connect(): Promise<unknown>;
  publish(channel: string, message: string): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  destroy(): void;
}

/** How `redisPush` connects to Redis: give either `url` or `client`. */
export interface RedisPushOptions {
  /** The address of Redis, for example `'redis://user:password@host:6379'`, or `rediss://` for TLS. */
  url?: string;
  /**
   * A client of the package `redis`, for settings that a URL cannot express. The push works with duplicates of it, so you do
   * not have to connect it.
   */
  client?: unknown;
  /** The channel. If several applications share a Redis, give each its own. Default: `'nestjs-multisession:revoked'`. */
  channel?: string;
}

const DEFAULT_CHANNEL = 'nestjs-multisession:revoked';
/** Both in milliseconds. */
const MAX_RECONNECT_PAUSE = 5000;
const PING_INTERVAL = 10_000;
/** The queue is bounded: otherwise it would fill the memory while Redis does not answer. */
const CONNECTION_OPTIONS = { disableOfflineQueue: true, commandsQueueMaxLength: 1000, pingInterval: PING_INTERVAL };

/**
 * Creates a push over Redis for the option `revocation.push`. It works with any database and reconnects by itself. While Redis
 * is unavailable, processes learn of ended sessions by polling. Create one push for each module.
 * @throws MultiSessionConfigurationError unless the options have either a valid `url` or a `client`
 */
export function redisPush(options: RedisPushOptions): RevocationPush {
  return new RedisPush(connectionOf(options), options.channel ?? DEFAULT_CHANNEL);
}

class RedisPush implements RevocationPush {
  private readonly logger = new Logger('MultiSession');
  private readonly subscriber: RedisConnection;
  private readonly publisher: RedisConnection;
  private hasWarned = false;

  constructor(
    connection: RedisConnection,
    private readonly channel: string,
  ) {
    this.subscriber = connection.duplicate(CONNECTION_OPTIONS);
    this.publisher = connection.duplicate(CONNECTION_OPTIONS);
    for (const each of [this.subscriber, this.publisher]) {
      each.on('error', (error: Error) => this.warnOnce(error));
      each.on('ready', () => (this.hasWarned = false));
    }
  }

  async start(receive: (message: string) => void): Promise<void> {
    const subscribe = async () => {
      await this.subscriber.connect();
      await this.subscriber.subscribe(this.channel, receive);
    };
    await Promise.all([subscribe(), this.publisher.connect()]);
  }

  async publish(message: string): Promise<void> {
    // Do not queue messages while Redis is unavailable: by the time it is back, the polls have delivered the entries.
    if (this.publisher.isReady) await this.publisher.publish(this.channel, message);
  }

  stop(): Promise<void> {
    for (const each of [this.subscriber, this.publisher]) {
      if (each.isOpen) each.destroy();
    }
    return Promise.resolve();
  }

  private warnOnce({ message }: Error): void {
    if (!this.hasWarned) {
      this.logger.warn(`Redis failed; until it is back, processes learn of ended sessions by polling: ${message}`);
    }
    this.hasWarned = true;
  }
}

function connectionOf({ url, client }: RedisPushOptions): RedisConnection {
  if (client !== undefined && url === undefined) return client as RedisConnection;
  if (client === undefined && isRedisUrl(url)) {
    const reconnectStrategy = (retries: number) =>
      Math.min(100 * 2 ** Math.min(retries, 10), MAX_RECONNECT_PAUSE) * (0.5 + Math.random());
    return createClient({ url, socket: { reconnectStrategy } }) as unknown as RedisConnection;
  }
  // The message omits the URL because it may contain a password.
  throw new MultiSessionConfigurationError([
    'redisPush: needs either a url that begins with redis:// or rediss://, or a client of the package redis; give exactly one',
  ]);
}

function isRedisUrl(url: string | undefined): boolean {
  // Check it here: the error of `new URL` would quote the value.
  return url !== undefined && URL.canParse(url) && /^rediss?:/.test(url);
}
