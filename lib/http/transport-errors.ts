/**
 * Nest hides every error from the client of a gateway or a microservice, unless it is an instance of that transport's own
 * exception class. These classes come from optional peer dependencies, so they are loaded only when a refusal needs them.
 */
import type { MultiSessionError } from '../errors.js';

/**
 * Converts an error of this library to the exception of a transport, with the body of the HTTP answer.
 *
 * @param transport the type of the call's context
 * @returns the exception, or undefined if the transport needs no conversion
 */
export function transportErrorOf(transport: string, error: MultiSessionError): Promise<Error> | undefined {
  if (transport === 'ws') return wsException(error);
  return transport === 'rpc' ? rpcException(error) : undefined;
}

// A bundler resolves a literal import(), and tolerates that the package is missing only inside try.
async function wsException(error: MultiSessionError): Promise<Error> {
  try {
    const { WsException } = await import('@nestjs/websockets');
    return new WsException(error.getResponse());
  } catch {
    return error;
  }
}

async function rpcException(error: MultiSessionError): Promise<Error> {
  try {
    const { RpcException } = await import('@nestjs/microservices');
    return new RpcException(error.getResponse());
  } catch {
    return error;
  }
}
