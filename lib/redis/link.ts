import { setTimeout as sleep } from 'node:timers/promises';
import { close, type RedisConnection } from './connection.js';

/** All in milliseconds. How often a connection is checked. A frozen server closes no connection. */
const CHECK_INTERVAL = 1000;
/** After this time without an answer, the link does not answer; after the longer one, it connects anew. */
const ANSWER_LIMIT = 2000;
const REPLACE_AFTER = 3000;
/** The pause, on average, until the next attempt to connect begins. Earlier ones may still succeed. */
const ATTEMPT_INTERVAL = 1000;
/** How long an attempt may take. Clients of clusters wait for ever for a node that froze. */
const CONNECT_LIMIT = 10_000;
/** The pause before it is asked again if the client refuses the question. */
const ASK_AGAIN = 500;

/** What a link is for. */
export interface LinkUse {
  /** Makes a connection that is not open yet. */
  make(): RedisConnection;
  /** Does what a new connection needs before it is used. */
  prepare?(connection: RedisConnection): Promise<unknown>;
  /** Asks the server for an answer. An error that the server sends is an answer too. */
  ask(connection: RedisConnection): Promise<unknown>;
  /** False if the client reports each server that fails, although others answer. */
  readonly reportsErrors: boolean;
  failed(error: Error): void;
  answered(): void;
}

/**
 * Keeps one connection that answers. If it does not answer, the link opens another one, and closes the old one only when the
 * new one works: a slow server loses nothing.
 */
export class RedisLink {
  private current?: RedisConnection | undefined;
  private isWell = false;
  private attempt = new AbortController();
  private stopped = false;

  constructor(private readonly use: LinkUse) {}

  /** The connection, if it answers. */
  get connection(): RedisConnection | undefined {
    return this.isWell ? this.current : undefined;
  }

  /** Connects, and settles when that is done. Then watches the connection until `stop`. */
  async start(): Promise<void> {
    this.replaceBy(await this.connect(this.attempt.signal));
    void this.watch();
  }

  stop(): void {
    this.stopped = true;
    this.isWell = false;
    this.attempt.abort();
    close(this.current);
  }

  private async watch(): Promise<void> {
    for (;;) {
      await pause(CHECK_INTERVAL);
      if (this.stopped) return;
      const { signal } = (this.attempt = new AbortController());
      const late = setTimeout(() => {
        this.isWell = false;
        this.fail(new Error(`no answer within ${ANSWER_LIMIT} ms`));
      }, ANSWER_LIMIT).unref();
      const replaced = pause(REPLACE_AFTER, signal).then(() => this.connect(signal));
      // If both come at once, the new connection is the one that is kept.
      await Promise.race([this.askUntilAnswered(signal), replaced]);
      clearTimeout(late);
      this.attempt.abort();
      this.replaceBy(await replaced);
    }
  }

  private replaceBy(connection: RedisConnection | undefined): void {
    if (this.stopped) return close(connection);
    if (connection) {
      close(this.current);
      this.current = connection;
    }
    this.isWell = true;
    this.use.answered();
  }

  private async askUntilAnswered(signal: AbortSignal): Promise<void> {
    for (const connection = this.current; connection && !signal.aborted; await pause(ASK_AGAIN, signal)) {
      try {
        return void (await this.use.ask(connection));
      } catch (error) {
        // A plain client is connecting again by itself. The server's own errors begin with a code, such as NOPERM.
        if (/^[A-Z]{2,} /.test((error as Error).message)) return;
      }
    }
  }

  /**
   * Returns a connection that is prepared, or undefined once the signal is aborted. A server that froze does not delay the attempts
   * that find out who has taken its place.
   */
  private async connect(signal: AbortSignal): Promise<RedisConnection | undefined> {
    let prepared: RedisConnection | undefined;
    const found = new AbortController();
    const isOver = AbortSignal.any([signal, found.signal]);
    while (!isOver.aborted) {
      void this.connectOnce(this.use.make(), isOver).then((connection) => {
        if (isOver.aborted) return close(connection);
        if (!connection) return;
        prepared = connection;
        found.abort();
      });
      await pause(ATTEMPT_INTERVAL * (0.5 + Math.random()), isOver);
    }
    return prepared;
  }

  /** Opens and prepares a connection. Returns undefined if that fails, takes too long, or the signal is aborted first. */
  private async connectOnce(connection: RedisConnection, signal: AbortSignal): Promise<RedisConnection | undefined> {
    connection.on('error', (error: Error) => {
      const isUsed = connection === this.current || !signal.aborted;
      if (isUsed && this.use.reportsErrors) this.fail(error);
    });
    const opened = connection.connect();
    const prepared = opened.then(() => this.use.prepare?.(connection));
    const expired = pause(CONNECT_LIMIT, signal).then(() => {
      throw new Error(`no connection within ${CONNECT_LIMIT} ms`);
    });
    try {
      await Promise.race([prepared, expired]);
      if (!signal.aborted) return connection;
    } catch (error) {
      if (!signal.aborted) this.fail(error as Error);
    }
    close(connection);
    // A client that is closed while it connects can open nevertheless.
    void opened.then(
      () => close(connection),
      () => undefined,
    );
    return undefined;
  }

  private fail(error: Error): void {
    if (!this.stopped) this.use.failed(error);
  }
}

/** Waits, or until the signal is aborted. Keeps no process alive. */
function pause(time: number, signal?: AbortSignal): Promise<unknown> {
  return sleep(time, undefined, { ref: false, ...(signal && { signal }) }).catch(() => undefined);
}
