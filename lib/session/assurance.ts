import type { OptionFaults } from '../option-check.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** An authenticator assurance level of NIST SP 800-63B-4. */
export type AssuranceLevel = 'AAL1' | 'AAL2' | 'AAL3';

/** The times of a level after which the user must log in again, in milliseconds. */
interface Timeouts {
  /** Since the login. */
  readonly overall: number;
  /** Since the last activity. */
  readonly inactivity: number;
}

/** NIST SP 800-63B-4, sections 2.1.3, 2.2.3 and 2.3.3. The library takes what it recommends (SHOULD) as required. */
export const ASSURANCE_TIMEOUTS: Readonly<Record<AssuranceLevel, Timeouts>> = {
  AAL1: { overall: 30 * DAY, inactivity: Infinity },
  AAL2: { overall: DAY, inactivity: HOUR },
  AAL3: { overall: 12 * HOUR, inactivity: 15 * MINUTE },
};

/** The members of a policy that decide when a session ends. Times are in milliseconds. */
export interface Lifetimes {
  readonly refreshTokenLifetime: number;
  readonly absoluteLifetime?: number | undefined;
  /** 0 if no refresh extends a session. */
  readonly extendBelow: number;
  readonly permanent: boolean;
}

/**
 * Returns how long after its login a session ends, however much it is used, in milliseconds. Infinity: never. An access token
 * does not outlive its session.
 */
export function overallTimeoutOf({
  refreshTokenLifetime,
  absoluteLifetime,
  extendBelow,
  permanent,
}: Lifetimes): number {
  return extendBelow === 0 && !permanent ? refreshTokenLifetime : (absoluteLifetime ?? Infinity);
}

/** Checks a policy against the timeouts of the level that it states. Adds the faults that it finds to `faults`. */
export function checkAssurance(
  level: AssuranceLevel,
  lifetimes: Lifetimes,
  policy: string,
  faults: OptionFaults,
): void {
  const { overall, inactivity } = ASSURANCE_TIMEOUTS[level];
  const found = overallTimeoutOf(lifetimes);
  const isExtended = lifetimes.extendBelow > 0 || lifetimes.permanent;
  const name = `${policy}.assurance`;
  if (found > overall) {
    const ends = Number.isFinite(found) ? `ends ${spanOf(found)} after its login` : 'never ends while it is used';
    const option = isExtended ? 'absoluteLifetime' : 'refreshTokenLifetime';
    faults.add(
      name,
      `is ${level}, for which NIST SP 800-63B-4 asks for a new login after ${spanOf(overall)}, but a session of this type ${ends}; set ${option} to at most ${spanOf(overall)}`,
    );
  }
  if (lifetimes.refreshTokenLifetime > inactivity)
    faults.add(
      name,
      `is ${level}, for which NIST SP 800-63B-4 ends a session after ${spanOf(inactivity)} without activity, but refreshTokenLifetime is ${spanOf(lifetimes.refreshTokenLifetime)}; set it to at most ${spanOf(inactivity)}, and extendSession to 'every-refresh' so that activity counts`,
    );
}

/** Writes a time span with the largest unit that divides it, such as `30 d`. A single day is `24 h`, as standards write it. */
export function spanOf(milliseconds: number): string {
  if (milliseconds % DAY === 0 && milliseconds > DAY) return `${milliseconds / DAY} d`;
  if (milliseconds % HOUR === 0) return `${milliseconds / HOUR} h`;
  return milliseconds % MINUTE === 0 ? `${milliseconds / MINUTE} min` : `${milliseconds / 1000} s`;
}
