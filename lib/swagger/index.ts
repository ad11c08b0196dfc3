import { RequestMethod, type Type } from '@nestjs/common';
import { METHOD_METADATA } from '@nestjs/common/constants.js';
import { ApiHeader, ApiOperation, ApiQuery, ApiResponse, type ApiResponseSchemaHost } from '@nestjs/swagger';
import { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import { END_ALL, MAX_DAYS, MAX_PAGE_SIZE } from '../admin/admin-sessions.dto.js';
import { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import { MAX_LISTED_IDS } from '../http/session-management.dto.js';
import { SessionManagementController } from '../http/session-management.controller.js';
import { SessionsController } from '../http/sessions.controller.js';
import type { MultiSessionErrorCode } from '../errors.js';

/** What the documentation has to know of the module's options. */
export interface DocumentSessionsOptions {
  /** As the module's option. Default: `'username'`. */
  usernameField?: string;
  /** `false` where the module's `secretKey` is `false`. Default: true. */
  secretKey?: boolean;
  /** As the module's option, where it is a class. Default: `SessionManagementController`. */
  management?: Type<SessionManagementController>;
  /** As the module's option: true, or the class. Default: false. */
  devices?: boolean | Type<DevicesController>;
  /** True where the module's option `admin` is set, or its class. Default: false. */
  admin?: boolean | Type<AdminSessionsController>;
  /** True where the module's option `cookies` is on. Default: false. */
  cookies?: boolean;
}

type Schema = ApiResponseSchemaHost['schema'];
type Route = 'login' | 'refresh' | 'list' | 'destroy' | 'destroyAllOther' | 'logout' | 'reauthenticate';

/** What one route takes and answers, and with which codes it refuses. */
interface RouteDocument {
  readonly summary: string;
  readonly needs: 'secret key' | 'access token';
  /** Absent where there is none. */
  readonly body?: Readonly<Record<string, Schema>>;
  readonly optional?: readonly string[];
  /** What is sent in headers, with what it is. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What may be said in the query. */
  readonly query?: Readonly<Record<string, Schema>>;
  /** Absent where it is 204. */
  readonly answer?: Schema;
  /** Whether it lets nobody in by a cookie. Default: false. */
  readonly withoutCookies?: boolean;
  /** Beside those that every route has. */
  readonly errors: Partial<Record<number, readonly MultiSessionErrorCode[]>>;
}

const TAG = 'sessions';
/** The name that `DocumentBuilder.addBearerAuth()` gives its scheme. */
const BEARER = 'bearer';
/** The name that `DocumentBuilder.addCookieAuth()` gives its scheme. */
const COOKIE = 'cookie';

const text = (description: string, more: Partial<Schema> = {}): Schema => ({ type: 'string', description, ...more });

const object = (properties: Record<string, Schema>, optional: readonly string[] = []): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});

const SESSION = text('A session type, whatever its case', { example: 'LONG' });
const SESSION_OR_ALL = text('A session type, whatever its case, or ALL', { example: 'ALL' });
const SESSION_ID = text('The id of a session', { format: 'uuid' });
const REFRESH = text('A refresh token');
const ACCESS = text('An access token');
const NOTHING: Schema = { type: 'object', properties: {} };
const TIME = { format: 'date-time' };

const LIST: Schema = {
  type: 'object',
  description: 'A part for each type asked for, named by the type with a capital first letter',
  additionalProperties: object({
    'Available Sessions': text('How many more there may be, or Unlimited', { example: '4' }),
    Sessions: {
      type: 'array',
      items: object({
        session_id: SESSION_ID,
        created_at: text('In UTC', TIME),
        last_update: text('In UTC', TIME),
        expires_at: text('In UTC', TIME),
        session_info: text('What the client said of itself at login'),
      }),
    },
  }),
};

