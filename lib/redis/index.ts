import { Logger } from '@nestjs/common';
import { createClient } from 'redis';
import { MultiSessionConfigurationError } from '../errors.js';
import type { RevocationPush } from '../revocation/push.js';

/** The part of a client of the package `redis` that is used here. */
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

/** Where `redisPush` finds Redis: `url`, or `client`. */
export interface RedisPushOptions {
  /** As `createClient` of the package `redis` takes it: `'redis://user:password@host:6379'`, or `rediss:` for TLS. */
  url?: string;
  /** A client of the package `redis`, which is duplicated: for what a URL cannot say. It need not be connected. */
  client?: unknown;
  /** The channel: another for each application on one Redis. Default: `'nestjs-multisession:revoked'`. */
  channel?: string;
}

const DEFAULT_CHANNEL = 'nestjs-multisession:revoked';
const MAX_PAUSE = 5000;
const PING_INTERVAL = 10_000;
/** What may wait for a Redis that does not answer, before the rest is let go. */
const QUEUE = { disableOfflineQueue: true, commandsQueueMaxLength: 1000, pingInterval: PING_INTERVAL };

/**
 * A push by Redis, on any database, for the option `revocation.push`. A Redis that is away costs nothing but the delay: the
 * polls do the work, and it is connected to again. One for each module.
 * @throws MultiSessionConfigurationError where the options do not say where Redis is
 */
export function redisPush(options: RedisPushOptions): RevocationPush {
  return new RedisPush(connectionOf(options), options.channel ?? DEFAULT_CHANNEL);
}

class RedisPush implements RevocationPush {
  private readonly logger = new Logger('MultiSession');
  private readonly subscriber: RedisConnection;
  private readonly publisher: RedisConnection;
  private warned = false;

  constructor(
    connection: RedisConnection,
    private readonly channel: string,
  ) {
    [this.subscriber, this.publisher] = [connection.duplicate(QUEUE), connection.duplicate(QUEUE)];
    for (const one of [this.subscriber, this.publisher]) {
      one.on('error', (error: Error) => this.warnOnce(error));
      one.on('ready', () => (this.warned = false));
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
    // While it is away, nothing is kept for it: the polls will have told by then.
    if (this.publisher.isReady) await this.publisher.publish(this.channel, message);
  }

  stop(): Promise<void> {
    for (const one of [this.subscriber, this.publisher]) {
      if (one.isOpen) one.destroy();
    }
    return Promise.resolve();
  }

  private warnOnce(error: Error): void {
    if (!this.warned) this.logger.warn(`ended sessions are told by the polls alone: Redis failed: ${error.message}`);
    this.warned = true;
  }
}

function connectionOf({ url, client }: RedisPushOptions): RedisConnection {
  if (client !== undefined && url === undefined) return client as RedisConnection;
  // The parser's own error would quote it, and it may hold a password.
  if (client === undefined && URL.canParse(url ?? '') && /^rediss?:/.test(url ?? '')) {
    const reconnectStrategy = (retries: number) =>
      Math.min(100 * 2 ** Math.min(retries, 10), MAX_PAUSE) * (0.5 + Math.random());
    return createClient({ url, socket: { reconnectStrategy } }) as unknown as RedisConnection;
  }
  throw new MultiSessionConfigurationError([
    'redisPush: takes a url that begins with redis:// or rediss://, or a client',
  ]);
}
