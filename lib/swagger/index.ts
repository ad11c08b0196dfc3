import type { Type } from '@nestjs/common';
import {
  ApiExcludeEndpoint,
  ApiExtraModels,
  ApiHeader,
  ApiOperation,
  ApiQuery,
  ApiResponse,
  type ApiResponseNoStatusOptions,
} from '@nestjs/swagger';
import { AdminSessionsController } from '../admin/admin-sessions.controller.js';
import { ADMIN_ROUTES } from '../admin/contract.js';
import { DEVICE_ROUTES } from '../compat/drf-jwt-devices/contract.js';
import { DevicesController } from '../compat/drf-jwt-devices/devices.controller.js';
import { DeviceLoginAnswer } from '../compat/drf-jwt-devices/devices.dto.js';
import type { MultiSessionErrorCode } from '../errors.js';
import { SECRET_KEY_IN_BODY } from '../http/body-fields.js';
import {
  type AnswerContract,
  type Auth,
  type Contract,
  MANAGEMENT_ROUTES,
  type RouteContract,
  SESSION_ROUTES,
} from '../http/contract.js';
import { DBSC_ROUTES } from '../http/dbsc-contract.js';
import { DbscController } from '../http/dbsc.controller.js';
import { objectSchemaOf } from '../http/schema.js';
import { SessionManagementController } from '../http/session-management.controller.js';
import { SessionsController } from '../http/sessions.controller.js';
import { errorResponse } from './error-responses.js';
import { NamedSchemas, type OpenApiSchema } from './schemas.js';

/** The module's options that change the documentation. */
export interface DocumentSessionsOptions {
  /** The module's option `usernameField`. Default: `'username'`. */
  usernameField?: string | undefined;
  /** `false` if the module's option `secretKey` is `false`. Default: true. */
  secretKey?: boolean | undefined;
  /** The module's option `management`, if it is a class. Default: `SessionManagementController`. */
  management?: Type<SessionManagementController> | undefined;
  /** The module's option `devices`: true, or the class. If it is false, the device routes are not documented. Default: false. */
  devices?: boolean | Type<DevicesController> | undefined;
  /**
   * True if the module's option `admin` is set, or the class in its `controller`. If it is false, the administrators' routes are
   * not documented. Default: false.
   */
  admin?: boolean | Type<AdminSessionsController> | undefined;
  /** True if the module's option `cookies` is on. The documentation then includes `X-Session-Transport`. Default: false. */
  cookies?: boolean | undefined;
}

const TAG = 'sessions';
/** The name that `DocumentBuilder.addBearerAuth()` gives its scheme. */
const BEARER = 'bearer';
/** The name that `DocumentBuilder.addCookieAuth()` gives its scheme. */
const COOKIE = 'cookie';

const TRANSPORT_HEADER = {
  name: 'X-Session-Transport',
  required: false,
  enum: ['body', 'cookie'],
  description:
    'How the tokens travel. With `cookie`, the body needs neither `secret_key` nor `refresh`, and the answer has no tokens.',
};

/** The error codes of status 401 of a route that takes an access token. */
const TOKEN_ERRORS = [
  ...(['not_authenticated', 'bad_authorization_header', 'token_not_valid'] as const),
  ...(['device_proof_required', 'invalid_dpop_proof', 'use_dpop_nonce'] as const),
];

/** The error codes of status 401 that the guards of a route answer. */
const AUTH_ERRORS: Readonly<Record<Auth, readonly MultiSessionErrorCode[]>> = {
  'access-token': TOKEN_ERRORS,
  // The application chooses the guards. This assumes that they require an access token, as almost all do.
  administrator: TOKEN_ERRORS,
  caller: ['secret_key_invalid'],
  'secret-key': ['secret_key_invalid'],
  backend: ['secret_key_invalid'],
  'backend-key': ['secret_key_invalid'],
  browser: [],
  'identity-provider': [],
  'event-receiver': [],
  anyone: [],
};

