import { HttpException, HttpStatus } from '@nestjs/common';
import { dpopFaultMessage, errorBody, REFUSALS } from './refusal.js';

export { MultiSessionConfigurationError } from './configuration-error.js';

/** The `code` in the body of each error of this library. It is stable: clients may rely on it. */
export type MultiSessionErrorCode =
  | 'bad_authorization_header'
  | 'csrf_failed'
  | 'device_proof_required'
  | 'device_challenge'
  | 'header_not_permitted'
  | 'invalid_credentials'
  | 'invalid_dpop_proof'
  | 'invalid_session_type'
  | 'not_authenticated'
  | 'reauthentication_required'
  | 'renewal_not_allowed'
  | 'secret_key_invalid'
  | 'server_fault'
  | 'session_data_invalid'
  | 'session_limit_reached'
  | 'session_not_found'
  | 'session_proof_required'
  | 'session_type_not_allowed'
  | 'token_not_valid'
  | 'unavailable'
  | 'use_dpop_nonce'
  | 'validation_failed';

interface ErrorDetails {
  /** Additional members of the body. */
  body?: Record<string, unknown>;
  /** Headers of the response (RFC 6750 section 3, RFC 9110 section 10.2.3). */
  headers?: Readonly<Record<string, string>>;
  cause?: unknown;
}

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
    super({ ...errorBody(status, message, code), ...details.body }, status, { cause: details.cause });
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
  /** @param reason why the session ended, for the holder of its refresh token. Default: it is not said */
  constructor(
    readonly tokenType: 'access' | 'refresh',
    message: string = REFUSALS.token_not_valid.message,
    readonly reason?: string,
  ) {
    const { status, headers } = REFUSALS.token_not_valid;
    super('token_not_valid', status, message, {
      ...(reason !== undefined && { body: { reason } }),
      headers: tokenType === 'access' ? headers : {},
    });
  }
}

/** 401 at refresh and logout, 404 on routes that name a session: this user has no such session. */
export class SessionNotFoundError extends MultiSessionError {
  /** @param reason why the session ended, for the holder of its refresh token. Default: it is not said */
  constructor(
    status: HttpStatus.UNAUTHORIZED | HttpStatus.NOT_FOUND = HttpStatus.NOT_FOUND,
    readonly reason?: string,
  ) {
    super('session_not_found', status, 'No such session', reason === undefined ? {} : { body: { reason } });
  }
}

/**
 * 401: the request has a refresh cookie, and nothing that proves that this host has set it. A sibling host may have set it
 * instead, so the refresh changes nothing. Log in again.
 */
export class SessionProofRequiredError extends MultiSessionError {
  constructor() {
    super(
      'session_proof_required',
      HttpStatus.UNAUTHORIZED,
      'The refresh cookie comes without a cookie that proves whose session it is',
    );
  }
}

/**
 * 401: the session is bound to a key on the user's device, and the request does not prove that it comes from there. Nothing has
 * changed, and the session goes on.
 */
export class DeviceProofRequiredError extends MultiSessionError {
  /** @param challenge the value of `WWW-Authenticate`, on a route that takes an access token. Default: no such header */
  constructor(challenge?: string) {
    const { status, message } = REFUSALS.device_proof_required;
    super('device_proof_required', status, message, {
      headers: challenge === undefined ? {} : { 'WWW-Authenticate': challenge },
    });
  }
}

/**
 * 403 with `Secure-Session-Challenge`: a browser must sign this challenge with its key, and does so at once. Only `dbsc/refresh`
 * answers it.
 */
export class DeviceChallengeError extends MultiSessionError {
  /** @param headers the header with the challenge */
  constructor(headers: Readonly<Record<string, string>>) {
    super('device_challenge', HttpStatus.FORBIDDEN, 'Sign the challenge with the key of the session', { headers });
  }
}

/**
 * 307: the browser must prove its key before it follows the redirect. Other clients get 401 `device_proof_required` there.
 * @internal
 */
export class DeviceProofRedirect extends MultiSessionError {
  constructor(location: string) {
    super('device_proof_required', HttpStatus.TEMPORARY_REDIRECT, 'Prove the key of the session', {
      headers: { Location: location },
    });
  }
}

