import { CLOCK_MARGIN } from '../engine/timing.js';

/** The part of a managed key's row that decides what happens to it next. Times are in milliseconds since 1970. */
export interface ScheduledKey {
  readonly kid: string;
  /** When it starts to sign; null while it is pending. */
  readonly activeAt: Date | null;
  /** The longest lifetime of a token that it may have signed, in milliseconds. Null if no process has recorded it. */
  readonly longestLifetime: number | null;
}

/** The spans in the life of a managed key, in milliseconds. */
export interface KeySpans {
  /** How long a key signs before another one replaces it. */
  readonly rotateEvery: number;
  /**
   * From the time at which a process reads a committed key until the key's first signature. By then every other process has read
   * the key too, or knows that it is stale.
   */
  readonly activation: number;
  /**
   * From the first signature of a key's successor until none of the key's tokens can be live.
   * @param longestLifetime of the key
   */
  readonly retention: (longestLifetime: number | null) => number;
}

/** One change of the keys. */
export type KeyStep =
  | { readonly do: 'create'; readonly activeAt: number | null }
  | { readonly do: 'activate'; readonly kid: string; readonly activeAt: number }
  | { readonly do: 'retire'; readonly kid: string };

/**
 * Decides which step is due, if any.
 * @param keys in the order of `inSigningOrder`
 * @param now the database's time, in milliseconds since 1970
 * @param mayRetire whether to check now if a replaced key can be deleted
 */
export function nextStep(
  keys: readonly ScheduledKey[],
  now: number,
  { rotateEvery, activation, retention }: KeySpans,
  mayRetire: (kid: string) => boolean,
): KeyStep | undefined {
  const newest = keys.at(-1);
  if (!newest) return { do: 'create', activeAt: now };
  const pending = keys.find((key) => key.activeAt === null);
  if (pending) return { do: 'activate', kid: pending.kid, activeAt: now + activation };
  if (activeAt(newest) + rotateEvery <= now) return { do: 'create', activeAt: null };
  const replaced = keys.slice(0, -1);
  const retired = replaced.find(
    (key, at) => activeAt(keys[at + 1]) + retention(key.longestLifetime) <= now && mayRetire(key.kid),
  );
  return retired && { do: 'retire', kid: retired.kid };
}

/**
 * Returns the key that signs at this time. If every `activeAt` is in the future, returns the first key: another process has just
 * created it, with a clock that is some milliseconds ahead of ours.
 * @param keys in the order of `inSigningOrder`
 * @returns undefined if every key is pending
 */
export function signingAt<K extends ScheduledKey>(keys: readonly K[], now: number): K | undefined {
  return keys.findLast((key) => activeAt(key) <= now) ?? keys.find((key) => key.activeAt !== null);
}

/** Sorts keys by the time at which they start to sign. Pending ones are last. */
export function inSigningOrder<K extends ScheduledKey>(keys: readonly K[]): K[] {
  return [...keys].sort((a, b) => {
    const [first, second] = [activeAt(a), activeAt(b)];
    if (first !== second) return first < second ? -1 : 1;
    return a.kid < b.kid ? -1 : 1;
  });
}

/**
 * Returns when each key signs. A process that has not read the successor yet may sign with the old key for as long as
 * `activation`.
 */
export function signingSpans(
  keys: readonly ScheduledKey[],
  activation: number,
): Map<string, { readonly from: number; readonly until: number }> {
  const inOrder = inSigningOrder(keys);
  const spanOf = (key: ScheduledKey, at: number) => ({
    from: activeAt(key) - CLOCK_MARGIN,
    until: (inOrder[at + 1] ? activeAt(inOrder[at + 1]) : Infinity) + activation + CLOCK_MARGIN,
  });
  return new Map(inOrder.map((key, at) => [key.kid, spanOf(key, at)]));
}

function activeAt(key: ScheduledKey): number {
  return key.activeAt?.getTime() ?? Infinity;
}
