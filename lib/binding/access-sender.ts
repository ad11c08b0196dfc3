import type { DpopProofs, DpopRefusal } from './dpop.js';
import { DPOP_ALGORITHMS } from './proof-key.js';
import { Target } from './target.js';

/** The request that carried the token. For gateways, and for tokens that are bound to their sender. */
export interface AccessCall {
  /** The HTTP method, in capitals. */
  readonly method: string;
  /** The URL as the client sees it. */
  readonly url: string;
  /**
   * The value of the header `DPoP`, if the token came under the scheme `DPoP`. Empty if there was no such header. Undefined for a
   * bearer token.
   */
  readonly proof?: string;
  /** Set by `verify`: the nonce that the client should use in its next proof, if there is a newer one. */
  nextNonce?: string | undefined;
}

/** Why a token is refused that is bound to a key, or that comes with a proof although it is not. */
export type SenderRefusal =
  DpopRefusal | { readonly code: 'device_proof_required' } | { readonly code: 'token_not_valid' };

/** Names the algorithms of proofs in `WWW-Authenticate` (RFC 9449 section 7.1). */
const ALGS = `algs="${DPOP_ALGORITHMS}"`;

/** Says that the token is bound to another key, or that the request proves none (RFC 9449 section 7.1). */
export const WRONG_KEY = `DPoP error="invalid_token", error_description="Invalid DPoP key binding", ${ALGS}`;

/** Returns the value of `WWW-Authenticate` for a refused proof, on a route that takes an access token. */
export function challengeOf({ code }: DpopRefusal): string {
  return `DPoP error="${code}", ${ALGS}`;
}

/**
 * Notes on a call that its proof was accepted, because several guards may check one call. A copy of the call
 * has no such note.
 */
class Accepted extends Target {
  #by?: AccessSenders;
  #token?: string;

  static isFor(call: AccessCall, by: AccessSenders, token: string): boolean {
    return #by in call && call.#by === by && call.#token === token;
  }

  static note(call: AccessCall, by: AccessSenders, token: string): void {
    const note = #by in call ? call : new Accepted(call);
    note.#by = by;
    note.#token = token;
  }
}

/** Checks that access tokens come from the holders of the keys to which they are bound. */
export class AccessSenders {
  constructor(private readonly proofs: DpopProofs) {}

  /**
   * Checks the proof of a call against the token, and sets `nextNonce` of the call.
   * @param confirmation the thumbprint of the key to which the token is bound. Undefined if it is a bearer token
   * @param call Default: the token came as a bearer token
   * @returns why the token is refused, or undefined if it may pass
   * @throws UnavailableError if the time is not known yet
   */
  refusalOf(token: string, confirmation: string | undefined, call?: AccessCall): SenderRefusal | undefined {
    if (confirmation === undefined) return call?.proof === undefined ? undefined : { code: 'token_not_valid' };
    if (call?.proof === undefined) return { code: 'device_proof_required' };
    if (Accepted.isFor(call, this, token)) return undefined;
    const { method, url, proof } = call;
    const verdict = this.proofs.verify(proof, { method, url, accessToken: token });
    if ('code' in verdict) return verdict;
    if (verdict.thumbprint !== confirmation) return { code: 'device_proof_required' };
    call.nextNonce = verdict.nextNonce;
    Accepted.note(call, this, token);
    return undefined;
  }
}
