import { setImmediate as nextTurn } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Inject, Injectable, Logger } from '@nestjs/common';
import { Observable } from 'rxjs';
import { CONNECTION_RECHECK, CONNECTION_TICK } from '../engine/timing.js';
import { NotAuthenticatedError, TokenNotValidError, UnavailableError } from '../errors.js';
import { accessTokenOf, type CredentialsConfig, sessionOfCookies, sessionOfToken } from '../http/bearer.js';
import { HTTP_CONFIG } from '../http/options.js';
import type { CredentialsCarrier } from '../http/request.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { EndedSessions } from '../session/ended-sessions.js';
import type { SessionClaims } from '../token/access-token.js';
import { ConnectionRegistry } from './connection-registry.js';
import { type GraphqlConnection, openGraphqlSocket, renewGraphqlSocket } from './graphql-ws.js';
import { type CloseConnection, type CloseReason, SessionConnection, type StopMessages } from './session-connection.js';
import { guardSocketIo, type SocketIoServer } from './socket-io.js';
import { openWebSocket, type WebSocketLike } from './web-socket.js';

/** How many connections are closed, or checked, before other work of the process may run. */
const MAX_BATCH = 200;
/** How many rows of sessions are read at once, if memory does not know which sessions have ended. */
const MAX_READS = 4;

/**
 * Knows the open sockets and streams of each session, and closes them when the session ends or the access token expires. It
 * works in the issuer and in resource servers.
 *
 * - A connection first joins its session, and is verified second. So it cannot miss an ending.
 * - It is closed as soon as this process learns of the ending: at once, by a push, or by the next poll.
 * - It is closed within a second after its access token has expired. To keep it open, the client sends the token of its next
 *   refresh, and you call `renew`.
 * - It is closed if this process can no longer know whether sessions have ended: `revocation.maxStaleness` after the last
 *   successful poll, unless the session's row can be read.
 */
@Injectable()
export class SessionConnections implements BeforeApplicationShutdown {
  private readonly logger = new Logger('MultiSession');
  private readonly registry = new ConnectionRegistry();
  private readonly closing: (readonly [SessionConnection, CloseReason])[] = [];
  private readonly byClient = new WeakMap<object, SessionConnection>();
  private readonly stopListening: () => void;
  private timer?: NodeJS.Timeout;
  private checking?: Promise<void>;
  private checkAgainAt = 0;
  private isStopped = false;

  constructor(
    @Inject(AccessVerifier) private readonly verifier: AccessVerifier,
    @Inject(EndedSessions) private readonly ended: EndedSessions,
    @Inject(HTTP_CONFIG) private readonly config: CredentialsConfig,
  ) {
    this.stopListening = ended.onEnded((sessionId) => this.closeSession(sessionId, 'ended'));
  }

  /** The number of open connections in this process. */
  get size(): number {
    return this.registry.size;
  }

  /**
   * Verifies the credentials of a connection, and keeps it until it is closed.
   * @param carrier the request that opened the connection, or a Socket.IO handshake. A cookie counts if the page that sent it
   * may use it
   * @param close closes the connection
   * @param stop stops the handling of messages. Default: you check `isOpen` before you handle one
   * @throws NotAuthenticatedError if there are no credentials
   * @throws TokenNotValidError if the token is not valid, or its session has ended
   * @throws CsrfFailedError if the session comes from a cookie, and a hostile page may have opened the connection
   * @throws UnavailableError if it cannot be verified now
   */
  async open(carrier: CredentialsCarrier, close: CloseConnection, stop?: StopMessages): Promise<SessionConnection> {
    const { config, verifier } = this;
    const token = accessTokenOf(carrier, config);
    const session = await (token === undefined
      ? config.cookies && sessionOfCookies(carrier, config.cookies, verifier)
      : sessionOfToken(token, carrier, config, verifier));
    if (!session) throw new NotAuthenticatedError();
    return this.join(session, close, stop);
  }

  /**
   * Keeps a connection whose session a guard has verified.
   * @param session the claims, as `@CurrentSession()` returns them
   * @param close closes the connection
   * @param stop stops the handling of messages. Default: you check `isOpen` before you handle one
   * @throws TokenNotValidError if the session has ended in the meantime
   * @throws UnavailableError if that cannot be known now
   */
  async join(session: SessionClaims, close: CloseConnection, stop?: StopMessages): Promise<SessionConnection> {
    if (this.isStopped) throw new UnavailableError(new Error('the application is shutting down'));
    const connection = new SessionConnection(session, this, close, stop);
    this.registry.add(connection);
    this.start();
    try {
      if (session.expiresAt * 1000 <= this.verifier.now()) throw new TokenNotValidError('access');
      await this.ended.check(session);
      if (!connection.isOpen) throw new TokenNotValidError('access');
      return connection;
    } catch (error) {
      connection.leave();
      throw error;
    }
  }

  /**
   * Keeps every connection of a session in this process open until a newer access token expires. Call it in a guarded route,
   * for streams, on which a client cannot send a token.
   * @param session the claims of the newer token, as `@CurrentSession()` returns them
   */
  extend(session: SessionClaims): void {
    for (const connection of this.registry.ofSession(session.sessionId)) this.registry.extend(connection, session);
  }

  // ─── Transports ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Lets only sockets with a session connect to a Socket.IO server or namespace, and closes them with it. A refused client gets
   * `connect_error`, with the error code in `data.code`.
   */
  guardSocketIo(server: SocketIoServer): void {
    guardSocketIo(server, this, this.byClient);
  }

