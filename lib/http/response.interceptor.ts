import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import type { Observable } from 'rxjs';

const RESPONSE = Symbol('multi-session:response');

/**
 * Keeps the response with its request, so that a handler can set cookies with the request alone: Fastify has no way from one
 * to the other, and a handler that injects the response could not be overridden without it.
 */
@Injectable()
export class ResponseInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const http = context.switchToHttp();
    http.getRequest<{ [RESPONSE]?: unknown }>()[RESPONSE] = http.getResponse();
    return next.handle();
  }
}

/** Finds the response that `ResponseInterceptor` has kept. */
export function responseOf(request: unknown): unknown {
  return (request as { [RESPONSE]?: unknown })[RESPONSE];
}