/** `username` stands for the field that the option `usernameField` names. */
const ROUTES: Record<Route, RouteDocument> = {
  login: {
    summary: 'Opens a session for a user name and a password',
    needs: 'secret key',
    body: {
      username: text('The name of the user'),
      password: text('The password', { format: 'password' }),
      session: SESSION,
      info: text('What the client says of itself; kept as given. Default: X-Device-Model, else the user agent'),
    },
    optional: ['info'],
    answer: object({ refresh: REFRESH, access: ACCESS, session_id: SESSION_ID }),
    errors: {
      400: ['validation_failed', 'invalid_session_type'],
      401: ['secret_key_invalid', 'invalid_credentials'],
      409: ['session_limit_reached'],
    },
  },
  refresh: {
    summary: 'Gives a new access token, and a new refresh token where the policy hands one out',
    needs: 'secret key',
    body: {
      refresh: REFRESH,
      session: text('The type of the session; with another, it is destroyed', { example: 'LONG' }),
    },
    answer: object({ refresh: REFRESH, access: ACCESS }, ['refresh']),
    errors: {
      400: ['validation_failed', 'invalid_session_type'],
      401: ['secret_key_invalid', 'token_not_valid', 'session_not_found'],
    },
  },
  list: {
    summary: "Lists the caller's active sessions, of one type or of all",
    needs: 'access token',
    body: { session: SESSION_OR_ALL },
    answer: LIST,
    errors: { 400: ['validation_failed', 'invalid_session_type'] },
  },
  destroy: {
    summary: "Ends one of the caller's sessions",
    needs: 'access token',
    body: { session_id: SESSION_ID },
    answer: NOTHING,
    errors: { 400: ['validation_failed'], 404: ['session_not_found'] },
  },
  destroyAllOther: {
    summary: "Ends the caller's other sessions, of one type or of all",
    needs: 'access token',
    body: { session: SESSION_OR_ALL, refresh: text("A refresh token of the caller's own session") },
    answer: NOTHING,
    errors: { 400: ['validation_failed', 'invalid_session_type'] },
  },
  logout: {
    summary: 'Ends the session of a refresh token',
    needs: 'secret key',
    body: { refresh: REFRESH },
    answer: NOTHING,
    errors: { 400: ['validation_failed'], 401: ['secret_key_invalid', 'session_not_found'] },
  },
  reauthenticate: {
    summary: 'Asks for the password again, and puts a new session in the place of the one that asks',
    needs: 'access token',
    body: {
      username: text('The name of the user'),
      password: text('The password', { format: 'password' }),
    },
    answer: object({ refresh: REFRESH, access: ACCESS, session_id: SESSION_ID }),
    errors: { 400: ['validation_failed'], 401: ['invalid_credentials'] },
  },
};

const NAMED: Schema = {
  ...object({ name: text('As the user agent says it'), version: { type: 'string', nullable: true } }),
  nullable: true,
};
const DESCRIBED: Record<string, Schema> = {
  id: SESSION_ID,
  type: SESSION,
  device: text("The device's name, as it said it", { nullable: true }),
  browser: NAMED,
  os: NAMED,
  kind: text('The kind of device', { enum: ['mobile', 'tablet', 'pc', 'tv', 'bot', 'other'] }),
  ip_address: text('The last one known', { nullable: true }),
  info: text('What the client said of itself at login'),
  created_at: text('In UTC', TIME),
  last_update: text('In UTC', TIME),
  expires_at: text('In UTC', TIME),
};
const ENDED = object({ ended: { type: 'integer', description: 'How many sessions have been ended' } });

