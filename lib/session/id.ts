import { randomId } from '../token/random-id.js';

/**
 * Returns a new UUID v7 (RFC 9562 section 5.7): 48 bits of time in milliseconds, then 74 random bits. Rows that are inserted
 * one after the other are therefore adjacent in the index.
 * @param now in milliseconds since 1970
 */
export function newSessionId(now: number): string {
  const time = now.toString(16).padStart(12, '0');
  const random = randomId();
  const variant = ((parseInt(random[3], 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`;
}

/**
 * Returns a string that sorts after every id from before this time, and before every other id.
 * @param time in milliseconds since 1970
 */
export function firstSessionIdOf(time: number): string {
  const hex = Math.max(0, time).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}`;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether the text is a lower-case UUID. Every session id has this form. */
export function isSessionId(text: string): boolean {
  return UUID.test(text);
}
