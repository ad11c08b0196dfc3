import ms, { type StringValue } from 'ms';

/** A time span as jsonwebtoken takes it: a number is seconds, a string such as `'15m'` or `'30 days'` is read by `ms`. */
export type Duration = number | StringValue;

type Check<T> = (value: unknown, name: string, faults: OptionFaults) => T;

const MAX_DURATION = ms('100y');

/** Collects what is wrong with the options, so that one error can name all of it. */
export class OptionFaults {
  readonly list: string[] = [];

  add(name: string, fault: string): void {
    this.list.push(`${name}: ${fault}`);
  }
}

/** The members of an options object, each read by its check; an unknown key is a fault, with the known ones named. */
export function checkObject<T extends object>(
  value: unknown,
  name: string,
  faults: OptionFaults,
  checks: { [K in keyof T]-?: Check<T[K]> },
): T {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    faults.add(name, 'must be an object');
    value = {};
  }
  const given = value as Record<string, unknown>;
  const known = Object.keys(checks);
  for (const key of Object.keys(given)) {
    if (!known.includes(key)) faults.add(`${name}.${key}`, `is no option; known are ${known.join(', ')}`);
  }
  const read = known.map((key) => [key, checks[key as keyof T](given[key], `${name}.${key}`, faults)] as const);
  return Object.fromEntries(read) as T;
}

/** Where the option is left out, its default. */
export function withDefault<T>(fallback: T, check: Check<T>): Check<T> {
  return (value, name, faults) => (value === undefined ? fallback : check(value, name, faults));
}

/** Where the option is left out, nothing. */
export function optional<T>(check: Check<T>): Check<T | undefined> {
  return withDefault<T | undefined>(undefined, check);
}

export function required<T>(check: Check<T>, remedy: string): Check<T> {
  return (value, name, faults) => {
    if (value !== undefined) return check(value, name, faults);
    faults.add(name, `is missing; ${remedy}`);
    return undefined as T;
  };
}

/** @returns milliseconds */
export function duration(least: 'zero' | 'positive' = 'positive'): Check<number> {
  return (value, name, faults) => {
    const span = toMilliseconds(value);
    if (span === undefined) {
      faults.add(
        name,
        `must be a time span: a number of seconds, or a string with a unit such as '15m'; got ${show(value)}`,
      );
    } else if (span < 0 || (least === 'positive' && span === 0)) {
      faults.add(name, `must be ${least === 'positive' ? 'more than 0' : '0 or more'}; got ${show(value)}`);
    } else if (span > MAX_DURATION) {
      faults.add(name, `must be at most 100 years; got ${show(value)}`);
    }
    return span ?? 0;
  };
}

/** As `duration`, in whole seconds, since the times in a token are. */
export function wholeSeconds(value: unknown, name: string, faults: OptionFaults): number {
  const span = duration()(value, name, faults);
  if (span % 1000 !== 0) faults.add(name, `must be in whole seconds; got ${show(value)}`);
  return span;
}

function toMilliseconds(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? Math.round(value * 1000) : undefined;
  // A bare «60» would be 60 milliseconds to `ms`: surely not meant by whoever read it from the environment.
  if (typeof value !== 'string' || value.length > 100 || /^[\s\d.]*$/.test(value)) return undefined;
  const span: number | undefined = ms(value as StringValue);
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
  faults.add(name, 'must be a string that is not blank');
  return '';
}

/** One string, or several. */
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

// Never more than the kind of a value that could be a secret: only short, plain values are shown.
function show(value: unknown): string {
  return typeof value === 'number' || (typeof value === 'string' && value.length <= 30)
    ? JSON.stringify(value)
    : typeof value;
}
