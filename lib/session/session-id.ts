import { randomBytes } from 'node:crypto';

/**
 * A new uuid v7 (RFC 9562 section 5.7): 48 bits of the time in milliseconds, then 74 random bits, so that ids of rows that are
 * inserted one after the other lie side by side in the index.
 */
export function newSessionId(now: number): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
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
