import { HttpException, NotFoundException } from '@nestjs/common';
import {
  InvalidSessionTypeError,
  MultiSessionError,
  type MultiSessionErrorCode,
  SessionNotFoundError,
  TokenNotValidError,
  ValidationFailedError,
} from '../../errors.js';
import { ALL_TYPES } from '../../session/policies.js';
import type { RouteMatch } from './session-routes.js';

/** The part of a request that the answer depends on. */
export interface FailedRequest {
  readonly method: string;
  readonly url: string;
  /** The session route that the URL matches. Undefined if the URL is outside of the prefix of the session routes. */
  readonly match?: RouteMatch;
  /** Whether the request has a body that is not a JSON object. */
  readonly hasUnreadableBody: boolean;
}

/** An answer of Django REST framework. */
export interface DrfAnswer {
  readonly status: number;
  readonly body: object;
  /** The value of the header `Allow`. */
  readonly allow?: string;
}

/** The answers that only depend on the code. For other codes, the status stays, and `detail` is the error's message. */
const FIXED_ANSWERS: Readonly<Partial<Record<MultiSessionErrorCode, DrfAnswer>>> = {
  invalid_credentials: { status: 400, body: nonField('Invalid Credentials or not active account found!') },
  secret_key_invalid: { status: 400, body: nonField('Invalid Credentials or not active account found!') },
  session_limit_reached: { status: 400, body: { detail: 'Reached max number of sessions.' } },
  session_not_found: { status: 401, body: { detail: 'No active account found with the given credentials' } },
  not_authenticated: { status: 401, body: { detail: 'Authentication credentials were not provided.' } },
  bad_authorization_header: {
    status: 401,
    body: {
      detail: 'Authorization header must contain two space-delimited values',
      code: 'bad_authorization_header',
    },
  },
};

/** Simplejwt lists each token class that it has tried. Here, there is only one class. */
const ACCESS_TOKEN_NOT_VALID = {
  detail: 'Given token not valid for any token type',
  code: 'token_not_valid',
  messages: [{ token_class: 'AccessToken', token_type: 'access', message: 'Token is invalid or expired' }],
};

/** The members of Nest's error bodies, and our `code`. If a body has other members, the application has made it. */
const PLAIN_MEMBERS = ['statusCode', 'error', 'message', 'code'];

/**
 * Translates an error.
 * @returns the answer of Django REST framework; undefined if Nest should answer as usual
 */
export function drfAnswerOf(error: unknown, request: FailedRequest): DrfAnswer | undefined {
  if (error instanceof MultiSessionError) {
    return request.match || isRefusalOfGuard(error) ? answerToOurs(error, request) : undefined;
  }
  return request.match && answerToOthers(error, request, request.match);
}

/** Whether the error is a refusal by `JwtAuthGuard`, which the filter translates on every route. */
function isRefusalOfGuard(error: MultiSessionError): boolean {
  if (error instanceof TokenNotValidError) return error.tokenType === 'access';
  return [
    'bad_authorization_header',
    'csrf_failed',
    'not_authenticated',
    'session_type_not_allowed',
    'unavailable',
  ].includes(error.code);
}

function answerToOurs(error: MultiSessionError, { match }: FailedRequest): DrfAnswer {
  const status = error.getStatus();
  if (error instanceof ValidationFailedError) return { status, body: error.errors };
  if (error instanceof InvalidSessionTypeError) {
    return { status, body: nonField(sessionTypeText(error.validTypes, match?.handler)) };
  }
  if (error instanceof TokenNotValidError) {
    const { tokenType, message: detail, code } = error;
    return { status, body: tokenType === 'access' ? ACCESS_TOKEN_NOT_VALID : { detail, code } };
  }
  // The Django package answers 401 if `destroy` names an unknown session. Its other routes name no session, so ours keep 404:
  // a client would mistake a 401 for the end of its own session.
  if (error instanceof SessionNotFoundError && status === 404 && match?.handler !== 'destroy')
    return { status, body: { detail: 'Not found.' } };
  return FIXED_ANSWERS[error.code] ?? { status, body: { detail: error.message } };
}

/** Builds the error message. It lists the types as Python prints a sorted list of strings, with `ALL` at the end. */
function sessionTypeText(validTypes: readonly string[], handler: string | undefined): string {
  if (handler === 'destroyAllOther') return 'Invalid Session Type';
  const types = validTypes.filter((type) => type !== ALL_TYPES).sort();
  const listed = [...types, ...(validTypes.includes(ALL_TYPES) ? [ALL_TYPES] : [])];
  return `Invalid Session Type. Valid options: [${listed.map((type) => `'${type}'`).join(', ')}]`;
}

function nonField(text: string): object {
  return { non_field_errors: [text] };
}

/** Translates an error that Nest, the HTTP server or the application has thrown on a session route. */
function answerToOthers(error: unknown, request: FailedRequest, match: RouteMatch): DrfAnswer | undefined {
  const known = plainError(error);
  if (!known) return undefined;
  if (error instanceof NotFoundException && known.message === `Cannot ${request.method} ${request.url}`) {
    return noSuchRoute(request.method, match);
  }
  if (known.status === 400 && request.hasUnreadableBody) {
    return { status: known.status, body: { detail: `JSON parse error - ${known.message}` } };
  }
  return { status: known.status, body: { detail: known.message } };
}

function noSuchRoute(method: string, { methods }: RouteMatch): DrfAnswer {
  if (methods.length === 0 || methods.includes(method)) {
    return { status: 404, body: { detail: 'Not found.' } };
  }
  return {
    status: 405,
    body: { detail: `Method "${method}" not allowed.` },
    allow: [...new Set(methods), 'OPTIONS'].join(', '),
  };
}

/**
 * Reads the status and the message of an error whose body has no other content.
 * @returns undefined if the exception has a body of its own, or if the error is unexpected
 */
function plainError(error: unknown): { status: number; message: string } | undefined {
  if (error instanceof HttpException) {
    const body = error.getResponse() as string | { message?: string | string[] };
    const { message } = typeof body === 'string' ? { message: body } : body;
    const isPlain = typeof body === 'string' || Object.keys(body).every((member) => PLAIN_MEMBERS.includes(member));
    return isPlain && message !== undefined
      ? { status: error.getStatus(), message: [message].flat().join(' ') }
      : undefined;
  }
  // Nest 11 passes on the errors of Express's body-parser. They come from http-errors: `expose` means that clients may see the
  // message.
  const { expose, statusCode, message } = (error ?? {}) as { expose?: boolean; statusCode?: number; message?: string };
  return expose === true && statusCode !== undefined && message !== undefined
    ? { status: statusCode, message }
    : undefined;
}