/** 401: the request carries no access token. */
export class NotAuthenticatedError extends MultiSessionError {
  /** @param challenge the value of `WWW-Authenticate`. Default: the scheme Bearer */
  constructor(challenge: string = REFUSALS.not_authenticated.headers['WWW-Authenticate']) {
    const { status, message } = REFUSALS.not_authenticated;
    super('not_authenticated', status, message, { headers: { 'WWW-Authenticate': challenge } });
  }
}

/** 401: the authorization header has an accepted scheme, but no token or more than one word after it. */
export class BadAuthorizationHeaderError extends MultiSessionError {
  constructor() {
    const { status, message, headers } = REFUSALS.bad_authorization_header;
    super('bad_authorization_header', status, message, { headers });
  }
}

/**
 * The DPoP proof of a request is not valid (RFC 9449): 401 on a route that takes an access token, else 400. The session goes on.
 * `error` in the body is also `invalid_dpop_proof`, as OAuth clients expect.
 */
export class InvalidDpopProofError extends MultiSessionError {
  /**
   * @param fault what is wrong with the proof, without its values
   * @param challenge the value of `WWW-Authenticate`, on a route that takes an access token. Default: the route issues tokens
   */
  constructor(fault: string, challenge?: string) {
    super('invalid_dpop_proof', statusOfDpop(challenge), dpopFaultMessage(fault), {
      body: { error: 'invalid_dpop_proof' },
      headers: challenge === undefined ? {} : { 'WWW-Authenticate': challenge },
    });
  }
}

/**
 * The DPoP proof of a request needs the nonce in the header `DPoP-Nonce` of this answer: 401 on a route that takes an access
 * token, else 400. The client sends the request again with a new proof (RFC 9449 section 8). `error` in the body is also
 * `use_dpop_nonce`, as OAuth clients expect.
 */
export class UseDpopNonceError extends MultiSessionError {
  /**
   * @param nonce the nonce to use
   * @param challenge the value of `WWW-Authenticate`, on a route that takes an access token. Default: the route issues tokens
   */
  constructor(nonce: string, challenge?: string) {
    super('use_dpop_nonce', statusOfDpop(challenge), REFUSALS.use_dpop_nonce.message, {
      // Sockets have no headers.
      body: { error: 'use_dpop_nonce', nonce },
      headers: { 'DPoP-Nonce': nonce, ...(challenge !== undefined && { 'WWW-Authenticate': challenge }) },
    });
  }
}

function statusOfDpop(challenge: string | undefined): HttpStatus {
  return challenge === undefined ? HttpStatus.BAD_REQUEST : HttpStatus.UNAUTHORIZED;
}

/** 403: the request uses cookies but does not prove that an allowed page has sent it. */
export class CsrfFailedError extends MultiSessionError {
  constructor() {
    super('csrf_failed', REFUSALS.csrf_failed.status, REFUSALS.csrf_failed.message);
  }
}

/** 403: `@SessionTypes` does not list the type of the caller's session. */
export class SessionTypeNotAllowedError extends MultiSessionError {
  constructor() {
    super('session_type_not_allowed', HttpStatus.FORBIDDEN, 'Sessions of this type may not use this route');
  }
}

/**
 * 403: the policy of the session's type does not let a backend renew its access tokens, or not so long after the last refresh.
 * The refresh token is valid: the client can refresh.
 */
export class RenewalNotAllowedError extends MultiSessionError {
  constructor() {
    super(
      'renewal_not_allowed',
      HttpStatus.FORBIDDEN,
      'The policy of this session type does not allow to renew the access token now. Let the client refresh',
    );
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
    const { status, message, headers } = REFUSALS.unavailable;
    super('unavailable', status, message, { headers, cause });
  }
}

/**
 * 500: the database refuses a statement, and waiting cannot help. For example, a table is missing or the database user lacks
 * a right. There is no `Retry-After`. The client should keep its tokens.
 *
 * The `cause` is for the log. It says what failed and contains no values. The body does not show it.
 */
export class ServerFaultError extends MultiSessionError {
  constructor(cause?: unknown) {
    super('server_fault', HttpStatus.INTERNAL_SERVER_ERROR, 'Internal server error', { cause });
  }
}
