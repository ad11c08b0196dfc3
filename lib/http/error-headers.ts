import type { ExecutionContext } from '@nestjs/common';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { MultiSessionError } from '../errors.js';

type HeaderSetter = Pick<AbstractHttpAdapter, 'setHeader' | 'appendHeader'>;

/** Sets the headers of an error on the response. Call it before you throw: Nest's own exception filter does not set them. */
export function setErrorHeaders(adapter: HeaderSetter, context: ExecutionContext, error: unknown): void {
  if (!(error instanceof MultiSessionError)) return;
  const response = context.switchToHttp().getResponse<object | undefined>();
  // Some libraries call handlers as HTTP without a response.
  if (!response) return;
  for (const [name, value] of Object.entries(error.headers)) adapter.setHeader(response, name, value);
  if (NONCE_HEADER in error.headers) expose(adapter, response);
}

const NONCE_HEADER = 'DPoP-Nonce';

/** Sets the nonce for the client's next DPoP proof (RFC 9449 section 8.2). */
export function setNonce(adapter: HeaderSetter, response: unknown, nonce: string): void {
  adapter.setHeader(response, NONCE_HEADER, nonce);
  expose(adapter, response);
}

/** Lets pages of other origins read the nonce, if CORS lets them send the request at all. */
function expose(adapter: HeaderSetter, response: unknown): void {
  adapter.appendHeader(response, 'Access-Control-Expose-Headers', `WWW-Authenticate, ${NONCE_HEADER}`);
}
