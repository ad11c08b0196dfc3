import {
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { type Observable, tap } from 'rxjs';
import { setErrorHeaders } from './error-headers.js';

/**
 * Sets `Cache-Control: no-store` on every answer, because it may carry a token (RFC 6749 section 5.1). It also sets the headers
 * of errors, such as `Retry-After`. The library's routes use it. Bind it to your own routes that call `SessionService`.
 */
@Injectable()
export class AnswerHeadersInterceptor implements NestInterceptor {
  constructor(private readonly adapterHost: HttpAdapterHost) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { httpAdapter } = this.adapterHost;
    httpAdapter.setHeader(context.switchToHttp().getResponse(), 'Cache-Control', 'no-store');
    return next.handle().pipe(tap({ error: (error: unknown) => setErrorHeaders(httpAdapter, context, error) }));
  }
}

/**
 * Sets `Cache-Control: no-store` before the other guards of a route run. An interceptor would be too late: Nest does not call
 * it if a guard refuses the request.
 */
@Injectable()
export class NoStoreGuard implements CanActivate {
  constructor(private readonly adapterHost: HttpAdapterHost) {}

  canActivate(context: ExecutionContext): boolean {
    this.adapterHost.httpAdapter.setHeader(context.switchToHttp().getResponse(), 'Cache-Control', 'no-store');
    return true;
  }
}