/** By the names of the methods of `SessionManagementController`. */
const MANAGEMENT_ROUTES: Record<string, RouteDocument> = {
  list: {
    summary: "The caller's active sessions, the one that asks first",
    needs: 'access token',
    answer: {
      type: 'array',
      items: object({
        ...DESCRIBED,
        current: { type: 'boolean', description: 'Whether it is the one that asks' },
      }),
    },
    errors: {},
  },
  endOthers: {
    summary: "Ends all of the caller's sessions but the one that asks",
    needs: 'access token',
    answer: ENDED,
    errors: {},
  },
  end: {
    summary: "Ends one of the caller's sessions",
    needs: 'access token',
    errors: { 404: ['session_not_found'] },
  },
  endList: {
    summary: "Ends those of the caller's sessions that are named, all or none; the one that asks is left out",
    needs: 'access token',
    body: { ids: { type: 'array', items: SESSION_ID, maxItems: MAX_LISTED_IDS } },
    answer: ENDED,
    errors: { 400: ['validation_failed'], 404: ['session_not_found'] },
  },
  verify: {
    summary: 'Says what a token is worth (RFC 7662)',
    needs: 'secret key',
    withoutCookies: true,
    body: { token: text('An access or refresh token') },
    answer: { type: 'object', properties: { active: { type: 'boolean' } }, required: ['active'] },
    errors: { 400: ['validation_failed'], 401: ['secret_key_invalid'] },
  },
};

/** By the names of the methods of `DevicesController`. */
const DEVICE_ROUTES: Record<string, RouteDocument> = {
  refresh: {
    summary: 'Gives a new access token for the permanent token in its header',
    needs: 'secret key',
    withoutCookies: true,
    headers: { 'Permanent-Token': 'The permanent token', 'X-Secret-Key': 'The secret key, where one is set' },
    answer: object({ token: ACCESS }),
    errors: { 400: ['validation_failed'], 401: ['secret_key_invalid', 'token_not_valid', 'session_not_found'] },
  },
  logout: {
    summary: 'Ends the device that the header names',
    needs: 'access token',
    headers: { 'Device-Id': 'The id of the device' },
    errors: { 400: ['validation_failed'], 404: ['session_not_found'] },
  },
  list: {
    summary: "The caller's devices, the earliest first",
    needs: 'access token',
    answer: {
      type: 'array',
      items: object({
        id: SESSION_ID,
        created: text('In UTC', TIME),
        name: text('As the device, or else its user agent, says it'),
        details: text('The user agent'),
        last_request_datetime: text('In UTC', TIME),
      }),
    },
    errors: {},
  },
  endDevice: {
    summary: "Ends one of the caller's devices",
    needs: 'access token',
    errors: { 404: ['session_not_found'] },
  },
};

const COUNT: Schema = { type: 'integer' };
const COUNTS: Schema = { type: 'object', additionalProperties: COUNT };

/** By the names of the methods of `AdminSessionsController`; the access token is what most guards ask for. */
const ADMIN_ROUTES: Record<string, RouteDocument> = {
  list: {
    summary: "Everybody's active sessions, the latest begun first, a page at a time",
    needs: 'access token',
    query: {
      user: text('The id of a user'),
      type: SESSION,
      since: text('Begun then or later', TIME),
      limit: { ...COUNT, minimum: 1, maximum: MAX_PAGE_SIZE, default: 50 },
      after: text('What `next` of the page before was', { format: 'uuid' }),
    },
    answer: object({
      sessions: { type: 'array', items: object({ user_id: text('The id of the user'), ...DESCRIBED }) },
      next: text('Where the next page begins', { nullable: true }),
    }),
    errors: { 400: ['validation_failed', 'invalid_session_type'] },
  },
  end: {
    summary: 'Ends one session, whoever’s it is',
    needs: 'access token',
    errors: { 404: ['session_not_found'] },
  },
  endOfUser: { summary: 'Ends all sessions of a user', needs: 'access token', answer: ENDED, errors: {} },
  endAll: {
    summary: "Ends everybody's sessions",
    needs: 'access token',
    body: { confirm: text('That it is meant', { enum: [END_ALL] }) },
    answer: ENDED,
    errors: { 400: ['validation_failed'] },
  },
  statistics: {
    summary: 'Active sessions by type, and the logins and endings of each day',
    needs: 'access token',
    query: { days: { ...COUNT, minimum: 1, maximum: MAX_DAYS, default: 30 } },
    answer: object({
      active: COUNTS,
      days: {
        type: 'array',
        items: object({ day: text('In UTC', { format: 'date' }), logins: COUNTS, endings: COUNTS }),
      },
    }),
    errors: { 400: ['validation_failed'] },
  },
};

