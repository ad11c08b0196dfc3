import type { ExecutionContext } from '@nestjs/common';
import { type CredentialsCarrier, type Headers, lowerCased } from './request.js';

/** The context of a RabbitMQ message, which has headers of its own. */
interface RabbitContext {
  getMessage?(): { readonly properties?: { readonly headers?: unknown } };
}

/**
 * Finds the credentials of a message to a microservice: the headers of a RabbitMQ message, or else the members `headers` and
 * `auth` of the payload. Nothing else in the payload is read, and nothing is written into it.
 */
export function rpcCarrierOf(context: ExecutionContext): CredentialsCarrier {
  const rpc = context.switchToRpc();
  const payload = rpc.getData<{ headers?: unknown; auth?: { token?: unknown } } | undefined>();
  const isObject = typeof payload === 'object' && payload !== null;
  const headers = { ...(isObject && lowerCased(payload.headers)), ...messageHeaders(rpc.getContext<unknown>()) };
  // Only browsers use cookies, and no browser sends messages to a microservice.
  delete headers.cookie;
  return { headers, auth: isObject ? payload.auth : undefined };
}

function messageHeaders(context: unknown): Headers {
  if (typeof context !== 'object' || context === null || !('getMessage' in context)) return {};
  return lowerCased((context as RabbitContext).getMessage?.()?.properties?.headers);
}
