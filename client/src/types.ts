import type { ManagedSession } from './contract.js';
import type { EndReason } from './decisions.js';
import type { SessionStorage } from './storage.js';

/** Options of `createSessionClient`. */
export interface SessionClientOptions {
  /** URL of the session routes, for example `https://api.example.com/api/session` or `/api/session`. */
  url: string;
  /** Where the tokens travel: `'cookie'` for pages whose server has the option `cookies`, `'body'` for all other clients. */
  transport: 'cookie' | 'body';
  /** Default: memory for `'body'`, and `localStorage` for `'cookie'`, whose record is not secret. */
  storage?: SessionStorage | undefined;
  /** The server's `secretKey`. Only `'body'` needs one. */
  secretKey?: string | undefined;
  /**
   * Origins whose requests get credentials. Requests to other origins pass through untouched, so that no token leaks to a third
   * party. Default: the origin of `url`.
   */
  origins?: readonly string[] | undefined;
  /** Sends the requests. Default: the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
  /** The server's option `usernameField`. Default: `'username'`. */
  usernameField?: string | undefined;
  /**
   * Whether to bind the session to a key that no script can read, and that this browser keeps in IndexedDB (DPoP). A copied token is
   * then worthless. Only with `transport: 'body'`, and if the policy of the session type has `binding`. Default: false.
   */
  dpop?: boolean | undefined;
  /** How long before the idle expiry of the session the event `idle` is sent, in milliseconds. Default: 60,000. */
  warnBefore?: number | undefined;
}

/** What the client knows about the session. Each change is a new object. */
export type SessionState =
  /** The storage has not been read yet, as on a server. */
  | { readonly status: 'loading' }
  | { readonly status: 'anonymous' }
  | { readonly status: 'authenticated'; readonly sessionId: string; readonly type?: string | undefined }
  /** `message` is English text that a page can show. `cause` is what the server says, such as `evicted`, if it knows. */
  | {
      readonly status: 'ended';
      readonly reason: EndReason;
      readonly cause?: string | undefined;
      readonly message: string;
    };

/** What `login` sends. */
export interface LoginCredentials {
  username: string;
  password: string;
  /** The session type. */
  session: string;
  /** A description of the device. Default: the server derives one from the user agent. */
  info?: string | undefined;
  /**
   * Whether the session outlives the browser. `false` makes the cookies browser-session cookies. With `'body'`, it moves the
   * tokens from `localStorage` to `sessionStorage`: see `browserStorage`. Default: the server's choice, or true with `'body'`.
   */
  remember?: boolean | undefined;
}

/** An answer that refuses a request. */
export interface Refusal {
  status: number;
  /** The member `code` of the body. */
  code?: string | undefined;
  /** Seconds, from the header `Retry-After`. */
  retryAfter?: number | undefined;
  /** What `headersFor` returned for the request. Saves a refresh if the tokens are newer by now. */
  headers?: Readonly<Record<string, string>> | undefined;
}

/** A session of one user in this browser or app. All functions are bound, so you may pass them on. */
export interface SessionClient {
  /**
   * Sends a request like the global `fetch`, with credentials. It refreshes ahead of time, and after a 401 that says the access
   * token is no longer valid.
   * @throws SessionError if the session could not be refreshed for now
   */
  readonly fetch: (input: RequestInfo | URL, init?: RequestInit) => Promise<Response>;
  /**
   * Starts a session.
   * @throws SessionError with the server's code, `unreachable`, or `not_kept` if the browser dropped the cookies
   */
  readonly login: (credentials: LoginCredentials) => Promise<void>;
  /** Ends the session, here at once and on the server as soon as it can be reached. Never rejects because of the network. */
  readonly logout: () => Promise<void>;
  /**
   * Renews the tokens now.
   * @throws SessionError if that was not possible
   */
  readonly refresh: () => Promise<void>;
  /**
   * Checks the user's password again, for routes with `@RequireRecentLogin`.
   * @throws SessionError
   */
  readonly reauthenticate: (credentials: { username: string; password: string }) => Promise<void>;
  /** Lists the user's sessions, the current one first. */
  readonly sessions: () => Promise<ManagedSession[]>;
  /** Ends one of the user's sessions. */
  readonly endSession: (id: string) => Promise<void>;
  /** Ends the user's other sessions. Resolves to how many. */
  readonly endOthers: () => Promise<number>;
  /** Calls the listener after each change of the state. Returns a function that stops that. */
  readonly subscribe: (listener: () => void) => () => void;
  /** Returns the state, the same object until it changes. */
  readonly getSnapshot: () => SessionState;
  /** Calls the listener before the session expires without a refresh; `endsAt` is in milliseconds since 1970. */
  readonly on: (event: 'idle', listener: (event: { endsAt: number }) => void) => () => void;
  /** For HTTP libraries other than fetch: returns the headers for a request to this URL, after a refresh if one is due. */
  readonly headersFor: (url: string) => Promise<Record<string, string>>;
  /**
   * For HTTP libraries other than fetch: resolves to true if the request was refused before it was handled, and may be sent
   * again now. Call it once per request.
   */
  readonly recover: (refusal: Refusal) => Promise<boolean>;
  /** Stops timers and listeners. The session goes on. */
  readonly close: () => void;
}
