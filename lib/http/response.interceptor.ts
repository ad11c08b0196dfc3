import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import type { Observable } from 'rxjs';

const RESPONSE = Symbol('multi-session:response');

/**
 * Stores the response on its request, so that a handler that injects only the request can set cookies. Fastify has no link
 * from a request to its response. If handlers injected the response, every override in a subclass would have to pass it on.
 */
@Injectable()
export class ResponseInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const http = context.switchToHttp();
    http.getRequest<{ [RESPONSE]?: unknown }>()[RESPONSE] = http.getResponse();
    return next.handle();
  }
}

/** Returns the response that `ResponseInterceptor` has stored on the request. */
export function responseOf(request: unknown): unknown {
  return (request as { [RESPONSE]?: unknown })[RESPONSE];
}
