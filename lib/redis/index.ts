import { Logger } from '@nestjs/common';
import { createClient } from 'redis';
import { MultiSessionConfigurationError } from '../errors.js';
import type { RevocationPush } from '../revocation/push.js';

/** The part of a client of the package `redis` that we use. */
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
  /** For example `'redis://user:password@host:6379'`, or `rediss://` for TLS. */
  url?: string;
  /**
   * A client of the package `redis`, for settings that a URL cannot hold. The push makes duplicates of it, so it need not be
   * connected.
   */
  client?: unknown;
  /** Give each application that shares a Redis its own channel. Default: `'nestjs-multisession:revoked'`. */
  channel?: string;
}

const DEFAULT_CHANNEL = 'nestjs-multisession:revoked';
/** Both in milliseconds. */
const MAX_RECONNECT_PAUSE = 5000;
const PING_INTERVAL = 10_000;
/** The queue is bounded, so that a Redis that does not answer cannot fill the memory. */
const CONNECTION_OPTIONS = { disableOfflineQueue: true, commandsQueueMaxLength: 1000, pingInterval: PING_INTERVAL };

/**
 * Creates a push that uses Redis, for the option `revocation.push` on any database. It reconnects by itself. While Redis is
 * unavailable, processes learn of ended sessions by polling. Create one push for each module.
 * @throws MultiSessionConfigurationError if the options have no valid URL and no client, or both
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
    // While Redis is unavailable we queue nothing: by the time it is back, the polls have delivered the entry.
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
  // Without the value: a URL may contain a password.
  throw new MultiSessionConfigurationError([
    'redisPush: needs either a url that begins with redis:// or rediss://, or a client of the package redis; give exactly one',
  ]);
}

function isRedisUrl(url: string | undefined): boolean {
  // Checked here, since the error of `new URL` quotes the value.
  return url !== undefined && URL.canParse(url) && /^rediss?:/.test(url);
}
