import { HttpException, HttpStatus } from '@nestjs/common';

/** The `code` in the body of each error of this library. It is stable: clients may rely on it. */
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
  /** Additional members of the body. */
  body?: Record<string, unknown>;
  /** Headers of the response (RFC 6750 section 3, RFC 9110 section 10.2.3). */
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
 * Base class of the errors that this library answers with. It is an `HttpException` whose body is Nest's plus a stable code:
 * `{ statusCode, error, message, code }`.
 */
export abstract class MultiSessionError extends HttpException {
  /** Headers of the response. Nest's exception filter does not send them, so the HTTP layer sets them before it throws. */
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

/** 400: fields are missing, blank, null, of the wrong type or too long. `errors` lists what is wrong with each of them. */
export class ValidationFailedError extends MultiSessionError {
  constructor(readonly errors: Readonly<Record<string, readonly string[]>>) {
    super('validation_failed', HttpStatus.BAD_REQUEST, `Invalid fields: ${Object.keys(errors).join(', ')}`, {
      body: { errors },
    });
  }
}

/** 400: the session type does not exist. */
export class InvalidSessionTypeError extends MultiSessionError {
  /** @param validTypes the names that are accepted */
  constructor(readonly validTypes: readonly string[]) {
    super(
      'invalid_session_type',
      HttpStatus.BAD_REQUEST,
      `Invalid session type. Valid types: ${validTypes.join(', ')}`,
    );
  }
}

/** 400: the header of a permanent token was sent to a route that does not accept it. */
export class HeaderNotPermittedError extends MultiSessionError {
  /** @param header the name of the header; its value must not get into the error */
  constructor(header: string) {
    super('header_not_permitted', HttpStatus.BAD_REQUEST, `The header ${header} is only accepted by its refresh route`);
  }
}

/** 401: the user is unknown or inactive, or the password is wrong. The error deliberately does not say which. */
export class InvalidCredentialsError extends MultiSessionError {
  constructor() {
    super('invalid_credentials', HttpStatus.UNAUTHORIZED, 'Invalid credentials, or the account is not active');
  }
}

/** 401: the secret key in the body or the header is missing or does not match a configured one. */
export class SecretKeyInvalidError extends MultiSessionError {
  constructor() {
    super('secret_key_invalid', HttpStatus.UNAUTHORIZED, 'Invalid secret key');
  }
}

/** 400: the data or claims of a session are too large, or JSON cannot represent them. The session is unchanged. */
export class SessionDataError extends MultiSessionError {
  /** @param message names the member, and must not contain its value */
  constructor(message: string) {
    super('session_data_invalid', HttpStatus.BAD_REQUEST, message);
  }
}

/** 401: the login is older than `@RequireRecentLogin` allows (RFC 9470 section 3). */
export class ReauthenticationRequiredError extends MultiSessionError {
  /** @param maxAge how old the login may be, in seconds */
  constructor(maxAge: number) {
    super('reauthentication_required', HttpStatus.UNAUTHORIZED, 'Log in again to continue', {
      headers: { 'WWW-Authenticate': `Bearer error="insufficient_user_authentication", max_age=${maxAge}` },
    });
  }
}

/** 409: the user has reached the maximum number of active sessions, and `whenFull` of the type is `'refuse'`. */
export class SessionLimitReachedError extends MultiSessionError {
  constructor() {
    super('session_limit_reached', HttpStatus.CONFLICT, 'The maximum number of sessions has been reached');
  }
}

/** 401: a token is forged, expired or of the wrong type, or its session has ended. */
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

/** 401 at refresh and logout, 404 on routes that name a session: this user has no such session. */
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

/** 401: the authorization header has an accepted scheme, but no token or more than one word after it. */
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

/** 403: the request uses cookies but does not prove that an allowed page has sent it. */
export class CsrfFailedError extends MultiSessionError {
  constructor() {
    super(
      'csrf_failed',
      HttpStatus.FORBIDDEN,
      'A request with cookies must send the header X-Session-Transport: cookie and come from an allowed origin',
    );
  }
}

/** 403: `@SessionTypes` does not list the type of the caller's session. */
export class SessionTypeNotAllowedError extends MultiSessionError {
  constructor() {
    super('session_type_not_allowed', HttpStatus.FORBIDDEN, 'Sessions of this type may not use this route');
  }
}

/**
 * 503 with `Retry-After` (seconds): the database cannot be reached or cannot write. The library never reports this as an
 * invalid token, because the client would then drop its tokens.
 *
 * The `cause` is for the log. It says what failed and contains no values. The body does not show it.
 */
export class UnavailableError extends MultiSessionError {
  constructor(cause?: unknown) {
    super('unavailable', HttpStatus.SERVICE_UNAVAILABLE, 'Temporarily unavailable, try again', {
      headers: { 'Retry-After': '1' },
      cause,
    });
  }
}

/**
 * The application is configured wrongly. The error at start lists every fault of the options, each with its remedy. Later,
 * it is thrown for faults that only show at runtime, such as a user id of the wrong type.
 */
export class MultiSessionConfigurationError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(`nestjs-multisession cannot start:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
    this.name = 'MultiSessionConfigurationError';
  }
}
