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
import type { Place } from './session-routes.js';

/** What was asked, as far as an answer depends on it. */
export interface Asked {
  readonly method: string;
  readonly url: string;
  /** Where the URL is under the prefix of the session routes. */
  readonly place?: Place;
  /** Whether a body came that could not be read as an object. */
  readonly hasUnreadableBody: boolean;
}

/** An answer in the words of Django REST framework. */
export interface DrfAnswer {
  readonly status: number;
  readonly body: object;
  /** The value of the header `Allow`. */
  readonly allow?: string;
}

/** Where they are always answered in the same way. Errors that are not here keep their status and say their message. */
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

/** Simplejwt names each kind of token that an access token was tried as: there is one. */
const ACCESS_TOKEN_NOT_VALID = {
  detail: 'Given token not valid for any token type',
  code: 'token_not_valid',
  messages: [{ token_class: 'AccessToken', token_type: 'access', message: 'Token is invalid or expired' }],
};

/** The members of the body that Nest gives an exception, and a code as ours have one; with others it was made by hand. */
const PLAIN_MEMBERS = ['statusCode', 'error', 'message', 'code'];

/** @returns what DRF answers; undefined where the error is to be answered as it is */
export function drfAnswerOf(error: unknown, asked: Asked): DrfAnswer | undefined {
  if (error instanceof MultiSessionError) {
    return asked.place || isRefusalOfGuard(error) ? ofOurs(error, asked) : undefined;
  }
  return asked.place && ofOthers(error, asked, asked.place);
}

/** What `JwtAuthGuard` refuses with, on whatever route. */
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

function ofOurs(error: MultiSessionError, { place }: Asked): DrfAnswer {
  const status = error.getStatus();
  if (error instanceof ValidationFailedError) return { status, body: error.errors };
  if (error instanceof InvalidSessionTypeError) {
    return { status, body: nonField(sessionTypeText(error.validTypes, place?.handler)) };
  }
  if (error instanceof TokenNotValidError) {
    const { tokenType, message: detail, code } = error;
    return { status, body: tokenType === 'access' ? ACCESS_TOKEN_NOT_VALID : { detail, code } };
  }
  // The Django package has one route that names a session, and answers 401 there; on the others it would be taken for a logout.
  if (error instanceof SessionNotFoundError && status === 404 && place?.handler !== 'destroy')
    return { status, body: { detail: 'Not found.' } };
  return FIXED_ANSWERS[error.code] ?? { status, body: { detail: error.message } };
}

/** The types as Python writes a list of strings, in order, and `ALL` after them. */
function sessionTypeText(validTypes: readonly string[], handler: string | undefined): string {
  if (handler === 'destroyAllOther') return 'Invalid Session Type';
  const types = validTypes.filter((type) => type !== ALL_TYPES).sort();
  const listed = [...types, ...(validTypes.includes(ALL_TYPES) ? [ALL_TYPES] : [])];
  return `Invalid Session Type. Valid options: [${listed.map((type) => `'${type}'`).join(', ')}]`;
}

function nonField(text: string): object {
  return { non_field_errors: [text] };
}

/** What Nest, the HTTP server below it, or the application itself threw under our prefix. */
function ofOthers(error: unknown, asked: Asked, place: Place): DrfAnswer | undefined {
  const known = plainError(error);
  if (!known) return undefined;
  if (error instanceof NotFoundException && known.message === `Cannot ${asked.method} ${asked.url}`) {
    return noSuchRoute(asked.method, place);
  }
  if (known.status === 400 && asked.hasUnreadableBody) {
    return { status: known.status, body: { detail: `JSON parse error - ${known.message}` } };
  }
  return { status: known.status, body: { detail: known.message } };
}

function noSuchRoute(method: string, { methods }: Place): DrfAnswer {
  if (methods.length === 0 || methods.includes(method)) {
    return { status: 404, body: { detail: 'Not found.' } };
  }
  return {
    status: 405,
    body: { detail: `Method "${method}" not allowed.` },
    allow: [...new Set(methods), 'OPTIONS'].join(', '),
  };
}

/** The status and the message of an error that says nothing more; undefined for any other, and for what nobody foresaw. */
function plainError(error: unknown): { status: number; message: string } | undefined {
  if (error instanceof HttpException) {
    const body = error.getResponse() as string | { message?: string | string[] };
    const { message } = typeof body === 'string' ? { message: body } : body;
    const isPlain = typeof body === 'string' || Object.keys(body).every((member) => PLAIN_MEMBERS.includes(member));
    return isPlain && message !== undefined
      ? { status: error.getStatus(), message: [message].flat().join(' ') }
      : undefined;
  }
  // Nest 11 hands on what Express's body-parser throws: an error of the package http-errors, which may be shown.
  const { expose, statusCode, message } = (error ?? {}) as { expose?: boolean; statusCode?: number; message?: string };
  return expose === true && statusCode !== undefined && message !== undefined
    ? { status: statusCode, message }
    : undefined;
}
