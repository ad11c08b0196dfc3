import { createHmac, timingSafeEqual } from 'node:crypto';
import { DPOP_NONCE_LIFE, DPOP_NONCE_PERIOD } from '../engine/timing.js';

/** 128 bits of HMAC-SHA-256, in base64url. */
const MAC_LENGTH = 22;
const FORM = new RegExp(`^[0-9a-z]{1,9}\\.[\\w-]{${MAC_LENGTH}}$`);

/**
 * Issues and reads the nonces of proofs (RFC 9449 section 8) without a store. A nonce is the number of a period of ten seconds and
 * its MAC, so every process with one of our keys accepts it. The period is that of the database's time. A proof is therefore as old as
 * its nonce, and the clock of the client does not matter.
 */
export class DpopNonces {
  private made?: readonly Buffer[];
  private latest = { period: -1, nonce: '' };
  /** The nonces that were accepted, so that each of them is verified once. */
  private readonly known = new Map<string, number>();

  /**
   * @param makeKeys returns the keys of the MAC: the first one issues, and nonces of any of them are accepted, so that a key can be
   * replaced. It is called once, when the first nonce is needed
   * @param now returns the database's time, in milliseconds since 1970
   */
  constructor(
    private readonly makeKeys: () => readonly Buffer[],
    private readonly now: () => number,
  ) {}

  /**
   * Returns the nonce that clients should use now. All clients get the same one.
   * @throws UnavailableError if the time is not known yet
   */
  issue(): string {
    const period = this.currentPeriod();
    if (this.latest.period !== period) this.latest = { period, nonce: nonceOf(this.keys[0], period) };
    return this.latest.nonce;
  }

  /**
   * Returns the period in which we issued a nonce.
   * @returns undefined if the nonce is not ours, or older than two minutes
   * @throws UnavailableError if the time is not known yet
   */
  periodOf(nonce: string): number | undefined {
    const period = this.known.get(nonce) ?? this.verifiedPeriod(nonce);
    return period !== undefined && this.isAccepted(period, this.currentPeriod()) ? period : undefined;
  }

  /** Whether nonces of a period are accepted now. */
  isAccepted(period: number, current: number): boolean {
    const age = current - period;
    // A process whose clock is ahead may have issued it.
    return age >= -1 && age < PERIODS;
  }

  /** The number of the current period. */
  currentPeriod(): number {
    return Math.floor(this.now() / DPOP_NONCE_PERIOD);
  }

  private get keys(): readonly Buffer[] {
    return (this.made ??= this.makeKeys());
  }

  private verifiedPeriod(nonce: string): number | undefined {
    if (!FORM.test(nonce)) return undefined;
    const period = parseInt(nonce, 36);
    const given = Buffer.from(nonce);
    const isOurs = this.keys.some((key) => {
      const expected = Buffer.from(nonceOf(key, period));
      return expected.length === given.length && timingSafeEqual(expected, given);
    });
    if (!isOurs) return undefined;
    // Clients cannot make up nonces, so there are few. The old ones are at the front.
    if (this.known.size >= 4 * PERIODS * this.keys.length) this.known.delete(this.known.keys().next().value as string);
    this.known.set(nonce, period);
    return period;
  }
}

/** How many periods a nonce is accepted for, including its own. */
const PERIODS = DPOP_NONCE_LIFE / DPOP_NONCE_PERIOD;

function nonceOf(key: Buffer, period: number): string {
  const text = period.toString(36);
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url').slice(0, MAC_LENGTH)}`;
}
