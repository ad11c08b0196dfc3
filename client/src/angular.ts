import { HttpErrorResponse, type HttpInterceptorFn, type HttpRequest } from '@angular/common/http';
import { DestroyRef, inject, InjectionToken, type Provider, type Signal, signal } from '@angular/core';
import { type CanActivateFn, Router } from '@angular/router';
import { catchError, from, switchMap, throwError } from 'rxjs';
import type { Refusal, SessionClient, SessionState } from './types.js';

/** The injection token of the client. */
export const SESSION_CLIENT = new InjectionToken<SessionClient>('SESSION_CLIENT');

/** Provides the client to the application: `providers: [provideSession(client)]`. */
export function provideSession(client: SessionClient): Provider {
  return { provide: SESSION_CLIENT, useValue: client };
}

/** Returns the state of the session as a signal. Call it in an injection context, such as a field of a component. */
export function injectSession(): Signal<SessionState> {
  const client = inject(SESSION_CLIENT);
  const state = signal(client.getSnapshot());
  inject(DestroyRef).onDestroy(client.subscribe(() => state.set(client.getSnapshot())));
  return state.asReadonly();
}

/**
 * Adds the credentials to requests of `HttpClient`, and sends a request once more after a refresh:
 * `provideHttpClient(withInterceptors([sessionInterceptor]))`.
 */
export const sessionInterceptor: HttpInterceptorFn = (request, next) => {
  const client = inject(SESSION_CLIENT);
  const url = request.urlWithParams;
  return from(client.headersFor(url)).pipe(
    switchMap((headers) =>
      next(withHeaders(request, headers)).pipe(
        catchError((error: unknown) => {
          // Without headers, the request is for another origin or anonymous, and its refusal says nothing about our session.
          const isOurs = Object.keys(headers).length > 0 && error instanceof HttpErrorResponse && error.status > 0;
          if (!isOurs) return throwError(() => error);
          return from(client.recover({ ...refusalOf(error), headers })).pipe(
            switchMap((isRecovered) => (isRecovered ? from(client.headersFor(url)) : throwError(() => error))),
            switchMap((newHeaders) => next(withHeaders(request, newHeaders))),
          );
        }),
      ),
    ),
  );
};

/** Options of `sessionGuard`. */
export interface SessionGuardOptions {
  /** The URL of the login page, which gets the query parameter `returnTo`. Default: `/login`. */
  readonly login?: string;
}

/** Admits users who are logged in, and sends the others to the login page. It waits while the state is `loading`. */
export function sessionGuard({ login = '/login' }: SessionGuardOptions = {}): CanActivateFn {
  return async (_route, { url }) => {
    const [client, router] = [inject(SESSION_CLIENT), inject(Router)];
    const { status } = await settled(client);
    return status === 'authenticated' || router.createUrlTree([login], { queryParams: { returnTo: url } });
  };
}

/** Resolves to the first state that is not `loading`. */
function settled({ getSnapshot, subscribe }: SessionClient): Promise<SessionState> {
  if (getSnapshot().status !== 'loading') return Promise.resolve(getSnapshot());
  return new Promise((resolve) => {
    const stop = subscribe(() => {
      if (getSnapshot().status === 'loading') return;
      stop();
      resolve(getSnapshot());
    });
  });
}

function withHeaders<Body>(request: HttpRequest<Body>, headers: Record<string, string>): HttpRequest<Body> {
  const usesCookies = Object.entries(headers).some(
    ([name, value]) => name.toLowerCase() === 'x-session-transport' && value === 'cookie',
  );
  return request.clone({ setHeaders: headers, ...(usesCookies && { withCredentials: true }) });
}

function refusalOf({ status, error, headers }: HttpErrorResponse): Refusal {
  const seconds = Number(headers?.get('Retry-After') ?? NaN);
  return { status, code: codeOf(error), ...(seconds >= 0 && { retryAfter: seconds }) };
}

/** The body is parsed if the request asked for JSON. If it asked for text, it is a string. */
function codeOf(body: unknown): string | undefined {
  try {
    const { code } = (typeof body === 'string' ? JSON.parse(body) : body) as { code?: unknown };
    return typeof code === 'string' ? code : undefined;
  } catch {
    return undefined;
  }
}
