import type { ExecutionContext } from '@nestjs/common';
import type { AbstractHttpAdapter } from '@nestjs/core';
import { MultiSessionError } from '../errors.js';

/** Sets the headers of an error on the response. Call it before you throw: Nest's own exception filter does not set them. */
export function setErrorHeaders(
  adapter: Pick<AbstractHttpAdapter, 'setHeader'>,
  context: ExecutionContext,
  error: unknown,
): void {
  if (!(error instanceof MultiSessionError)) return;
  const response: unknown = context.switchToHttp().getResponse();
  for (const [name, value] of Object.entries(error.headers)) adapter.setHeader(response, name, value);
}
