import { DPOP_NONCE_LIFE, DPOP_NONCE_PERIOD } from '../engine/timing.js';

/** Default of how many proofs are remembered, about 20 MB. */
const MAX_PROOFS = 200_000;

/** A proof that was used: its id, and the period of its nonce. */
export type UsedProof = readonly [id: string, period: number];

/**
 * Remembers the proofs that were used, as long as their nonces are accepted, so that none is accepted twice.
 *
 * If there are too many, it forgets those of the oldest nonces, and from then on refuses these nonces. No proof can therefore be
 * replayed. Clients that use such a nonce have to fetch a new one.
 */
export class UsedProofs {
  private readonly periods = new Map<number, Set<string>>();
  private size = 0;
  /** The oldest period whose proofs are all remembered. */
  private floor = -Infinity;

  /** @param maxProofs how many are remembered. Default: 200,000 */
  constructor(private readonly maxProofs = MAX_PROOFS) {}

  /** Whether all used proofs with nonces of this period are remembered. */
  remembers(period: number): boolean {
    return period >= this.floor;
  }

  /**
   * Remembers a proof.
   * @param current the number of the current period
   * @returns false if it was used before, or may have been
   */
  add([id, period]: UsedProof, current: number): boolean {
    if (!this.remembers(period)) return false;
    let used = this.periods.get(period);
    if (!used) {
      this.forgetBefore(current - DPOP_NONCE_LIFE / DPOP_NONCE_PERIOD);
      this.periods.set(period, (used = new Set()));
    }
    if (used.has(id)) return false;
    used.add(id);
    this.size++;
    while (this.size > this.maxProofs) this.forgetOldest();
    return this.remembers(period);
  }

  /** Forgets the proofs whose nonces are not accepted any more. */
  private forgetBefore(oldest: number): void {
    for (const period of this.periods.keys()) if (period < oldest) this.forget(period);
  }

  private forgetOldest(): void {
    const oldest = Math.min(...this.periods.keys());
    this.floor = Math.max(this.floor, oldest + 1);
    this.forget(oldest);
  }

  private forget(period: number): void {
    this.size -= this.periods.get(period)?.size ?? 0;
    this.periods.delete(period);
  }
}
