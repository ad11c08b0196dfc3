import { hash } from 'node:crypto';
import { randomId } from '../token/random-id.js';

/**
 * Returns a new UUID v7 (RFC 9562 section 5.7): 48 bits of time in milliseconds, the 12 bits of `userBucketOf`, and 62 random
 * bits. Rows that are inserted one after the other are therefore adjacent in the index.
 * @param now in milliseconds since 1970
 * @param userId as the row has it
 */
export function newSessionId(now: number, userId: string): string {
  return uuidV7(now, userBucketOf(userId) + randomId());
}

/**
 * Returns the 12 bits of a user that the ids of their sessions contain: the first three hex digits of the SHA-256 of the user
 * id in UTF-8. So a statement that knows only a session's id and one that knows only its user can be sent to the same shard.
 *
 * Never change it. Rows keep their ids, and versions run side by side. It has no key, so that a database can compute it too.
 * @returns three digits of lower-case hex
 */
export function userBucketOf(userId: string): string {
  return hash('sha256', userId, 'hex').slice(0, 3);
}

/**
 * Returns the UUID v7 of a time and of other bits.
 * @param at in milliseconds since 1970. Earlier times count as 1970
 * @param random at least 19 digits of lower-case hex. The first three become `rand_a`
 */
export function uuidV7(at: number, random: string): string {
  const time = Math.max(0, at).toString(16).padStart(12, '0');
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

/**
 * Returns a session id as the rows and the tokens have it. UUIDs are case-insensitive on input (RFC 9562 section 4), and some
 * clients, such as those on iOS, write them in capitals.
 */
export function canonicalSessionId(id: string): string {
  return id.toLowerCase();
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether the text is a lower-case UUID. Every session id has this form. */
export function isSessionId(text: string): boolean {
  return UUID.test(text);
}
