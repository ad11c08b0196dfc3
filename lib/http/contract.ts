/**
 * The HTTP contract: every route of `SessionsController` and `SessionManagementController`, described once. The routes and
 * their guards, the validation of bodies and the OpenAPI document are derived from it. The other controllers have contracts
 * of the same kind, in `dbsc-contract.ts`, `admin/contract.ts`, `signals/contract.ts`,
 * `streams/contract.ts` and `compat/drf-jwt-devices/contract.ts`.
 *
 * A controller `implements Handlers<typeof ITS_ROUTES>`. If a handler is missing, or takes or returns another type than the
 * contract says, the code does not compile.
 */
import type { Type } from '@nestjs/common';
import type { MultiSessionErrorCode } from '../errors.js';
import { schemasOf } from './query.js';
import { FEED_QUERY, RevocationsAnswer } from './revocations.dto.js';
import type { Schema } from './schema.js';
import { HISTORY_QUERY, SessionHistoryPage } from './session-history.dto.js';
import {
  ActiveToken,
  DeleteListDto,
  EndedAnswer,
  InactiveToken,
  ManagedSession,
  RenewDto,
  RenewedToken,
  VerifyDto,
} from './session-management.dto.js';
import {
  CookieAnswer,
  DestroyAllOtherDto,
  DestroyDto,
  EmptyAnswer,
  type FormattedLogin,
  JwkSet,
  ListAnswer,
  ListDto,
  LoginDto,
  LoginTokens,
  LogoutDto,
  ReauthenticateDto,
  RefreshDto,
  RefreshedTokens,
} from './sessions.dto.js';

/**
 * Who may call a route:
 *
 * - `access-token`: a client with a valid access token. The token is checked before the body.
 * - `caller`: a client that knows the secret key, or that uses cookies and passes the CSRF check. The body is checked first.
 * - `secret-key`: a client that knows the secret key. The route is open if the option `secretKey` is `false`.
 * - `backend`: a backend that knows one of `backendKeys`, or the secret key if that option is not set. The route is closed if
 *   there is no such key.
 * - `backend-key`: a backend that knows one of `backendKeys`. The route is closed if that option is not set, because front ends
 *   may know the secret key.
 * - `administrator`: a client that passes the guards of the option `admin`.
 * - `browser`: a browser that signs with the key of a session. Pages of other origins cannot call the route.
 * - `identity-provider`: a provider of the option `identityProviders`, which signs what it sends or shows a secret.
 * - `event-receiver`: the receiver of a stream of the option `events`, which shows one of its keys.
 * - `anyone`: every client.
 */
export type Auth =
  | 'access-token'
  | 'caller'
  | 'secret-key'
  | 'backend'
  | 'backend-key'
  | 'administrator'
  | 'browser'
  | 'identity-provider'
  | 'event-receiver'
  | 'anyone';

/** The body of a successful answer: an object of a class, a list of them, or one of several. */
export type AnswerContract =
  Type<object> | { readonly listOf: Type<object> } | { readonly oneOf: readonly Type<object>[] };

/** One route. */
export interface RouteContract {
  /** The title of the route in the documentation. */
  readonly summary: string;
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  /**
   * Whether the route answers any method, because gateways ask with that of the original request. Such a route is not in the
   * OpenAPI document. Default: false.
   */
  readonly anyMethod?: true;
  /** Relative to the path of the controller. */
  readonly path: string;
  readonly auth: Auth;
  /** Whether the guards of the option `loginGuards` run, after all other checks. Default: false. */
  readonly loginGuards?: true;
  /** The class of the body. Default: the route reads no body. */
  readonly body?: Type<object>;
  /**
   * The valid values of the body's field `session`: a type that clients may ask for, any type, or any type and `ALL`. With
   * `type`, the field may be absent. Default: the body has no such field.
   */
  readonly session?: 'login-type' | 'type' | 'type-or-all';
  /** The parameters of the query, all optional. */
  readonly query?: Readonly<Record<string, Schema>>;
  /** The headers that the route reads, apart from those that its `auth` needs. */
  readonly headers?: Readonly<Record<string, Schema>>;
  /** Default: the route answers 204 without a body. */
  readonly answer?: AnswerContract;
  /** The answer if the tokens travel in cookies, on a route that issues tokens. */
  readonly answerInCookies?: Type<object>;
  /** Whether a `LoginAnswerFormat` may replace the answer. Default: false. */
  readonly formatted?: true;
  /** Error codes by status, apart from those that follow from `auth`, and from 503 `unavailable`. */
  readonly errors?: Readonly<Partial<Record<400 | 401 | 403 | 404 | 409, readonly MultiSessionErrorCode[]>>>;
}

