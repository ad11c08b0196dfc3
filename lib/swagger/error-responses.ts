import type { ApiResponseNoStatusOptions } from '@nestjs/swagger';
import {
  BadAuthorizationHeaderError,
  CsrfFailedError,
  DeviceProofRequiredError,
  DeviceChallengeError,
  HeaderNotPermittedError,
  InvalidCredentialsError,
  InvalidDpopProofError,
  InvalidSessionTypeError,
  type MultiSessionError,
  type MultiSessionErrorCode,
  NotAuthenticatedError,
  ReauthenticationRequiredError,
  RenewalNotAllowedError,
  SecretKeyInvalidError,
  ServerFaultError,
  SessionDataError,
  SessionLimitReachedError,
  SessionNotFoundError,
  SessionProofRequiredError,
  SessionTypeNotAllowedError,
  TokenNotValidError,
  UnavailableError,
  UseDpopNonceError,
  ValidationFailedError,
} from '../errors.js';
import { DPOP_CHALLENGE } from '../binding/proof-key.js';
import type { NamedSchemas } from './schemas.js';

/** For each code: when a route answers it, and an error from which the example is built. */
const CODES: Readonly<Record<MultiSessionErrorCode, readonly [when: string, example: MultiSessionError]>> = {
  bad_authorization_header: [
    'the authorization header has no token or more than one word after its scheme',
    new BadAuthorizationHeaderError(),
  ],
  csrf_failed: ['the request may come from a page that must not use the cookies', new CsrfFailedError()],
  device_challenge: ['the browser must sign the challenge in `Secure-Session-Challenge`', new DeviceChallengeError({})],
  header_not_permitted: [
    'a permanent token was sent to a route that does not need it',
    new HeaderNotPermittedError('Permanent-Token'),
  ],
  invalid_credentials: ['unknown user, wrong password or inactive user', new InvalidCredentialsError()],
  invalid_dpop_proof: [
    'the DPoP proof is not valid for this request, or was used before',
    new InvalidDpopProofError('htu is not the URL of the request', DPOP_CHALLENGE),
  ],
  invalid_session_type: ['unknown session type', new InvalidSessionTypeError(['SHORT', 'LONG'])],
  not_authenticated: ['no access token', new NotAuthenticatedError()],
  reauthentication_required: ['the last login is too long ago', new ReauthenticationRequiredError(600)],
  renewal_not_allowed: [
    'the policy does not let a backend renew access tokens of this session now',
    new RenewalNotAllowedError(),
  ],
  device_proof_required: [
    'the session is bound to a key on its device, and the request does not prove that key',
    new DeviceProofRequiredError(),
  ],
  secret_key_invalid: ['wrong secret key', new SecretKeyInvalidError()],
  server_fault: [
    'the server is not set up correctly. Its log says why. Retrying does not help.',
    new ServerFaultError(),
  ],
  session_data_invalid: ['session data that is too large or not JSON', new SessionDataError('data: is too large')],
  session_limit_reached: [
    'the user has the maximum number of active sessions of this type',
    new SessionLimitReachedError(),
  ],
  session_not_found: ['the user has no such session', new SessionNotFoundError()],
  session_proof_required: [
    'the refresh cookie comes without a cookie that proves whose session it is',
    new SessionProofRequiredError(),
  ],
  session_type_not_allowed: ['sessions of this type may not use the route', new SessionTypeNotAllowedError()],
  token_not_valid: [
    'the token is forged, expired or superseded, or its session has ended',
    new TokenNotValidError('access'),
  ],
  unavailable: ['the database cannot be reached. Retry after `Retry-After` seconds.', new UnavailableError()],
  use_dpop_nonce: [
    'the DPoP proof must contain the nonce of the header `DPoP-Nonce`. Send the request again with a new proof.',
    new UseDpopNonceError('2um2m.GQpSxu2dQDmXSWM8Lq0jsA', DPOP_CHALLENGE),
  ],
  validation_failed: [
    'fields are missing, blank, null, too long or of the wrong type; `errors` names them',
    new ValidationFailedError({ session: ['This field is required.'] }),
  ],
};

/** Documents all errors with one status. Clients distinguish them by the code in the body. */
export function errorResponse(
  status: number,
  codes: readonly MultiSessionErrorCode[],
  schemas: NamedSchemas,
): ApiResponseNoStatusOptions & { content: object } {
  const errorBody = schemas.refToNamed('ErrorBody', () => ({
    type: 'object',
    description: 'Every error of this library',
    properties: {
      statusCode: { type: 'integer', description: 'HTTP status', example: 401 },
      error: { type: 'string', description: 'Reason phrase of the status', example: 'Unauthorized' },
      message: {
        type: 'string',
        description: 'For developers. It may change.',
        example: 'Token is invalid or expired',
      },
      code: {
        type: 'string',
        description: 'For programs. It does not change.',
        enum: Object.keys(CODES),
        example: 'token_not_valid',
      },
      reason: {
        type: 'string',
        description:
          'Why the session ended, only at a refresh with a token of an ended session, and only if it is known',
        example: 'evicted',
      },
      errors: {
        type: 'object',
        description: 'Faults by field, only with `validation_failed`',
        additionalProperties: { type: 'array', items: { type: 'string' } },
        example: { session: ['This field is required.'] },
      },
    },
    required: ['statusCode', 'error', 'message', 'code'],
  }));
  const schema = {
    allOf: [errorBody, { type: 'object', properties: { code: { type: 'string', enum: [...codes] } } }],
  };
  const examples = Object.fromEntries(
    codes.map((code) => [code, { summary: CODES[code][0], value: bodyOf(code, status) }]),
  );
  return {
    description: codes.map((code) => `\`${code}\`: ${CODES[code][0]}`).join('\n\n'),
    content: { 'application/json': { schema, examples } },
  };
}

/** Returns the example body. Some codes have two statuses. */
function bodyOf(code: MultiSessionErrorCode, status: number): unknown {
  if (code === 'session_not_found') return new SessionNotFoundError(status).getResponse();
  const body = CODES[code][1].getResponse() as object;
  const isDpop = code === 'invalid_dpop_proof' || code === 'use_dpop_nonce';
  return isDpop ? { ...body, statusCode: status } : body;
}
