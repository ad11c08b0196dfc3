/**
 * The headers of Device Bound Session Credentials. Their values are structured fields (RFC 9651). Chromium sends the strings of
 * its own headers without quotes, so both forms are accepted.
 */

/** The request header with the proof, which is a JWT. */
export const PROOF_HEADER = 'secure-session-response';
/** The request header with the id of the browser's record. Scripts cannot set it, so the browser itself sends the request. */
export const SESSION_ID_HEADER = 'sec-secure-session-id';
/** The request header that says why the browser has sent a request without the bound cookie. */
export const SKIPPED_HEADER = 'secure-session-skipped';
/** The response header that asks the browser to make a key and register it. */
export const REGISTRATION_HEADER = 'Secure-Session-Registration';
/** The response header with the challenge for the next proof. */
export const CHALLENGE_HEADER = 'Secure-Session-Challenge';

/** The longest proof that is read. One with an RSA key of 4096 bits has about 1,800 characters. */
const MAX_PROOF = 4096;
const COMPACT_JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const SESSION_ID = /^[0-9a-f-]{36}$/;

/**
 * Reads the value of `Secure-Session-Response`.
 * @param value undefined if the header is missing or was sent several times
 * @returns the JWT, or undefined if the value is not one
 */
export function readProofHeader(value: string | undefined): string | undefined {
  if (value === undefined || value.length > MAX_PROOF) return undefined;
  const text = unquoted(value);
  return COMPACT_JWT.test(text) ? text : undefined;
}

/**
 * Reads the value of `Sec-Secure-Session-Id`.
 * @returns the id of a session of ours, or undefined if the value is none
 */
export function readSessionIdHeader(value: string | undefined): string | undefined {
  const text = value === undefined ? '' : unquoted(value);
  return SESSION_ID.test(text) ? text : undefined;
}

/**
 * Formats `Secure-Session-Registration`.
 * @param path of the registration route, as browsers see it
 */
export function registrationHeader(path: string, challenge: string): string {
  return `(ES256 RS256);path=${quoted(path)};challenge=${quoted(challenge)}`;
}

/** Formats `Secure-Session-Challenge`. */
export function challengeHeader(challenge: string, sessionId: string): string {
  return `${quoted(challenge)};id=${quoted(sessionId)}`;
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

function unquoted(value: string): string {
  const trimmed = value.trim();
  return trimmed.length >= 2 && trimmed.startsWith('"') && trimmed.endsWith('"') ? trimmed.slice(1, -1) : trimmed;
}