/** The routes of one controller, by the name of the method that handles them. */
export type Contract = Readonly<Record<string, RouteContract>>;

/** The methods that a controller must have for its routes. If a route has a body, it is the method's first argument. */
export type Handlers<Routes extends Contract> = {
  [Name in keyof Routes]: (...args: ArgumentsOf<Routes[Name]>) => MaybePromise<AnswerOf<Routes[Name]>>;
};

type ArgumentsOf<Route> = Route extends { readonly body: Type<infer Body> }
  ? [body: Body, ...others: never[]]
  : never[];

type AnswerOf<Route> =
  | (Route extends { readonly answer: infer Answer extends AnswerContract } ? ValueOf<Answer> : void)
  | (Route extends { readonly answerInCookies: Type<infer InCookies> } ? InCookies : never)
  | (Route extends { readonly formatted: true } ? FormattedLogin : never);

type ValueOf<Answer extends AnswerContract> =
  Answer extends Type<infer Value>
    ? Value
    : Answer extends { readonly listOf: Type<infer Item> }
      ? Item[]
      : Answer extends { readonly oneOf: readonly Type<infer Value>[] }
        ? Value
        : never;

type MaybePromise<Value> = Value | Promise<Value>;

/** The routes of `SessionsController`: the six of simplejwt_multisessions, `reauthenticate/` and the public keys. */
export const SESSION_ROUTES = {
  login: {
    summary: 'Start a session with a user name and a password',
    method: 'POST',
    path: 'login',
    auth: 'caller',
    loginGuards: true,
    body: LoginDto,
    session: 'login-type',
    answer: LoginTokens,
    answerInCookies: CookieAnswer,
    formatted: true,
    errors: {
      400: ['validation_failed', 'invalid_session_type', 'invalid_dpop_proof', 'use_dpop_nonce'],
      401: ['invalid_credentials', 'device_proof_required'],
      409: ['session_limit_reached'],
    },
  },
  refresh: {
    summary: 'Get a new access token, and a new refresh token if the policy issues one',
    method: 'POST',
    path: 'refresh',
    auth: 'caller',
    body: RefreshDto,
    session: 'type',
    answer: RefreshedTokens,
    answerInCookies: CookieAnswer,
    errors: {
      400: ['validation_failed', 'invalid_session_type', 'invalid_dpop_proof', 'use_dpop_nonce'],
      401: ['token_not_valid', 'session_not_found', 'session_proof_required', 'device_proof_required'],
    },
  },
  list: {
    summary: "List the caller's active sessions, of one type or of all",
    method: 'POST',
    path: 'list',
    auth: 'access-token',
    body: ListDto,
    session: 'type-or-all',
    answer: ListAnswer,
    errors: { 400: ['validation_failed', 'invalid_session_type'] },
  },
  destroy: {
    summary: "End one of the caller's sessions",
    method: 'POST',
    path: 'destroy',
    auth: 'access-token',
    body: DestroyDto,
    answer: EmptyAnswer,
    errors: { 400: ['validation_failed'], 404: ['session_not_found'] },
  },
  destroyAllOther: {
    summary: "End the caller's other sessions, of one type or of all",
    method: 'POST',
    path: 'destroyAllOther',
    auth: 'access-token',
    body: DestroyAllOtherDto,
    session: 'type-or-all',
    answer: EmptyAnswer,
    errors: { 400: ['validation_failed', 'invalid_session_type'] },
  },
  logout: {
    summary: 'End the session of a refresh token',
    method: 'POST',
    path: 'logout',
    auth: 'caller',
    body: LogoutDto,
    answer: EmptyAnswer,
    errors: { 400: ['validation_failed'], 401: ['session_not_found'] },
  },
  reauthenticate: {
    summary: "Check the caller's password again and replace the session with a new one",
    method: 'POST',
    path: 'reauthenticate',
    auth: 'access-token',
    loginGuards: true,
    body: ReauthenticateDto,
    answer: LoginTokens,
    answerInCookies: CookieAnswer,
    formatted: true,
    errors: { 400: ['validation_failed', 'invalid_dpop_proof', 'use_dpop_nonce'], 401: ['invalid_credentials'] },
  },
  jwks: {
    summary: 'Get the public keys that verify access tokens (RFC 7517)',
    method: 'GET',
    path: 'jwks.json',
    auth: 'anyone',
    answer: JwkSet,
  },
} as const satisfies Contract;

