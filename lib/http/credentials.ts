import type { ExecutionContext } from '@nestjs/common';
import { graphqlCarrierOf } from './graphql-call.js';
import type { CredentialsCarrier } from './request.js';
import { rpcCarrierOf } from './rpc-call.js';

/** A Socket.IO socket has a handshake. A `ws` socket has only the members that the gateway sets: see `JwtAuthGuard`. */
interface SocketClient extends CredentialsCarrier {
  handshake?: CredentialsCarrier;
  request?: CredentialsCarrier;
}

/** Transports in which a call without credentials may come from an anonymous caller. */
const KNOWN_TRANSPORTS = ['graphql', 'ws', 'rpc'];

/**
 * Whether the library knows where the transport of a call keeps the credentials. Some libraries call handlers as HTTP without
 * a request.
 */
export function knowsTransport(context: ExecutionContext): boolean {
  return KNOWN_TRANSPORTS.includes(context.getType<string>());
}

/**
 * Finds the object with the credentials of a call, in HTTP, GraphQL, WebSocket and microservice contexts.
 *
 * @returns undefined if the library does not know the transport, or if the context of a GraphQL call has no request
 */
export function credentialsCarrierOf(context: ExecutionContext): CredentialsCarrier | undefined {
  switch (context.getType<string>()) {
    case 'http':
      // Faster than switchToHttp(), which copies methods.
      return context.getArgByIndex<CredentialsCarrier | null | undefined>(0) ?? undefined;
    case 'graphql':
      return graphqlCarrierOf(context);
    case 'ws': {
      const client = context.switchToWs().getClient<SocketClient>();
      return client.handshake ?? (client.auth ? client : (client.request ?? client));
    }
    case 'rpc':
      return rpcCarrierOf(context);
    default:
      return undefined;
  }
}
