import { MultiSessionError, UnavailableError } from '../errors.js';
import { socketCarrier } from '../http/graphql-call.js';
import type { CredentialsCarrier } from '../http/request.js';
import type { ConnectionOpener, SessionConnection } from './session-connection.js';
import { openWebSocket, type WebSocketLike } from './web-socket.js';

/** What `graphql-ws` passes to `onConnect`, as far as this library uses it. */
export interface GraphqlConnection {
  readonly connectionParams?: unknown;
  readonly extra: unknown;
}

/** What the adapter of `graphql-ws` for `ws` puts into `extra`. */
interface Extra {
  readonly socket: WebSocketLike;
  readonly request: CredentialsCarrier;
}

/** Keeps a socket of `graphql-ws` open with the token of a ping. Anything else in the ping is ignored. */
export async function renewGraphqlSocket(
  context: GraphqlConnection,
  payload: unknown,
  byClient: WeakMap<object, SessionConnection>,
): Promise<void> {
  const { token } = (payload ?? {}) as { token?: unknown };
  const connection = byClient.get((context.extra as Extra).socket);
  if (typeof token !== 'string' || !connection) return;
  try {
    await connection.renew(token);
    // The guard reads the token of the operations that follow from here.
    Object.assign(context, { connectionParams: { token } });
  } catch (error) {
    if (!(error instanceof MultiSessionError)) throw error;
  }
}

/** Verifies a socket of `graphql-ws`, and closes it with its session. */
export async function openGraphqlSocket(
  { extra, connectionParams }: GraphqlConnection,
  connections: ConnectionOpener,
  byClient: WeakMap<object, SessionConnection>,
): Promise<boolean> {
  const { socket, request } = extra as Extra;
  try {
    await openWebSocket(socket, socketCarrier(request, connectionParams), connections, byClient);
    return true;
  } catch (error) {
    if (!(error instanceof MultiSessionError)) throw error;
    // `false` would say that the client is not allowed. Here it may try again.
    if (error instanceof UnavailableError) socket.close(1013, 'Try again later');
    return false;
  }
}
