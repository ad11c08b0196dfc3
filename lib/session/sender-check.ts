import {
  type AccessCall,
  AccessSenders,
  challengeOf,
  type SenderRefusal,
  WRONG_KEY,
} from '../binding/access-sender.js';
import type { DpopProofs, DpopRefusal } from '../binding/dpop.js';
import {
  DeviceProofRequiredError,
  InvalidDpopProofError,
  type MultiSessionError,
  TokenNotValidError,
  UseDpopNonceError,
} from '../errors.js';
import type { SessionClaims } from '../token/access-token.js';

/** Checks that an access token comes from the holder of the key to which it is bound. */
export class SenderCheck {
  private readonly senders: AccessSenders;

  constructor(proofs: DpopProofs) {
    this.senders = new AccessSenders(proofs);
  }

  /**
   * Checks the proof of a call against the token, and sets `nextNonce` of the call.
   * @throws DeviceProofRequiredError if the token is bound to a key, and the call proves none or another
   * @throws TokenNotValidError if the token is not bound, but comes with a proof
   * @throws InvalidDpopProofError if the proof is not valid
   * @throws UseDpopNonceError if the proof has no recent nonce of ours
   * @throws UnavailableError if the time is not known yet
   */
  assertSender(token: string, { confirmation }: SessionClaims, call: AccessCall | undefined): void {
    const refusal = this.senders.refusalOf(token, confirmation, call);
    if (refusal) throw senderErrorOf(refusal);
  }
}

/** Converts the refusal of an access token to the error that the client gets. */
export function senderErrorOf(refusal: SenderRefusal): MultiSessionError {
  if (refusal.code === 'token_not_valid') return new TokenNotValidError('access');
  if (refusal.code === 'device_proof_required') return new DeviceProofRequiredError(WRONG_KEY);
  return errorOf(refusal, challengeOf(refusal));
}

/**
 * Converts the refusal of a proof to the error that the client gets.
 * @param challenge the value of `WWW-Authenticate`, on a route that takes an access token. Default: the route issues tokens
 */
export function errorOf(refusal: DpopRefusal, challenge?: string): MultiSessionError {
  return refusal.code === 'use_dpop_nonce'
    ? new UseDpopNonceError(refusal.nonce, challenge)
    : new InvalidDpopProofError(refusal.fault, challenge);
}
