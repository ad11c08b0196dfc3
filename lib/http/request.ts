import type { ExecutionContext } from '@nestjs/common';

/** Headers as Node gives them: names in lower case. */
type Headers = Record<string, string | string[] | undefined>;

/** What carries the credentials: an HTTP request, or the request that a socket was opened with. */
export interface CredentialsCarrier {
  /** In capitals; a handshake of Socket.IO has none. */
  method?: string;
  headers?: Headers;
  /** Set by `JwtAuthGuard`. */
  user?: unknown;
  /** Socket.IO's own place for credentials: `io(url, { auth: { token } })`. The header counts first, where there is one. */
  auth?: { token?: unknown };
  body?: unknown;
}

interface GraphqlContext {
  req?: CredentialsCarrier;
  request?: CredentialsCarrier;
  reply?: { request?: CredentialsCarrier };
  extra?: { request?: CredentialsCarrier };
}

/** A Socket.IO socket has its handshake; one of `ws` has what the gateway puts on it, as `JwtAuthGuard` tells. */
interface SocketClient extends CredentialsCarrier {
  handshake?: CredentialsCarrier;
  request?: CredentialsCarrier;
}

/** Finds the credentials of a call, in HTTP, GraphQL and WebSocket contexts. */
export function credentialsCarrierOf(context: ExecutionContext): CredentialsCarrier | undefined {
  switch (context.getType<string>()) {
    case 'graphql': {
      // A resolver is called with (parent, args, context, info); the driver decides where its context has the request.
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

/** A header's value, where there is exactly one. */
export function headerOf(carrier: CredentialsCarrier, name: string): string | undefined {
  const value = carrier.headers?.[name];
  return typeof value === 'string' ? value : undefined;
}
