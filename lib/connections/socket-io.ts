import { MultiSessionError } from '../errors.js';
import type { CredentialsCarrier } from '../http/request.js';
import type { ConnectionOpener, SessionConnection } from './session-connection.js';

/** A socket of Socket.IO, as far as this library uses it. */
export interface SocketIoSocket {
  readonly handshake: CredentialsCarrier;
  readonly connected: boolean;
  readonly conn: { once(event: 'close', listener: () => void): unknown; close(): unknown };
  use(middleware: (packet: unknown, next: (error?: Error) => void) => void): unknown;
  once(event: 'disconnect', listener: () => void): unknown;
  disconnect(close?: boolean): unknown;
}

/** A server or namespace of Socket.IO, as far as this library uses it. */
export interface SocketIoServer {
  use(middleware: (socket: SocketIoSocket, next: (error?: Error) => void) => void): unknown;
}

/** Lets only sockets with a session connect, and closes them with it. */
export function guardSocketIo(
  server: SocketIoServer,
  connections: ConnectionOpener,
  byClient: WeakMap<object, SessionConnection>,
): void {
  // Socket.IO connects the socket after `next()`, so no handler sees a socket without a session.
  server.use((socket, next) => {
    connections
      // Before a socket is connected, which other middleware may delay, it cannot be disconnected.
      .open(socket.handshake, () => void (socket.connected ? socket.disconnect(true) : socket.conn.close()))
      .then((connection) => {
        byClient.set(socket, connection);
        // A socket that never connects emits no `disconnect`, but its transport is closed.
        socket.once('disconnect', () => connection.leave());
        socket.conn.once('close', () => connection.leave());
        // Messages that have arrived before the socket is closed.
        socket.use((_packet, pass) => {
          if (connection.isOpen) pass();
        });
        next();
      })
      .catch((error: Error) => next(refusalOf(error)));
  });
}

/** Socket.IO sends only the message and `data` of an error to the client. */
function refusalOf(error: Error): Error {
  if (!(error instanceof MultiSessionError)) return new Error('Internal server error');
  return Object.assign(new Error(error.message), { data: error.getResponse() });
}
