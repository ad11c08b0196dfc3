import type { AccessCall } from '../binding/access-sender.js';
import type { SessionClaims } from '../token/access-token.js';

/**
 * Decides whether an access token is accepted now. The guards depend only on this port. `SessionAccess` implements it with
 * memory and database, and `nestjs-multisession/testing` without either.
 */
export abstract class AccessVerifier {
  /**
   * Verifies an access token. Always await it: it answers synchronously if memory is enough, and with a promise if a row
   * must be read.
   * @param call the request, for a token that is bound to a key. Several checks of one request must give the same object, because
   * a proof is accepted once. Default: the token must be a bearer token
   * @throws TokenNotValidError if the token is forged or expired, or its session has ended
   * @throws DeviceProofRequiredError if the token is bound to a key, and the call proves none or another
   * @throws InvalidDpopProofError if the proof of the call is not valid
   * @throws UseDpopNonceError if the proof of the call has no recent nonce of ours
   * @throws UnavailableError if it cannot decide now, for example because the database cannot be reached
   */
  abstract verify(token: string, call?: AccessCall): SessionClaims | Promise<SessionClaims>;

  /**
   * Verifies a long-lived token of an old system, whose clients send it as `Authorization: JWT …`. Ask only after `verify` has
   * refused it. Absent if there are no such tokens.
   * @returns undefined if it is not such a token
   * @throws TokenNotValidError if its session has ended
   * @throws UnavailableError if the database cannot be reached
   */
  verifyOld?(token: string): Promise<SessionClaims> | undefined;

  /** Returns the time on which verdicts are based, in milliseconds since 1970. */
  abstract now(): number;
}
