import type { SessionClaims } from '../token/access-token.js';

/** The call that presents an access token, for verifiers whose verdict depends on more than the token. */
export interface AccessCall {
  /** The HTTP method, in capitals. */
  readonly method?: string;
  /** The URL that was asked for. */
  readonly url?: string;
  /** The client's proof that it holds the key that the token is bound to. */
  readonly proof?: string;
}

/**
 * Decides whether an access token is good. This is all that `JwtAuthGuard` needs to know about sessions, so a service that
 * has no session tables can bring its own implementation. The class is also the injection token.
 */
export abstract class AccessVerifier {
  /**
   * Verifies an access token.
   *
   * Returns the session directly if no I/O is needed, and a promise otherwise. Await the result in either case.
   *
   * @param token the token as the client sent it, without the scheme
   * @param call the call that presents the token. Default: unknown
   * @returns the session that the token belongs to
   * @throws {@link TokenNotValidError} if the token is forged, expired or of an ended session
   * @throws {@link UnavailableError} if the database is needed for the verdict and cannot be reached
   */
  abstract verify(token: string, call?: AccessCall): SessionClaims | Promise<SessionClaims>;

  /**
   * Returns the current time by the clock that issues the tokens.
   *
   * @returns milliseconds since the epoch
   */
  abstract now(): number;
}
