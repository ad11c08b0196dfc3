import { randomId } from '../token/random-id.js';

/**
 * Returns a new UUID v7 (RFC 9562 section 5.7): the time in milliseconds in 48 bits, then 74 random bits. Rows that are
 * inserted one after the other are therefore neighbours in the index.
 */
export function newSessionId(now: number): string {
  const time = now.toString(16).padStart(12, '0');
  const random = randomId();
  const variant = ((parseInt(random[3], 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`;
}

/**
 * Returns a text that sorts before every id of this time or later, and after every earlier id.
 * @param time in milliseconds
 */
export function firstSessionIdOf(time: number): string {
  const hex = Math.max(0, time).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}`;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether the text is a UUID in lower case, as we write it. No other text is the id of a session. */
export function isSessionId(text: string): boolean {
  return UUID.test(text);
}