/** The routes of `SessionManagementController`: those for a "Your devices" page, for other services and gateways, and for servers that render pages. */
export const MANAGEMENT_ROUTES = {
  list: {
    summary: "List the caller's active sessions, the current one first",
    method: 'GET',
    path: 'sessions',
    auth: 'access-token',
    answer: { listOf: ManagedSession },
  },
  history: {
    summary: "List what happened to the caller's sessions, the latest first, page by page",
    method: 'GET',
    path: 'history',
    auth: 'access-token',
    query: schemasOf(HISTORY_QUERY),
    answer: SessionHistoryPage,
    errors: { 400: ['validation_failed'] },
  },
  endOthers: {
    summary: "End all of the caller's sessions except the current one",
    method: 'DELETE',
    path: 'sessions',
    auth: 'access-token',
    answer: EndedAnswer,
  },
  end: {
    summary: "End one of the caller's sessions",
    method: 'DELETE',
    path: 'sessions/:id',
    auth: 'access-token',
    errors: { 404: ['session_not_found'] },
  },
  endList: {
    summary: "End several of the caller's sessions, all or none. The current session is skipped.",
    method: 'POST',
    path: 'sessions/delete-list',
    auth: 'access-token',
    body: DeleteListDto,
    answer: EndedAnswer,
    errors: { 400: ['validation_failed'], 404: ['session_not_found'] },
  },
  verify: {
    summary: 'Check whether a token is valid now, and read its claims (RFC 7662)',
    method: 'POST',
    path: 'verify',
    auth: 'backend',
    body: VerifyDto,
    answer: { oneOf: [ActiveToken, InactiveToken] },
    errors: { 400: ['validation_failed'] },
  },
  renew: {
    summary: "Get an access token for a client's refresh token without rotating it, to render a page",
    method: 'POST',
    path: 'renew',
    auth: 'backend-key',
    body: RenewDto,
    answer: RenewedToken,
    errors: {
      400: ['validation_failed'],
      401: ['token_not_valid', 'session_not_found', 'session_proof_required', 'device_proof_required'],
      403: ['renewal_not_allowed'],
    },
  },
  revocations: {
    summary: 'Get the sessions that have ended, and wait for more, to verify access tokens in another service',
    method: 'GET',
    path: 'revocations',
    auth: 'backend-key',
    query: schemasOf(FEED_QUERY),
    answer: RevocationsAnswer,
    errors: { 400: ['validation_failed'] },
  },
  authorize: {
    summary: 'Tell a gateway whether a request may pass',
    method: 'GET',
    anyMethod: true,
    path: 'authorize',
    auth: 'anyone',
    errors: {
      401: [
        'not_authenticated',
        'bad_authorization_header',
        'token_not_valid',
        'device_proof_required',
        'invalid_dpop_proof',
        'use_dpop_nonce',
      ],
      403: ['csrf_failed'],
    },
  },
} as const satisfies Contract;