/**
 * Documents the routes for Swagger UI: bodies, answers with examples, and errors with their codes. Bodies and answers are
 * named schemas, so that you can generate types for clients from them.
 *
 * Call it before `SwaggerModule.createDocument`. Call `addBearerAuth()` on the `DocumentBuilder`. If you use cookies, also call
 * `addCookieAuth('__Host-session-access')`. A second call of `documentSessions` replaces the result of the first one.
 *
 * @param controller your subclass of `SessionsController`, if you have one. Default: `SessionsController`
 * @param options the module's options that change the documentation
 */
export function documentSessions(
  controller: Type<SessionsController> = SessionsController,
  options: DocumentSessionsOptions = {},
): void {
  const { management = SessionManagementController, devices = false, admin = false } = options;
  documentRoutes(controller, SESSION_ROUTES, options);
  documentRoutes(management, MANAGEMENT_ROUTES, options);
  documentDbsc(options);
  if (devices) documentRoutes(devices === true ? DevicesController : devices, DEVICE_ROUTES, options);
  if (admin) documentRoutes(admin === true ? AdminSessionsController : admin, ADMIN_ROUTES, options);
}

/** Documents the one route that pages call. Browsers call the others by themselves, so they are left out. */
function documentDbsc(options: DocumentSessionsOptions): void {
  const { prototype } = DbscController;
  for (const name of Object.keys(DBSC_ROUTES) as (keyof typeof DBSC_ROUTES)[]) {
    const isForPages = name === 'stepUp' && options.cookies === true;
    ApiExcludeEndpoint(!isForPages)(prototype, name, Object.getOwnPropertyDescriptor(prototype, name) ?? {});
    if (isForPages) documentRoutes(DbscController, { [name]: DBSC_ROUTES[name] }, options);
  }
}

function documentRoutes({ prototype }: Type<object>, routes: Contract, options: DocumentSessionsOptions): void {
  for (const [name, route] of Object.entries(routes)) {
    if (route.anyMethod) continue;
    const schemas = new NamedSchemas();
    const handler = { value: (prototype as unknown as Record<string, object>)[name] };
    const decorators = [
      ApiOperation({
        summary: route.summary,
        tags: [TAG],
        ...(route.body && { requestBody: { required: true, content: json(bodyOf(route, options, schemas)) } }),
        ...(needsToken(route) && { security: [{ [BEARER]: [] }, ...(options.cookies ? [{ [COOKIE]: [] }] : [])] }),
      }),
      responses({ ...successOf(route, options, schemas), ...errorsOf(route, options, schemas) }),
      ...parametersOf(route, options),
      ApiExtraModels(...schemas.models),
    ];
    for (const decorate of decorators) decorate(prototype as object, name, handler);
  }
}

/**
 * Documents responses by their status. `ApiResponse` alone would repeat the description if it is applied twice, so each status
 * is replaced. Responses that the application has documented under another status stay.
 */
function responses(byStatus: Record<string, ApiResponseNoStatusOptions>): MethodDecorator {
  return (target, name, { value: handler }) => {
    const scratch = { value: () => undefined };
    for (const [status, response] of Object.entries(byStatus)) {
      ApiResponse({ ...response, status: Number(status) })(target, name, scratch);
    }
    for (const key of Reflect.getMetadataKeys(scratch.value)) {
      const earlier = Reflect.getMetadata(key, handler as object) as object | undefined;
      Reflect.defineMetadata(key, { ...earlier, ...Reflect.getMetadata(key, scratch.value) }, handler as object);
    }
  };
}

const CHECKED_FOR_CSRF: readonly Auth[] = ['access-token', 'administrator', 'caller'];

function needsToken({ auth }: RouteContract): boolean {
  return auth === 'access-token' || auth === 'administrator';
}

