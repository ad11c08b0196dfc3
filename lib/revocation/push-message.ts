import type { RevokedSession } from './revoked-session.js';

/** PostgreSQL limits a notification to 8000 bytes. This leaves a margin. */
const MAX_BYTES = 7900;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** In milliseconds. No access token lives this long, so an entry with a later expiry is not ours. */
const MAX_ENTRY_LIFE = 400 * 86_400_000;

/** Packs the entries into as few messages as the size limit allows. */
export function toMessages(entries: readonly RevokedSession[]): string[] {
  const messages: string[] = [];
  let parts: string[] = [];
  let bytes = '[]'.length;
  const finishMessage = () => {
    if (parts.length > 0) messages.push(`[${parts.join(',')}]`);
    [parts, bytes] = [[], '[]'.length];
  };
  for (const { sessionId, userId, reason, expiresAt } of entries) {
    const part = JSON.stringify({ sessionId, userId, reason, expiresAt });
    const size = Buffer.byteLength(part) + ','.length;
    if (bytes + size > MAX_BYTES) finishMessage();
    parts.push(part);
    bytes += size;
  }
  finishMessage();
  return messages;
}

/**
 * Reads the entries of a message. Anyone with access to the channel may have sent it, so invalid entries are skipped.
 * @param now in milliseconds since 1970; entries that have expired by then are invalid
 */
export function fromMessage(message: string, now: number): RevokedSession[] {
  if (message.length > MAX_BYTES) return [];
  try {
    const parts: unknown = JSON.parse(message);
    return Array.isArray(parts) ? parts.filter((part) => isRevokedSession(part, now)) : [];
  } catch {
    return [];
  }
}

function isRevokedSession(value: unknown, now: number): value is RevokedSession {
  if (value === null || typeof value !== 'object') return false;
  const { sessionId, userId, reason, expiresAt } = value as Record<string, unknown>;
  return (
    typeof sessionId === 'string' &&
    UUID.test(sessionId) &&
    isText(userId, 255) &&
    isText(reason, 32) &&
    Number.isFinite(expiresAt) &&
    (expiresAt as number) > now &&
    (expiresAt as number) <= now + MAX_ENTRY_LIFE
  );
}

function isText(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length <= maxLength;
}
