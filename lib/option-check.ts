import { type Duration, parseDuration } from './duration.js';
import { MAX_TIMER } from './engine/timing.js';

export type { Duration };

type Check<T> = (value: unknown, name: string, faults: OptionFaults) => T;

const MAX_DURATION: Limit = [parseDuration('100y') as number, '100 years'];
const MAX_TIMER_DURATION: Limit = [MAX_TIMER, '24 days'];
/** A longer span that is given as a number of seconds was probably meant as milliseconds. */
const MAX_SECONDS = 31_557_600;

/** The greatest span in milliseconds, and how to say it. */
type Limit = readonly [most: number, words: string];

/** Collects every fault of the options, so that one error can name them all. */
export class OptionFaults {
  readonly list: string[] = [];

  add(name: string, fault: string): void {
    this.list.push(`${name}: ${fault}`);
  }
}

/**
 * Reads each member of an options object with its check. An unknown key is a fault, which lists the known keys.
 * @param checks one check for each option. It runs even if the option is missing
 */
export function checkObject<T extends object>(
  value: unknown,
  name: string,
  faults: OptionFaults,
  checks: { [K in keyof T]-?: Check<T[K]> },
): T {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    faults.add(name, `must be an object; got ${kindOf(value)}`);
    value = {};
  }
  const given = value as Record<string, unknown>;
  const known = Object.keys(checks);
  for (const key of Object.keys(given)) {
    if (!known.includes(key)) faults.add(`${name}.${key}`, `is not an option. Options are: ${known.join(', ')}`);
  }
  const read = known.map((key) => [key, checks[key as keyof T](given[key], `${name}.${key}`, faults)] as const);
  return Object.fromEntries(read) as T;
}

/** A check that returns `fallback` if the option is missing. */
export function withDefault<T>(fallback: T, check: Check<T>): Check<T> {
  return (value, name, faults) => (value === undefined ? fallback : check(value, name, faults));
}

/** A check that returns undefined if the option is missing. */
export function optional<T>(check: Check<T>): Check<T | undefined> {
  return withDefault<T | undefined>(undefined, check);
}

/**
 * A check that reports a missing option.
 * @param remedy what to set, as a sentence fragment in the imperative
 */
export function required<T>(check: Check<T>, remedy: string): Check<T> {
  return (value, name, faults) => {
    if (value !== undefined) return check(value, name, faults);
    faults.add(name, `is missing; ${remedy}`);
    return undefined as T;
  };
}

/**
 * Returns a check for a time span, which returns milliseconds.
 * @param least `'zero'` to allow 0. Default: `'positive'`
 * @param limit the greatest span. Default: 100 years
 */
export function duration(least: 'zero' | 'positive' = 'positive', [most, words]: Limit = MAX_DURATION): Check<number> {
  return (value, name, faults) => {
    const span = toMilliseconds(value);
    if (span === undefined) {
      faults.add(
        name,
        `must be a time span: a number of seconds, or a string with a unit such as '15m'; got ${show(value)}`,
      );
    } else if (span < 0 || (least === 'positive' && span === 0)) {
      faults.add(name, `must be ${least === 'positive' ? 'more than 0' : '0 or more'}; got ${show(value)}`);
    } else if (span > most) {
      faults.add(name, `must be at most ${words}; got ${show(value)}`);
    } else if (typeof value === 'number' && value > MAX_SECONDS) {
      const days = Math.round(value / 86_400);
      faults.add(
        name,
        `a number is in seconds, and ${value} seconds are ${days} days; for milliseconds write '${value}ms', or '${days}d' if you mean it`,
      );
    }
    return span ?? 0;
  };
}

/** Does the same as `duration()` for a span that becomes a timer. Node.js fires timers of more than 24 days at once. */
export const timerSpan = duration('positive', MAX_TIMER_DURATION);

/**
 * Does the same as `duration()` for times that are written to tokens, which hold whole seconds.
 * @returns milliseconds
 */
export function wholeSeconds(value: unknown, name: string, faults: OptionFaults, limit?: Limit): number {
  const span = duration('positive', limit)(value, name, faults);
  if (span % 1000 !== 0) faults.add(name, `must be in whole seconds; got ${show(value)}`);
  return span;
}

function toMilliseconds(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? Math.round(value * 1000) : undefined;
  // A bare '60' has no unit. jsonwebtoken reads it as 60 milliseconds, but the developer most likely meant seconds.
  if (typeof value !== 'string' || value.length > 100) return undefined;
  const span = parseDuration(value);
  return span !== undefined && Number.isFinite(span) ? Math.round(span) : undefined;
}

export function boolean(value: unknown, name: string, faults: OptionFaults): boolean {
  if (typeof value !== 'boolean') faults.add(name, `must be true or false; got ${show(value)}`);
  return value === true;
}

export function positiveInteger(value: unknown, name: string, faults: OptionFaults): number {
  if (!Number.isSafeInteger(value) || (value as number) < 1) {
    faults.add(name, `must be a whole number, 1 or more; got ${show(value)}`);
  }
  return Number(value);
}

export function text(value: unknown, name: string, faults: OptionFaults): string {
  if (typeof value === 'string' && value.trim() !== '') return value;
  // The value may be a secret, so show only its type.
  faults.add(
    name,
    `must be a string that is not blank; got ${typeof value === 'string' ? 'a blank one' : kindOf(value)}`,
  );
  return '';
}

/** A check for one string or a list of strings. */
export function texts(value: unknown, name: string, faults: OptionFaults): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) faults.add(name, 'must not be empty');
  return list.map((entry, at) => text(entry, list.length > 1 ? `${name}[${at}]` : name, faults));
}

export function oneOf<const T extends string>(...choices: readonly T[]): Check<T> {
  return (value, name, faults) => {
    if (!choices.includes(value as T)) faults.add(name, `must be one of ${choices.join(', ')}; got ${show(value)}`);
    return value as T;
  };
}

/** Formats a value for a message. Shows only the type of a longer string, which may be a secret. */
export function show(value: unknown): string {
  const isShort = typeof value === 'string' && value.length <= 30;
  if (isShort) return JSON.stringify(value);
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : kindOf(value);
}

/** Describes a value without its content, which may be secret. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'function') return value.name ? `the class or function ${value.name}` : 'a function';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
