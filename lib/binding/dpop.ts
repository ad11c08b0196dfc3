import { hash } from 'node:crypto';
import { DpopNonces } from './dpop-nonce.js';
import { ProofReader, type ProvenRequest } from './dpop-proof.js';
import { type UsedProof, UsedProofs } from './used-proofs.js';

/** 96 bits in base64url. */
const ID_LENGTH = 16;

/** A valid proof. */
export interface DpopProof {
  /** The SHA-256 thumbprint of the client's key (RFC 7638) in base64url: 43 characters. */
  readonly thumbprint: string;
  /** A newer nonce for the client's next proof. Undefined if it has the newest one. */
  readonly nextNonce?: string;
}

/** Why a proof is refused: it is not valid, or it lacks a recent nonce of ours. */
export type DpopRefusal =
  | { readonly code: 'invalid_dpop_proof'; readonly fault: string }
  | { readonly code: 'use_dpop_nonce'; readonly nonce: string };

/** Verifies DPoP proofs (RFC 9449). Every proof needs one of our nonces, and can be used once. */
export class DpopProofs {
  private readonly reader = new ProofReader();
  private readonly used: UsedProofs;
  private readonly nonces: DpopNonces;
  private onUsed: (proof: UsedProof) => void = () => undefined;

  /**
   * @param keys returns the keys that authenticate nonces: see `DpopNonces`
   * @param now returns the database's time, in milliseconds since 1970
   * @param maxUsed how many used proofs are remembered. Default: 200,000
   */
  constructor(keys: () => readonly Buffer[], now: () => number, maxUsed?: number) {
    this.nonces = new DpopNonces(keys, now);
    this.used = new UsedProofs(maxUsed);
  }

  /**
   * Verifies the proof of a request, which is then used up.
   * @param header the value of the header `DPoP`
   * @returns the proof; or a refusal if it is not valid for this request, was used before, or has no nonce of the last two minutes
   * @throws UnavailableError if the time is not known yet
   */
  verify(header: string, request: ProvenRequest): DpopProof | DpopRefusal {
    const proof = this.reader.read(header, request);
    if ('fault' in proof) return { code: 'invalid_dpop_proof', fault: proof.fault };
    const { thumbprint, jti, nonce = '' } = proof;
    const period = this.nonces.periodOf(nonce);
    const newest = this.nonces.issue();
    if (period === undefined || !this.used.remembers(period)) return { code: 'use_dpop_nonce', nonce: newest };
    const used: UsedProof = [hash('sha256', `${thumbprint}.${jti}`, 'base64url').slice(0, ID_LENGTH), period];
    if (!this.used.add(used, this.nonces.currentPeriod()))
      return { code: 'invalid_dpop_proof', fault: 'it was used before' };
    this.onUsed(used);
    return { thumbprint, ...(nonce !== newest && { nextNonce: newest }) };
  }

  /** Calls the listener with each proof that this process has accepted. */
  listen(onUsed: (proof: UsedProof) => void): void {
    this.onUsed = onUsed;
  }

  /** Remembers a proof that another process has accepted. */
  addUsed(proof: UsedProof): void {
    const current = this.nonces.currentPeriod();
    if (this.nonces.isAccepted(proof[1], current)) this.used.add(proof, current);
  }
}
