import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'redis';
import { MultiSessionConfigurationError } from '../configuration-error.js';
import type { RevocationPush } from '../revocation/push.js';

/** The methods and properties of a `redis` client that we use. */
export interface RedisConnection {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  duplicate(options?: object): RedisConnection;
  on(event: string, listener: (...values: never[]) => void): unknown;
  connect(): Promise<unknown>;
  publish(channel: string, message: string): Promise<unknown>;
  ping(): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /** Since version 5. */
  destroy?(): void;
  /** Up to version 5. */
  disconnect?(): Promise<unknown>;
}

/** How `redisPush` connects to Redis: give either `url` or `client`. */
export interface RedisPushOptions {
  /** The address of Redis, for example `'redis://user:password@host:6379'`, or `rediss://` for TLS. */
  url?: string | undefined;
  /**
   * A client of the package `redis`, for settings that a URL cannot express. The push works with duplicates of it, so you do
   * not have to connect it.
   */
  client?: unknown;
  /** The channel. If several applications share a Redis, give each its own. Default: `'nestjs-multisession:revoked'`. */
  channel?: string | undefined;
}

const DEFAULT_CHANNEL = 'nestjs-multisession:revoked';
/** Both in milliseconds. */
const MAX_RECONNECT_PAUSE = 5000;
/** How often each connection is checked, and how long its answer may take. A frozen server closes no connection. */
const CHECK_INTERVAL = 2000;
const ANSWER_LIMIT = 2000;
/** The pause before SUBSCRIBE is sent again, at first. */
const SUBSCRIBE_AGAIN = 500;
/** The queue is bounded: otherwise it would fill the memory while Redis does not answer. */
const CONNECTION_OPTIONS = { disableOfflineQueue: true, commandsQueueMaxLength: 1000 };

/**
 * Creates a push over Redis for the option `revocation.push`. It works with any database and reconnects by itself. While Redis
 * is unavailable, processes learn of ended sessions by polling. Create one push for each module.
 * @throws MultiSessionConfigurationError unless the options have either a valid `url` or a `client`
 */
export function redisPush(options: RedisPushOptions): RevocationPush {
  return new RedisPush(connectionOf(options), options.channel ?? DEFAULT_CHANNEL);
}

class RedisPush implements RevocationPush {
  private readonly subscriber: RedisConnection;
  private readonly publisher: RedisConnection;
  private hasWarned = false;
  private isSubscribed = false;
  private stopped = false;
  /** Connections whose last check has not been answered yet. */
  private readonly unanswered = new Set<RedisConnection>();
  private checks?: NodeJS.Timeout;
  private warn: (text: string) => void = () => undefined;

  constructor(
    connection: RedisConnection,
    private readonly channel: string,
  ) {
    this.subscriber = connection.duplicate(CONNECTION_OPTIONS);
    this.publisher = connection.duplicate(CONNECTION_OPTIONS);
    for (const each of [this.subscriber, this.publisher]) {
      each.on('error', (error: Error) => this.warnOnce(error));
      each.on('ready', () => this.recovered());
    }
  }

  async start(receive: (message: string) => void, warn?: (text: string) => void): Promise<void> {
    this.warn = warn ?? this.warn;
    this.checks = setInterval(() => {
      for (const each of [this.subscriber, this.publisher]) void this.check(each);
    }, CHECK_INTERVAL).unref();
    await Promise.all([this.subscriber.connect().then(() => this.subscribe(receive)), this.publisher.connect()]);
  }

  /** Subscribes, and tries again if Redis refuses it: the right to the channel may be granted later. */
  private async subscribe(receive: (message: string) => void): Promise<void> {
    for (let pause = SUBSCRIBE_AGAIN; !this.stopped; pause = Math.min(2 * pause, MAX_RECONNECT_PAUSE)) {
      try {
        await this.subscriber.subscribe(this.channel, receive);
        this.isSubscribed = true;
        return this.recovered();
      } catch (error) {
        this.warnOnce(error as Error);
      }
      await sleep(pause, undefined, { ref: false });
    }
  }

  /** Warns if Redis does not answer. The connection stays open, and goes on if the server does. */
  private async check(connection: RedisConnection): Promise<void> {
    if (!connection.isReady || this.unanswered.has(connection)) return;
    const limit = setTimeout(() => {
      if (!this.stopped) this.warnOnce(new Error(`no answer within ${ANSWER_LIMIT} ms`));
    }, ANSWER_LIMIT).unref();
    this.unanswered.add(connection);
    // A failure is reported by the event of the connection.
    await connection.ping().then(
      () => this.recovered(),
      () => undefined,
    );
    this.unanswered.delete(connection);
    clearTimeout(limit);
  }

  async publish(message: string): Promise<void> {
    // Do not queue messages while Redis is unavailable: by the time it is back, the polls have delivered the entries.
    if (this.publisher.isReady) await this.publisher.publish(this.channel, message);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.checks);
    for (const each of [this.subscriber, this.publisher].filter(({ isOpen }) => isOpen)) {
      if (each.destroy) each.destroy();
      else await each.disconnect?.();
    }
  }

  /** The next failure is logged again, once nothing is wrong. */
  private recovered(): void {
    if (this.isSubscribed) this.hasWarned = false;
  }

  private warnOnce({ message }: Error): void {
    if (!this.hasWarned) {
      this.warn(`Redis failed; until it is back, processes learn of ended sessions by polling: ${message}`);
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
