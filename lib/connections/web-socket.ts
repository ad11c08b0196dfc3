import type { CredentialsCarrier } from '../http/request.js';
import type { CloseReason, ConnectionOpener, SessionConnection } from './session-connection.js';

/** A socket of the package `ws`, as far as this library uses it. */
export interface WebSocketLike {
  /** The token that the client has sent in a message, if the request could not carry it. */
  auth?: { token?: unknown } | undefined;
  readonly readyState: number;
  close(code: number, reason: string): void;
  terminate(): void;
  once(event: 'close', listener: () => void): unknown;
  removeAllListeners(event: 'message'): unknown;
}

/** How a socket is closed: codes of RFC 6455, and 4403, after which clients of `graphql-ws` connect again. */
const CODES: Readonly<Record<CloseReason, readonly [code: number, reason: string]>> = {
  ended: [4403, 'Session ended'],
  expired: [4403, 'Token expired'],
  unavailable: [1013, 'Try again later'],
  shutdown: [1001, 'Going away'],
};

/** How long the client may take to answer the closing of the socket, in milliseconds. */
const CLOSE_TIMEOUT = 500;
const CLOSING = 2;

/** Verifies a socket of `ws`, and closes it with its session. */
export async function openWebSocket(
  socket: WebSocketLike,
  request: CredentialsCarrier,
  connections: ConnectionOpener,
  byClient: WeakMap<object, SessionConnection>,
): Promise<SessionConnection> {
  const { method, headers, sentHeaders, auth } = request;
  const carrier = { method, headers, sentHeaders, auth: auth ?? socket.auth };
  // Messages that have arrived, or that the client sends before it answers the closing, are not handled.
  const stop = () => void socket.removeAllListeners('message');
  const connection = await connections.open(carrier, (reason) => closeWebSocket(socket, reason), stop);
  byClient.set(socket, connection);
  socket.once('close', () => connection.leave());
  // It may have been closed while the token was verified.
  if (socket.readyState >= CLOSING) connection.leave();
  return connection;
}

function closeWebSocket(socket: WebSocketLike, reason: CloseReason): void {
  socket.close(...CODES[reason]);
  const timer = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT);
  socket.once('close', () => clearTimeout(timer));
}
