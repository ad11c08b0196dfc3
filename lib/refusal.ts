/**
 * How a request is refused that wants to act for a session: the status, the text and the headers of each answer. The errors
 * of Nest and those of `nestjs-multisession/verifier`, which works without Nest, have them from here.
 */

/** What an answer says apart from its code. */
export interface Refusal {
  readonly status: number;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The value of `WWW-Authenticate` for requests without credentials (RFC 6750 section 3). */
export const BEARER_CHALLENGE = 'Bearer realm="api"';

const CHALLENGE = { 'WWW-Authenticate': BEARER_CHALLENGE };

/** The answers to a request that cannot act for a session, by their codes. */
export const REFUSALS = {
  bad_authorization_header: {
    status: 401,
    message: 'The authorization header must contain two space-delimited values',
    headers: CHALLENGE,
  },
  csrf_failed: {
    status: 403,
    message: 'A request with cookies must send the header X-Session-Transport: cookie and come from an allowed origin',
  },
  device_proof_required: {
    status: 401,
    message: 'The session is bound to a device. Send a proof of its key',
  },
  invalid_dpop_proof: {
    status: 401,
    message: 'The DPoP proof is not valid',
  },
  not_authenticated: {
    status: 401,
    message: 'Authentication credentials were not provided',
    headers: CHALLENGE,
  },
  token_not_valid: {
    status: 401,
    message: 'Token is invalid or expired',
    headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' },
  },
  unavailable: {
    status: 503,
    message: 'Temporarily unavailable, try again',
    headers: { 'Retry-After': '1' },
  },
  use_dpop_nonce: {
    status: 401,
    message: 'Send a DPoP proof with the nonce of the header DPoP-Nonce',
  },
} as const satisfies Record<string, Refusal>;

export type RefusalCode = keyof typeof REFUSALS;

/** Returns the message for a DPoP proof that is not valid. */
export function dpopFaultMessage(fault: string): string {
  return `${REFUSALS.invalid_dpop_proof.message}: ${fault}`;
}

const REASON_PHRASES: Record<number, string> = {
  307: 'Temporary Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

/** Returns the body of an error: Nest's, plus a stable code. */
export function errorBody(status: number, message: string, code: string): Record<string, unknown> {
  return { statusCode: status, error: REASON_PHRASES[status], message, code };
}
