import { SessionError } from '../errors.js';
import { headerOf, type RequestHeaders, sessionCookies, type SessionCookies } from './cookies.js';
import { isFresh, Renewals } from './renewals.js';

/** Options of a server that renders pages. */
export interface RendererOptions {
  /** URL of the session routes as this server reaches them, for example `http://api:3000/api/session`. */
  url: string;
  /** One of the server's `backendKeys`. Browsers must never get it. */
  backendKey: string;
  /** The server's option `cookies.name`. Default: `'session'`. */
  cookieName?: string | undefined;
  /** Sends the requests. Default: the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
}

/**
 * The session of the browser that asks for a page. It calls the API on behalf of the user.
 *
 * It does nothing until you use it. It has no claims: the cookies are unverified until the API verifies them, at each call.
 * Render what the API answers.
 */
export interface PageSession {
  /**
   * Sends a request to the API like the global `fetch`, with the user's access token. A path is relative to the API's origin.
   * Requests to other origins pass through untouched. Renews the token if it has expired, or if the API refuses it.
   * @throws SessionError if the token could not be renewed for now
   */
  fetch(input: string | URL, init?: RequestInit): Promise<Response>;
  /**
   * Gets JSON from the API.
   * @returns null if the visitor is not logged in: show the login page
   * @throws SessionError if the API answers another error than 401, or cannot be reached
   */
  json<T = unknown>(input: string | URL, init?: RequestInit): Promise<T | null>;
  /** Returns the header for your own requests to the API: `{ authorization }`, or `{}` if the visitor is not logged in. */
  headers(): Promise<Record<string, string>>;
  /**
   * Whether the browser has cookies of a session, without asking the API. Only for hints, such as an early redirect: anyone can
   * make up cookies.
   */
  readonly mayExist: boolean;
}

/** Creates the function that makes a `PageSession` of the headers of a request. */
export function pageSessions({
  url: given,
  backendKey,
  cookieName = 'session',
  fetch: send = (input, init) => globalThis.fetch(input, init),
}: RendererOptions): (headers: RequestHeaders, onUse?: () => void) => PageSession {
  const url = given.replace(/\/+$/, '');
  if (!backendKey) throw new TypeError("backendKey is missing: give one of the server's backendKeys");
  const renewals = new Renewals(url, backendKey, send);
  return (headers, onUse = () => undefined) => {
    const cookies = sessionCookies(headerOf(headers, 'cookie'), cookieName);
    return new Page(url, cookies, headerOf(headers, 'user-agent'), renewals, send, onUse);
  };
}

class Page implements PageSession {
  // Private, so that no framework writes a token into the page together with this object.
  readonly #url: string;
  readonly #cookies: SessionCookies;
  readonly #userAgent: string | undefined;
  readonly #renewals: Renewals;
  readonly #send: typeof globalThis.fetch;
  readonly #onUse: () => void;
  #access: Promise<string | undefined> | undefined;

  constructor(
    url: string,
    cookies: SessionCookies,
    userAgent: string | undefined,
    renewals: Renewals,
    send: typeof globalThis.fetch,
    onUse: () => void,
  ) {
    this.#url = url;
    this.#cookies = cookies;
    this.#userAgent = userAgent;
    this.#renewals = renewals;
    this.#send = send;
    this.#onUse = onUse;
  }

  get mayExist(): boolean {
    const { access, hasRefresh } = this.#cookies;
    return hasRefresh || access.some(isFresh);
  }

  async headers(): Promise<Record<string, string>> {
    const access = await this.#token();
    return access === undefined ? {} : { authorization: `Bearer ${access}` };
  }

  async fetch(input: string | URL, init: RequestInit = {}): Promise<Response> {
    const target = new URL(input, this.#url);
    if (target.origin !== new URL(this.#url).origin) return this.#send(target, init);
    const access = await this.#token();
    const response = await this.#call(target, init, access);
    if (access === undefined || !(await isRefused(response)) || init.body instanceof ReadableStream) return response;
    // The session has ended, or the clock of this server is wrong.
    this.#access = this.#renewals.accessFor(this.#cookies, this.#userAgent, access);
    const renewed = await this.#access;
    return renewed === undefined ? response : this.#call(target, init, renewed);
  }

  async json<T>(input: string | URL, init: RequestInit = {}): Promise<T | null> {
    if ((await this.#token()) === undefined) return null;
    let response: Response;
    try {
      response = await this.fetch(input, init);
    } catch (error) {
      if (error instanceof SessionError) throw error;
      throw new SessionError('unreachable', `${String(input)} cannot be reached`);
    }
    if (response.status === 401) return null;
    if (!response.ok) {
      const { code } = (await response.json().catch(() => ({}))) as { code?: string };
      throw new SessionError(code ?? 'unavailable', `${String(input)} answered ${response.status}`, response.status);
    }
    return (await response.json()) as T;
  }

  #token(): Promise<string | undefined> {
    this.#onUse();
    const fresh = this.#cookies.access.find(isFresh);
    return (this.#access ??=
      fresh === undefined ? this.#renewals.accessFor(this.#cookies, this.#userAgent) : Promise.resolve(fresh));
  }

  #call(target: URL, init: RequestInit, access: string | undefined): Promise<Response> {
    const headers = new Headers(init.headers);
    if (access !== undefined) headers.set('authorization', `Bearer ${access}`);
    return this.#send(target, { cache: 'no-store', ...init, headers });
  }
}

/** Whether the API has refused the access token, so that the request was not handled. */
async function isRefused(response: Response): Promise<boolean> {
  if (response.status !== 401) return false;
  const body = (await response
    .clone()
    .json()
    .catch(() => null)) as { code?: string } | null;
  return body?.code === 'token_not_valid';
}
