import { randomId } from '../token/random-id.js';

/**
 * A new uuid v7 (RFC 9562 section 5.7): 48 bits of the time in milliseconds, then 74 random bits, so that ids of rows that are
 * inserted one after the other lie side by side in the index.
 */
export function newSessionId(now: number): string {
  const time = now.toString(16).padStart(12, '0');
  const random = randomId();
  const variant = ((parseInt(random[3], 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`;
}

/** What sorts before every id of this time or later, and behind every earlier one. @param time milliseconds */
export function firstSessionIdOf(time: number): string {
  const hex = Math.max(0, time).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}`;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether it is a uuid as we write it: anything else is no session's id. */
export function isSessionId(text: string): boolean {
  return UUID.test(text);
}
