import type { RequestHeaders } from './cookies.js';
import { type PageSession, pageSessions, type RendererOptions } from './page-session.js';

/** A page for one user must not be given to another. */
const PERSONAL = 'private, no-store';

/** Pages that only users who are logged in may see. */
export interface NextSessionOptions extends RendererOptions {
  /** Where the middleware sends visitors without a session. Default: `'/login'`. */
  loginPage?: string | undefined;
}

/** What a Next.js application uses. */
export interface NextSession {
  /**
   * Returns the session of a request: `session(await headers())` in a server component, and `session(request.headers)` in a
   * route handler.
   */
  readonly session: (headers: RequestHeaders) => PageSession;
  /**
   * The middleware (in Next.js 16: the proxy). It sends visitors without cookies of a session to the login page before anything
   * is rendered. Choose the pages with `config.matcher`. It does not ask the API: your pages do.
   */
  readonly middleware: (request: Request) => Response | undefined;
}

/** For Next.js with the app router: server components, route handlers and the middleware. */
export function nextSession({ loginPage = '/login', ...options }: NextSessionOptions): NextSession {
  const sessionOf = pageSessions(options);
  return {
    session: (headers) => sessionOf(headers),
    middleware: (request) => {
      if (sessionOf(request.headers).mayExist) return undefined;
      return new Response(null, { status: 307, headers: { location: new URL(loginPage, request.url).href } });
    },
  };
}

/** The part of an h3 event that is used. */
interface NuxtEvent {
  readonly headers: Headers;
  readonly context: object;
  readonly node: { readonly res: { setHeader(name: string, value: string): unknown; readonly headersSent: boolean } };
}

/**
 * For Nuxt: a server middleware that sets `event.context.session`. Pages read it with `useRequestEvent()`.
 *
 * ```ts
 * // server/middleware/session.ts
 * export default defineEventHandler(nuxtSession({ url, backendKey }));
 * ```
 */
export function nuxtSession(options: RendererOptions): (event: NuxtEvent) => void {
  const sessionOf = pageSessions(options);
  return ({ headers, context, node: { res } }) => {
    const session = sessionOf(headers, () => {
      if (!res.headersSent) res.setHeader('Cache-Control', PERSONAL);
    });
    Object.assign(context, { session });
  };
}

/** For SvelteKit: the hook `handle`, which sets `event.locals.session`. */
export function svelteKitSession(options: RendererOptions) {
  const sessionOf = pageSessions(options);
  return async <Event extends { readonly request: Request; readonly locals: object }>({
    event,
    resolve,
  }: {
    event: Event;
    resolve: (event: Event) => Response | Promise<Response>;
  }): Promise<Response> => {
    let isUsed = false;
    const session = sessionOf(event.request.headers, () => (isUsed = true));
    Object.assign(event.locals, { session });
    const response = await resolve(event);
    if (isUsed) response.headers.set('cache-control', PERSONAL);
    return response;
  };
}

/** The part of an Express response that is used. */
interface ExpressResponse {
  readonly locals: object;
  readonly headersSent: boolean;
  setHeader(name: string, value: string): unknown;
}

/** For Express: a middleware that sets `res.locals.session`. */
export function expressSession(options: RendererOptions) {
  const sessionOf = pageSessions(options);
  return (
    request: { readonly headers: Readonly<Record<string, string | readonly string[] | undefined>> },
    response: ExpressResponse,
    next: () => void,
  ): void => {
    const session = sessionOf(request.headers, () => {
      if (!response.headersSent) response.setHeader('Cache-Control', PERSONAL);
    });
    Object.assign(response.locals, { session });
    next();
  };
}
