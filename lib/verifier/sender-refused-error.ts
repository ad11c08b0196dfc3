import { challengeOf, type SenderRefusal, WRONG_KEY } from '../binding/access-sender.js';
import { dpopFaultMessage } from '../refusal.js';
import { type RefusalDetails, RefusedError } from './refused-error.js';

/** An access token does not come from the holder of its key, or its proof is not accepted. */
export class SenderRefusedError extends RefusedError {
  constructor(readonly refusal: SenderRefusal) {
    super(refusal.code, undefined, detailsOf(refusal));
  }
}

function detailsOf(refusal: SenderRefusal): RefusalDetails {
  switch (refusal.code) {
    case 'token_not_valid':
      return {};
    case 'device_proof_required':
      return { headers: { 'WWW-Authenticate': WRONG_KEY } };
    case 'invalid_dpop_proof':
      return {
        message: dpopFaultMessage(refusal.fault),
        headers: { 'WWW-Authenticate': challengeOf(refusal) },
        body: { error: refusal.code },
      };
    case 'use_dpop_nonce':
      return {
        headers: { 'DPoP-Nonce': refusal.nonce, 'WWW-Authenticate': challengeOf(refusal) },
        body: { error: refusal.code, nonce: refusal.nonce },
      };
  }
}
