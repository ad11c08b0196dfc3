import { HttpException, HttpStatus } from '@nestjs/common';

/** The stable `code` in the body of every error of this library. */
export type MultiSessionErrorCode =
  | 'bad_authorization_header'
  | 'csrf_failed'
  | 'header_not_permitted'
  | 'invalid_credentials'
  | 'invalid_session_type'
  | 'not_authenticated'
  | 'reauthentication_required'
  | 'secret_key_invalid'
  | 'session_data_invalid'
  | 'session_limit_reached'
  | 'session_not_found'
  | 'session_type_not_allowed'
  | 'token_not_valid'
  | 'unavailable'
  | 'validation_failed';

interface ErrorDetails {
  /** Further members of the body. */
  body?: Record<string, unknown>;
  /** Headers that the answer must carry (RFC 6750 section 3, RFC 9110 section 10.2.3). */
  headers?: Readonly<Record<string, string>>;
  cause?: unknown;
}

const REASON_PHRASES: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  503: 'Service Unavailable',
};

/**
 * What every refusal of this library is: an `HttpException` whose body is Nest's with a stable code,
 * `{ statusCode, error, message, code }`.
 */
export abstract class MultiSessionError extends HttpException {
  /** Headers for the answer. Nest's own filter sends none, so the HTTP layer sets them before it throws. */
  readonly headers: Readonly<Record<string, string>>;

  protected constructor(
    readonly code: MultiSessionErrorCode,
    status: HttpStatus,
    message: string,
    details: ErrorDetails = {},
  ) {
    super({ statusCode: status, error: REASON_PHRASES[status], message, code, ...details.body }, status, {
      cause: details.cause,
    });
    this.headers = details.headers ?? {};
  }
}

/** 400: fields are missing, blank, null, of the wrong type or too long. `errors` names every one of them. */
export class ValidationFailedError extends MultiSessionError {
  constructor(readonly errors: Readonly<Record<string, readonly string[]>>) {
    super('validation_failed', HttpStatus.BAD_REQUEST, `Not valid: ${Object.keys(errors).join(', ')}`, {
      body: { errors },
    });
  }
}

/** 400: no such session type. */
export class InvalidSessionTypeError extends MultiSessionError {
  /** @param validTypes the names that would have been taken */
  constructor(readonly validTypes: readonly string[]) {
    super(
      'invalid_session_type',
      HttpStatus.BAD_REQUEST,
      `Invalid session type. Valid types: ${validTypes.join(', ')}`,
    );
  }
}

/** 400: a permanent token was sent to a route that does not take it. */
export class HeaderNotPermittedError extends MultiSessionError {
  /** @param header its name; the value is told to nobody */
  constructor(header: string) {
    super(
      'header_not_permitted',
      HttpStatus.BAD_REQUEST,
      `The header ${header} may be sent to its refresh route alone`,
    );
  }
}

/** 401: unknown user, wrong password or inactive user; which of them is told to nobody. */
export class InvalidCredentialsError extends MultiSessionError {
  constructor() {
    super('invalid_credentials', HttpStatus.UNAUTHORIZED, 'Invalid credentials, or the account is not active');
  }
}

/** 401: the secret key in the body or the header is none of those configured. */
export class SecretKeyInvalidError extends MultiSessionError {
  constructor() {
    super('secret_key_invalid', HttpStatus.UNAUTHORIZED, 'Invalid secret key');
  }
}

/** 400: data of a session that is too large, or nothing that JSON can say. Nothing was changed. */
export class SessionDataError extends MultiSessionError {
  /** @param message names the member, and never its value */
  constructor(message: string) {
    super('session_data_invalid', HttpStatus.BAD_REQUEST, message);
  }
}

/** 401: `@RequireRecentLogin` asks for a login that is not so long ago (RFC 9470 section 3). */
export class ReauthenticationRequiredError extends MultiSessionError {
  /** @param maxAge seconds */
  constructor(maxAge: number) {
    super('reauthentication_required', HttpStatus.UNAUTHORIZED, 'Log in again to go on', {
      headers: { 'WWW-Authenticate': `Bearer error="insufficient_user_authentication", max_age=${maxAge}` },
    });
  }
}

/** 409: the user has as many active sessions of this type as its policy allows, and `whenFull` is `'refuse'`. */
export class SessionLimitReachedError extends MultiSessionError {
  constructor() {
    super('session_limit_reached', HttpStatus.CONFLICT, 'Reached the maximum number of sessions');
  }
}

/** 401: a token is forged, expired, of the wrong type, or its session has ended. */
export class TokenNotValidError extends MultiSessionError {
  constructor(
    readonly tokenType: 'access' | 'refresh',
    message = 'Token is invalid or expired',
  ) {
    super('token_not_valid', HttpStatus.UNAUTHORIZED, message, {
      headers: tokenType === 'access' ? { 'WWW-Authenticate': 'Bearer error="invalid_token"' } : {},
    });
  }
}

/** 401 at refresh and logout, 404 where a session is named: there is no such session of this user. */
export class SessionNotFoundError extends MultiSessionError {
  constructor(status: HttpStatus.UNAUTHORIZED | HttpStatus.NOT_FOUND = HttpStatus.NOT_FOUND) {
    super('session_not_found', status, 'No such session');
  }
}

/** 401: the request carries no access token. */
export class NotAuthenticatedError extends MultiSessionError {
  constructor() {
    super('not_authenticated', HttpStatus.UNAUTHORIZED, 'Authentication credentials were not provided', {
      headers: { 'WWW-Authenticate': 'Bearer realm="api"' },
    });
  }
}

/** 401: the authorization header has a scheme of ours with no token behind it, or with more than one word. */
export class BadAuthorizationHeaderError extends MultiSessionError {
  constructor() {
    super(
      'bad_authorization_header',
      HttpStatus.UNAUTHORIZED,
      'The authorization header must contain two space-delimited values',
      { headers: { 'WWW-Authenticate': 'Bearer realm="api"' } },
    );
  }
}

/** 403: tokens travel in cookies here, and the request does not show that it was sent by a page that may use them. */
export class CsrfFailedError extends MultiSessionError {
  constructor() {
    super(
      'csrf_failed',
      HttpStatus.FORBIDDEN,
      'A request with cookies must have the header X-Session-Transport: cookie, and come from an allowed origin',
    );
  }
}

/** 403: `@SessionTypes` does not name the type of the caller's session. */
export class SessionTypeNotAllowedError extends MultiSessionError {
  constructor() {
    super('session_type_not_allowed', HttpStatus.FORBIDDEN, 'Sessions of this type are not allowed here');
  }
}

/**
 * 503 with `Retry-After` (seconds): the database cannot be reached or cannot write. Never told as a bad token, since a
 * client would drop its tokens for it. The `cause`, for the log, says what failed and no value; the body does not show it.
 */
export class UnavailableError extends MultiSessionError {
  constructor(cause?: unknown) {
    super('unavailable', HttpStatus.SERVICE_UNAVAILABLE, 'Temporarily unavailable, try again', {
      headers: { 'Retry-After': '1' },
      cause,
    });
  }
}

/** Thrown at start: every fault of the options, named in one message, with the remedy. */
export class MultiSessionConfigurationError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(`nestjs-multisession cannot start:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
    this.name = 'MultiSessionConfigurationError';
  }
}
