import type { ExecutionContext } from '@nestjs/common';
import { type CredentialsCarrier, lowerCased } from './request.js';

/** A field of a GraphQL operation that is being resolved. */
export interface GraphqlCall {
  /** The context of the operation. All its fields share it. */
  readonly operation?: object;
  /** The name that the root field of this field has in the answer. */
  readonly rootField?: string;
  readonly isRoot?: boolean;
  /** The HTTP request of the operation. Undefined if the operation came over a socket, which outlives it. */
  readonly request?: object;
}

/** The context of `graphql-ws`: a socket, the request that opened it, and what the client sent in `ConnectionInit`. */
interface SocketContext {
  readonly connectionParams?: unknown;
  readonly extra?: { readonly request?: CredentialsCarrier };
}

/** What the drivers put into the context of an operation. */
interface OperationContext extends SocketContext {
  /** Apollo and Mercurius over HTTP: the request. Apollo over `graphql-ws`: the context of the socket. */
  readonly req?: CredentialsCarrier & SocketContext;
  /** Mercurius over a socket: the request that opened it. */
  readonly request?: CredentialsCarrier & { readonly raw?: { readonly rawHeaders?: readonly string[] } };
  readonly reply?: { readonly request?: CredentialsCarrier };
  /** Mercurius over a socket: what the client sent in `connection_init`. */
  readonly _connectionInit?: unknown;
}

interface Path {
  readonly prev?: Path;
  readonly key: string | number;
}

/** Describes the field that a GraphQL handler resolves. */
export function graphqlCallOf(context: ExecutionContext): GraphqlCall {
  const operation = operationOf(context);
  const args = context.getArgs<unknown[]>();
  const path = (args[args.length - 1] as { path?: Path } | undefined)?.path;
  let root = path;
  while (root?.prev) root = root.prev;
  return {
    operation,
    rootField: root && String(root.key),
    isRoot: root === path,
    request: operation && !isSocket(operation) ? requestOf(operation) : undefined,
  };
}

/** Finds the object with the credentials of a GraphQL operation. */
export function graphqlCarrierOf(context: ExecutionContext): CredentialsCarrier | undefined {
  const operation = operationOf(context);
  if (!operation) return undefined;
  const { _connectionInit: init, request } = operation;
  if ('_connectionInit' in operation && request) return socketCarrier(withOriginalHeaders(request), init);
  const socket = [operation.req, operation].find((candidate) => candidate?.extra?.request);
  if (socket?.extra?.request) return socketCarrier(socket.extra.request, socket.connectionParams);
  return requestOf(operation);
}

function operationOf(context: ExecutionContext): OperationContext | undefined {
  // Resolvers get (parent, args, context, info). The resolver of a reference in a federation gets no args.
  const args = context.getArgs<unknown[]>();
  const operation = args[args.length === 3 ? 1 : 2];
  return typeof operation === 'object' && operation !== null ? operation : undefined;
}

function isSocket(operation: OperationContext): boolean {
  return '_connectionInit' in operation || [operation.req, operation].some((candidate) => candidate?.extra?.request);
}

function requestOf({ req, request, reply }: OperationContext): CredentialsCarrier | undefined {
  return req ?? request ?? reply?.request;
}

/**
 * Describes a socket: the request that opened it, and the parameters that the client sent. The parameters only provide the
 * access token. A hostile page that opens a socket chooses them, so the CSRF check must never read them.
 */
export function socketCarrier(request: CredentialsCarrier, parameters: unknown): CredentialsCarrier {
  const { headers, token, dpop } = (parameters ?? {}) as { headers?: unknown; token?: unknown; dpop?: unknown };
  return {
    method: request.method,
    headers: request.headers,
    sentHeaders: { ...lowerCased(parameters), ...lowerCased(headers) },
    auth: { token, dpop },
    request: request.request ?? request,
  };
}

/** Removes the headers that Mercurius has copied from `connection_init` into those of the request. */
function withOriginalHeaders(request: NonNullable<OperationContext['request']>): CredentialsCarrier {
  const { method, headers = {}, raw } = request;
  const rawHeaders = raw?.rawHeaders ?? [];
  const names = new Set(rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()));
  const original = Object.fromEntries(Object.entries(headers).filter(([name]) => names.has(name)));
  return { method, headers: original, request };
}