/** What a login to a permanent type answers. */
const DEVICE_LOGIN = object({ token: ACCESS, permanent_token: REFRESH, device_id: SESSION_ID });

/** What is answered where the tokens travel in cookies. */
const IN_COOKIES = object({ session_id: SESSION_ID });

/** What `JwtAuthGuard` refuses with. */
const ACCESS_TOKEN_CODES: readonly MultiSessionErrorCode[] = [
  'not_authenticated',
  'bad_authorization_header',
  'token_not_valid',
];

const REASONS: Record<MultiSessionErrorCode, string> = {
  bad_authorization_header: 'the authorization header has no token, or more than one word, behind its scheme',
  csrf_failed: 'the request does not show that a page which may use the cookies has sent it',
  header_not_permitted: 'a permanent token was sent to a route that does not take it',
  invalid_credentials: 'unknown user, wrong password or inactive user',
  invalid_session_type: 'no such session type',
  not_authenticated: 'no access token',
  reauthentication_required: 'the login is too long ago',
  secret_key_invalid: 'a wrong secret key',
  session_data_invalid: 'data that is too large, or nothing that JSON can say',
  session_limit_reached: 'as many active sessions of this type as its policy allows',
  session_not_found: 'no such session of this user',
  session_type_not_allowed: 'sessions of this type are not allowed here',
  token_not_valid: 'the token is forged, expired or superseded, or its session has ended',
  unavailable: 'the database cannot be reached; try again after Retry-After seconds',
  validation_failed: 'fields are missing, blank, null or of the wrong type; errors names them',
};

const JWKS = object({ keys: { type: 'array', items: { type: 'object', additionalProperties: true } } });

const TRANSPORT = {
  name: 'X-Session-Transport',
  required: false,
  enum: ['body', 'cookie'],
  description:
    'Where the tokens travel. With cookies, secret_key and refresh are not asked for, and the answer has session_id alone',
};

const answered = new WeakSet<object>();

/**
 * Documents the routes of `SessionsController` and the public keys for Swagger UI: bodies, answers, and errors with their codes. To be called
 * before `SwaggerModule.createDocument`, whose `DocumentBuilder` has `addBearerAuth()` and, with cookies,
 * `addCookieAuth('__Host-session-access')`. A further call replaces the bodies.
 *
 * @param controller a subclass of `SessionsController`, where the application has one
 */
export function documentSessions(
  controller: Type<SessionsController> = SessionsController,
  options: DocumentSessionsOptions = {},
): void {
  for (const [name, route] of Object.entries(ROUTES)) documentRoute(controller, name, route, options);
  const { management = SessionManagementController } = options;
  for (const [name, route] of Object.entries(MANAGEMENT_ROUTES)) documentRoute(management, name, route, options);
  const { devices = false } = options;
  const deviceRoutes = devices === true ? DevicesController : devices;
  if (deviceRoutes) {
    for (const [name, route] of Object.entries(DEVICE_ROUTES)) documentRoute(deviceRoutes, name, route, options);
  }
  const { admin = false } = options;
  const adminRoutes = admin === true ? AdminSessionsController : admin;
  if (adminRoutes) {
    for (const [name, route] of Object.entries(ADMIN_ROUTES)) documentRoute(adminRoutes, name, route, options);
  }
  documentPublicKeys(controller);
}

function documentPublicKeys({ prototype }: Type<SessionsController>): void {
  const handler = { value: (prototype as unknown as Record<string, object>).jwks };
  const apply = (decorator: MethodDecorator) => decorator(prototype as object, 'jwks', handler);
  apply(ApiOperation({ summary: 'The public keys, for services that verify access tokens', tags: [TAG] }));
  if (answered.has(handler.value)) return;
  answered.add(handler.value);
  apply(ApiResponse({ status: 200, description: 'A JWK Set (RFC 7517)', schema: JWKS }));
}

