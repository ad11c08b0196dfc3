import type { SessionClaims } from '../token/access-token.js';

/** The request that carried the token. For gateways, and for tokens that are bound to their sender. */
export interface AccessCall {
  /** The HTTP method, in capitals. */
  readonly method: string;
  /** The URL as the client sees it. */
  readonly url: string;
  /** The sender's proof that it holds the key of the token, if the request carried one. */
  readonly proof?: string;
}

/**
 * Decides whether an access token is accepted now. The guards depend only on this port. `SessionAccess` implements it with
 * memory and database, and `nestjs-multisession/testing` without either.
 */
export abstract class AccessVerifier {
  /**
   * Verifies an access token. Always await it: it answers synchronously if memory is enough, and with a promise if a row
   * must be read.
   * @throws TokenNotValidError if the token is forged or expired, or its session has ended
   * @throws UnavailableError if it cannot decide now, for example because the database cannot be reached
   */
  abstract verify(token: string, call?: AccessCall): SessionClaims | Promise<SessionClaims>;

  /** Returns the time on which verdicts are based, in milliseconds since 1970. */
  abstract now(): number;
}