/** Whether the route accepts cookies. A GET that does needs no CSRF check, because it changes nothing. */
function usesCookies({ auth, method }: RouteContract, { cookies = false }: DocumentSessionsOptions): boolean {
  return cookies && method !== 'GET' && [...CHECKED_FOR_CSRF, 'backend-key'].includes(auth);
}

function checksCsrf(route: RouteContract, options: DocumentSessionsOptions): boolean {
  return usesCookies(route, options) && CHECKED_FOR_CSRF.includes(route.auth);
}

function bodyOf(route: RouteContract, options: DocumentSessionsOptions, schemas: NamedSchemas): OpenApiSchema {
  const { usernameField = 'username', secretKey = true } = options;
  return schemas.refTo(route.body as Type<object>, {
    nameOf: (field, { groups }) => {
      if (!secretKey && groups?.includes(SECRET_KEY_IN_BODY)) return undefined;
      return field === 'username' ? usernameField : field;
    },
    // Fields of a validation group are optional in a request that uses cookies.
    isRequired: ({ optional, groups }) => !optional && !(groups && usesCookies(route, options)),
  });
}

function successOf(
  route: RouteContract,
  options: DocumentSessionsOptions,
  schemas: NamedSchemas,
): Record<string, ApiResponseNoStatusOptions> {
  if (!route.answer) return { 204: { description: 'Done' } };
  const answers = [
    answerSchema(route.answer, schemas),
    ...(route.formatted && options.devices ? [schemas.refTo(DeviceLoginAnswer)] : []),
    ...(route.answerInCookies && options.cookies ? [schemas.refTo(route.answerInCookies)] : []),
  ];
  const description = objectSchemaOf(route.answer)?.description ?? 'Done';
  return { 200: { description, content: json(answers.length > 1 ? { oneOf: answers } : answers[0]) } };
}

function answerSchema(answer: AnswerContract, schemas: NamedSchemas): OpenApiSchema {
  if ('listOf' in answer) return { type: 'array', items: schemas.refTo(answer.listOf) };
  if ('oneOf' in answer) return { oneOf: answer.oneOf.map((dto) => schemas.refTo(dto)) };
  return schemas.refTo(answer);
}

function errorsOf(
  route: RouteContract,
  options: DocumentSessionsOptions,
  schemas: NamedSchemas,
): Record<string, ApiResponseNoStatusOptions> {
  const codes: Partial<Record<number, readonly MultiSessionErrorCode[]>> = {
    ...route.errors,
    401: [...new Set([...AUTH_ERRORS[route.auth], ...(route.errors?.[401] ?? [])])],
    403: [...(checksCsrf(route, options) ? ['csrf_failed' as const] : []), ...(route.errors?.[403] ?? [])],
    503: route.auth === 'anyone' ? [] : ['unavailable'],
  };
  return Object.fromEntries(
    Object.entries(codes)
      .filter(([, ofStatus = []]) => ofStatus.length > 0)
      .map(([status, ofStatus = []]) => [status, errorResponse(Number(status), ofStatus, schemas)]),
  );
}

function parametersOf(route: RouteContract, options: DocumentSessionsOptions): MethodDecorator[] {
  const secretKey = { type: 'string', description: 'Secret key', example: 'a-long-random-string' } as const;
  const headers = {
    ...route.headers,
    ...(route.auth === 'secret-key' && options.secretKey !== false && { 'X-Secret-Key': secretKey }),
  };
  return [
    ...(usesCookies(route, options) ? [ApiHeader(TRANSPORT_HEADER)] : []),
    ...Object.entries(route.query ?? {}).map(([name, schema]) =>
      ApiQuery({ name, required: false, schema: schema as OpenApiSchema }),
    ),
    ...Object.entries(headers).map(([name, { description, ...schema }]) =>
      ApiHeader({ name, required: true, description, schema: schema }),
    ),
  ];
}

function json(schema: OpenApiSchema): { 'application/json': { schema: OpenApiSchema } } {
  return { 'application/json': { schema } };
}