  /**
   * Verifies a socket of `ws`, and closes it with its session: with 4403, or with 1013 or 1001 if the client may come back later.
   * Until the promise resolves, handle no messages.
   * @param request the request that opened the socket. Its token may also be in `socket.auth.token`
   * @throws as `open` does. Close the socket then
   */
  guardWebSocket(socket: WebSocketLike, request: CredentialsCarrier): Promise<SessionConnection> {
    return openWebSocket(socket, request, this, this.byClient);
  }

  /**
   * Verifies a socket of `graphql-ws`, and closes it with its session. Use it as `onConnect`.
   * @returns false if the socket is refused, which closes it with 4403
   */
  readonly guardGraphqlSocket = (context: GraphqlConnection): Promise<boolean> =>
    openGraphqlSocket(context, this, this.byClient);

  /**
   * Keeps a socket of `graphql-ws` open with the newer access token that the client sends as `token` in the payload of a ping. Use
   * it as `onPing`. A token that is not valid changes nothing.
   */
  readonly renewGraphqlSocket = (context: GraphqlConnection, payload: unknown): Promise<void> =>
    renewGraphqlSocket(context, payload, this.byClient);

  /**
   * Emits once, as soon as a stream must end: for `takeUntil`. It leaves the session when it is unsubscribed.
   * @param session the claims, as `@CurrentSession()` returns them
   */
  endOf(session: SessionClaims): Observable<CloseReason> {
    return new Observable((subscriber) => {
      const finish = (reason: CloseReason) => {
        subscriber.next(reason);
        subscriber.complete();
      };
      this.join(session, finish).then(
        (connection) => {
          if (subscriber.closed) connection.leave();
          else subscriber.add(() => connection.leave());
        },
        (error: unknown) => finish(error instanceof TokenNotValidError ? 'ended' : 'unavailable'),
      );
    });
  }

  /** Returns the connection of a socket that one of the methods above has verified. */
  of(client: object): SessionConnection | undefined {
    return this.byClient.get(client);
  }

  // ─── What connections ask for ─────────────────────────────────────────────────────────────────────────────────────────

  /** @internal */
  async renew(connection: SessionConnection, token: string): Promise<SessionClaims> {
    const session = await this.verifier.verify(token);
    if (session.sessionId !== connection.session.sessionId || !connection.isOpen)
      throw new TokenNotValidError('access');
    this.registry.extend(connection, session);
    return session;
  }

  /** @internal */
  leave(connection: SessionConnection): void {
    this.registry.delete(connection);
    if (this.registry.size === 0) this.stop();
  }

  // ─── Closing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  private closeSession(sessionId: string, reason: CloseReason): void {
    for (const connection of this.registry.ofSession(sessionId)) this.close(connection, reason);
  }

  /** Refuses messages at once. Closes the connection soon: many sessions may end at the same moment. */
  private close(connection: SessionConnection, reason: CloseReason): void {
    this.registry.delete(connection);
    if (!connection.shut()) return;
    this.closing.push([connection, reason]);
    if (this.closing.length === 1) setImmediate(() => this.closeNext());
  }

  private closeNext(): void {
    for (const [connection, reason] of this.closing.splice(0, MAX_BATCH)) {
      try {
        connection.close(reason);
      } catch (error) {
        this.logger.error(`a connection could not be closed: ${(error as Error).message}`);
      }
    }
    if (this.closing.length > 0) setImmediate(() => this.closeNext());
    else if (this.registry.size === 0) this.stop();
  }

  private start(): void {
    this.timer ??= setInterval(() => this.tick(), CONNECTION_TICK).unref();
  }

  private stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private tick(): void {
    for (const connection of this.registry.expiredAt(this.now())) this.close(connection, 'expired');
    if (this.checking || performance.now() < this.checkAgainAt) return;
    const startedAt = performance.now();
    this.checking = this.checkAll().finally(() => {
      this.checking = undefined;
      // If rows must be read, rest for as long as that took.
      const took = performance.now() - startedAt;
      this.checkAgainAt = performance.now() + Math.max(took, CONNECTION_RECHECK);
    });
  }

  /** The time is unknown only before the first answer, when no connection has expired yet. */
  private now(): number {
    try {
      return this.verifier.now();
    } catch {
      return -Infinity;
    }
  }

  /**
   * Asks about each session again. No event tells that this process has been cut off from the others, and none tells of entries
   * that it reads when it loads all of them.
   */
  private async checkAll(): Promise<void> {
    const ids = this.registry.sessionIds().values();
    const work = async () => {
      let done = 0;
      for (const id of ids) {
        const pending = this.check(id);
        if (pending) await pending;
        if (++done % MAX_BATCH === 0) await nextTurn();
      }
    };
    await Promise.all(Array.from({ length: MAX_READS }, work));
  }

  /** Returns a promise only if a row must be read. */
  private check(sessionId: string): Promise<void> | undefined {
    const [first, ...others] = this.registry.ofSession(sessionId);
    if (!first) return undefined;
    const newest = others.reduce(
      (newer, { session }) => (session.issuedAt > newer.issuedAt ? session : newer),
      first.session,
    );
    const failed = (error: unknown) => {
      if (!(error instanceof TokenNotValidError || error instanceof UnavailableError))
        this.logger.error(`a session could not be checked: ${(error as Error).message}`);
      this.closeSession(sessionId, error instanceof TokenNotValidError ? 'ended' : 'unavailable');
    };
    try {
      return this.ended.check(newest)?.catch(failed);
    } catch (error) {
      failed(error);
      return undefined;
    }
  }

  // ─── Shutdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Closes all connections. Otherwise, open streams would keep the server from closing.
   * @internal
   */
  async beforeApplicationShutdown(): Promise<void> {
    this.isStopped = true;
    this.stopListening();
    this.stop();
    for (const id of this.registry.sessionIds()) this.closeSession(id, 'shutdown');
    while (this.closing.length > 0) await nextTurn();
    await this.checking;
  }
}
