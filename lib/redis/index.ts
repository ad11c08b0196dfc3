import type { RevocationPush } from '../revocation/push.js';
import { askServers, connectionsOf, type RedisConnections } from './connection.js';
import { RedisLink } from './link.js';

/** How `redisPush` connects to Redis: give either `url` or `client`. */
export interface RedisPushOptions {
  /** The address of Redis, for example `'redis://user:password@host:6379'`, or `rediss://` for TLS. */
  url?: string | undefined;
  /**
   * A client of the package `redis`, for settings that a URL cannot express: of `createClient`, `createCluster`, or
   * (since version 6) `createSentinel`. The push works with duplicates of it, so you do not have to connect it.
   */
  client?: unknown;
  /** The channel. If several applications share a Redis, give each its own. Default: `'nestjs-multisession:revoked'`. */
  channel?: string | undefined;
}

const DEFAULT_CHANNEL = 'nestjs-multisession:revoked';

/**
 * Creates a push over Redis for the option `revocation.push`. It works with any database and reconnects by itself. While Redis
 * is unavailable, processes learn of ended sessions by polling. Create one push for each module.
 * @throws MultiSessionConfigurationError unless the options have either a valid `url` or a `client`
 */
export function redisPush(options: RedisPushOptions): RevocationPush {
  return new RedisPush(connectionsOf(options), options.channel ?? DEFAULT_CHANNEL);
}

class RedisPush implements RevocationPush {
  private readonly subscriber: RedisLink;
  private readonly publisher: RedisLink;
  /** The links that have not answered since the last failure. */
  private readonly doubtful = new Set<RedisLink>();
  private receive: (message: string) => void = () => undefined;
  private warn: (text: string) => void = () => undefined;

  constructor(
    { isCluster, subscriber, publisher }: RedisConnections,
    private readonly channel: string,
  ) {
    const failed = (error: Error) => this.warnOnce(error);
    // A cluster sends what PUBLISH gets to all of its nodes, so any node does. Sharded channels would save these copies, but
    // a channel would then depend on one master, and Redis 6 has none.
    this.subscriber = new RedisLink({
      make: subscriber,
      prepare: (connection) => connection.subscribe(this.channel, (message) => this.receive(message)),
      // Any client sends it on the connection that has the subscription, as no client does with PING.
      ask: (connection) => connection.unsubscribe(`${this.channel}:none`),
      reportsErrors: !isCluster,
      failed,
      answered: () => this.doubtful.delete(this.subscriber),
    });
    this.publisher = new RedisLink({
      make: publisher,
      ask: askServers,
      reportsErrors: !isCluster,
      failed,
      answered: () => this.doubtful.delete(this.publisher),
    });
  }

  async start(receive: (message: string) => void, warn?: (text: string) => void): Promise<void> {
    this.receive = receive;
    this.warn = warn ?? this.warn;
    await Promise.all([this.subscriber.start(), this.publisher.start()]);
  }

  async publish(message: string): Promise<void> {
    // Do not queue messages while Redis is unavailable: by the time it is back, the polls have delivered the entries.
    const { connection } = this.publisher;
    await connection?.publish(this.channel, message).catch((error: Error) => {
      // A connection that was replaced has been reported already.
      if (connection === this.publisher.connection) this.warnOnce(error);
    });
  }

  stop(): Promise<void> {
    this.subscriber.stop();
    this.publisher.stop();
    return Promise.resolve();
  }

  /** The next failure is logged again, once nothing is wrong. */
  private warnOnce({ message }: Error): void {
    if (this.doubtful.size === 0) {
      this.warn(`Redis failed; until it is back, processes learn of ended sessions by polling: ${message}`);
    }
    this.doubtful.add(this.subscriber).add(this.publisher);
  }
}
