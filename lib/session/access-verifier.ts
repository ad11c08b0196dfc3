import type { SessionClaims } from '../token/access-token.js';

/** The request that a token came with, for tokens that are bound to their sender and for gateways. */
export interface AccessCall {
  /** The HTTP method, in capitals. */
  readonly method: string;
  /** The URL as the client sees it. */
  readonly url: string;
  /** The proof that the sender holds the key of the token, if the request carried one. */
  readonly proof?: string;
}

/**
 * Decides whether an access token is accepted now. The guards depend on this port alone: `SessionAccess` implements it with
 * memory and database, `nestjs-multisession/testing` without either.
 */
export abstract class AccessVerifier {
  /**
   * Verifies an access token. Answers synchronously if memory is enough and with a promise if a row has to be read, so
   * always await it.
   * @throws TokenNotValidError if the token is forged or expired, or its session has ended
   * @throws UnavailableError if that cannot be found out now
   */
  abstract verify(token: string, call?: AccessCall): SessionClaims | Promise<SessionClaims>;

  /** The time by which verdicts are made, in milliseconds since 1970. */
  abstract now(): number;
}
