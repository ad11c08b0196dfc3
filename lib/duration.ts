type Unit =
  | 'Years'
  | 'Year'
  | 'Yrs'
  | 'Yr'
  | 'Y'
  | 'Weeks'
  | 'Week'
  | 'W'
  | 'Days'
  | 'Day'
  | 'D'
  | 'Hours'
  | 'Hour'
  | 'Hrs'
  | 'Hr'
  | 'H'
  | 'Minutes'
  | 'Minute'
  | 'Mins'
  | 'Min'
  | 'M'
  | 'Seconds'
  | 'Second'
  | 'Secs'
  | 'Sec'
  | 'S'
  | 'Milliseconds'
  | 'Millisecond'
  | 'Msecs'
  | 'Msec'
  | 'Ms';

type UnitInAnyCase = Unit | Lowercase<Unit> | Uppercase<Unit>;

/** A time span: a number of seconds, or a string with a number and a unit, such as `'15m'` or `'30 days'`. */
export type Duration = number | `${number}${UnitInAnyCase}` | `${number} ${UnitInAnyCase}`;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The spellings of each unit, with its milliseconds. */
const UNITS: readonly (readonly [pattern: RegExp, milliseconds: number])[] = [
  [/^(ms|msecs?|milliseconds?)$/i, 1],
  [/^(s|secs?|seconds?)$/i, SECOND],
  [/^(m|mins?|minutes?)$/i, MINUTE],
  [/^(h|hrs?|hours?)$/i, HOUR],
  [/^(d|days?)$/i, DAY],
  [/^(w|weeks?)$/i, 7 * DAY],
  [/^(y|yrs?|years?)$/i, 365.25 * DAY],
];

/**
 * Parses a number with a unit, as the package `ms` does. The library does not use that package: its default export cannot be
 * imported in CommonJS without `esModuleInterop`, and its types are in a package that applications may not have.
 *
 * @returns milliseconds, or undefined if the text is not a number with a known unit
 */
export function parseDuration(text: string): number | undefined {
  const [, number, name] = /^(-?\d*\.?\d+) *([a-z]+)$/i.exec(text) ?? [];
  const unit = UNITS.find(([pattern]) => pattern.test(name));
  return name !== undefined && unit ? Number(number) * unit[1] : undefined;
}