function documentRoute(
  { prototype }: Type<object>,
  name: string,
  route: RouteDocument,
  options: DocumentSessionsOptions,
): void {
  const handler = (prototype as unknown as Record<string, object>)[name];
  const apply = (decorator: MethodDecorator) => decorator(prototype as object, name, { value: handler });
  const needsToken = route.needs === 'access token';
  apply(
    ApiOperation({
      summary: route.summary,
      tags: [TAG],
      ...(route.body && {
        requestBody: { required: true, content: { 'application/json': { schema: bodyOf(route, options) } } },
      }),
      ...(needsToken && { security: [{ [BEARER]: [] }, ...(options.cookies ? [{ [COOKIE]: [] }] : [])] }),
    }),
  );
  // ApiResponse adds to what is there, so that a second call would say everything twice.
  if (answered.has(handler)) return;
  answered.add(handler);
  // A GET changes nothing, so no header has to show who sends it.
  const isGet = Reflect.getMetadata(METHOD_METADATA, handler) === RequestMethod.GET;
  if (options.cookies && !route.withoutCookies && !isGet) {
    apply(ApiHeader(TRANSPORT));
    apply(errorResponse(403, ['csrf_failed']));
  }
  for (const [field, schema] of Object.entries(route.query ?? {}))
    apply(ApiQuery({ name: field, required: false, schema }));
  for (const [header, description] of Object.entries(route.headers ?? {}))
    apply(ApiHeader({ name: header, description }));
  const schema = answerOf(route, options);
  apply(ApiResponse({ status: schema ? 200 : 204, description: 'Done', schema }));
  const errors = {
    ...route.errors,
    ...(needsToken && { 401: [...(route.errors[401] ?? []), ...ACCESS_TOKEN_CODES] }),
    503: ['unavailable'] as const,
  };
  for (const [status, codes] of Object.entries(errors)) apply(errorResponse(Number(status), codes));
}

/** Where a session begins, a device has an answer of its own; and tokens that travel in cookies are in no answer. */
function answerOf(route: RouteDocument, { devices, cookies }: DocumentSessionsOptions): Schema | undefined {
  if (!route.answer) return undefined;
  const begins = route === ROUTES.login || route === ROUTES.reauthenticate;
  const answers = [
    route.answer,
    ...(begins && devices ? [DEVICE_LOGIN] : []),
    ...((begins || route === ROUTES.refresh) && cookies ? [IN_COOKIES] : []),
  ];
  return answers.length > 1 ? { oneOf: answers } : route.answer;
}

function bodyOf(
  { needs, body = {}, optional = [], withoutCookies }: RouteDocument,
  options: DocumentSessionsOptions,
): Schema {
  const { usernameField = 'username', secretKey = true } = options;
  const fields = Object.entries(body).map(([name, schema]) => [name === 'username' ? usernameField : name, schema]);
  const asksSecretKey = needs === 'secret key' && secretKey;
  const secret = { secret_key: text('The secret key; left out where the header X-Secret-Key has it') };
  const inCookies = options.cookies && !withoutCookies ? ['refresh', 'secret_key'] : [];
  const properties = { ...Object.fromEntries(fields), ...(asksSecretKey && secret) } as Record<string, Schema>;
  return object(properties, [...optional, ...inCookies]);
}

function errorResponse(status: number, codes: readonly MultiSessionErrorCode[]): MethodDecorator {
  const fields = {
    statusCode: { type: 'integer', example: status },
    error: { type: 'string' },
    message: { type: 'string' },
    code: { type: 'string', enum: [...codes] },
    errors: { type: 'object', additionalProperties: { type: 'array', items: { type: 'string' } } },
  } satisfies Record<string, Schema>;
  const { errors, ...always } = fields;
  const schema = codes.includes('validation_failed') ? object({ ...always, errors }, ['errors']) : object(always);
  const description = codes.map((code) => `\`${code}\`: ${REASONS[code]}`).join('\n\n');
  return ApiResponse({ status, description, schema });
}
