import type { ExecutionContext } from '@nestjs/common';

/** Headers as Node provides them: names in lower case. */
type Headers = Record<string, string | string[] | undefined>;

/** An object with the credentials of a call: an HTTP request, the request that opened a socket, or a handshake. */
export interface CredentialsCarrier {
  /** The HTTP method, in capitals. A Socket.IO handshake has none. */
  method?: string;
  headers?: Headers;
  /** The session, set by `JwtAuthGuard`. */
  user?: unknown;
  /** The credentials that a Socket.IO client sends: `io(url, { auth: { token } })`. A header takes precedence. */
  auth?: { token?: unknown };
  body?: unknown;
}

interface GraphqlContext {
  req?: CredentialsCarrier;
  request?: CredentialsCarrier;
  reply?: { request?: CredentialsCarrier };
  extra?: { request?: CredentialsCarrier };
}

/** A Socket.IO socket has a handshake. A `ws` socket has only the members that the gateway sets: see `JwtAuthGuard`. */
interface SocketClient extends CredentialsCarrier {
  handshake?: CredentialsCarrier;
  request?: CredentialsCarrier;
}

/**
 * Finds the object with the credentials of a call, in HTTP, GraphQL and WebSocket contexts.
 *
 * @returns undefined if the context of a GraphQL call has no request
 */
export function credentialsCarrierOf(context: ExecutionContext): CredentialsCarrier | undefined {
  switch (context.getType<string>()) {
    case 'graphql': {
      // Resolvers get (parent, args, context, info). Each driver stores the request under a different name in the context.
      const graphql = context.getArgByIndex<GraphqlContext | undefined>(2);
      return graphql?.req ?? graphql?.request ?? graphql?.reply?.request ?? graphql?.extra?.request;
    }
    case 'ws': {
      const client = context.switchToWs().getClient<SocketClient>();
      return client.handshake ?? (client.auth ? client : (client.request ?? client));
    }
    default:
      return context.switchToHttp().getRequest<CredentialsCarrier>();
  }
}

/**
 * Reads a header.
 *
 * @param name in lower case
 * @returns the value, or undefined if the header is missing or was sent several times
 */
export function headerOf(carrier: CredentialsCarrier, name: string): string | undefined {
  const value = carrier.headers?.[name];
  return typeof value === 'string' ? value : undefined;
}
