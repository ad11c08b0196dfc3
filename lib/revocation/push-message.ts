import type { RevokedSession } from './revoked-session.js';

/** What PostgreSQL carries in one notification, less a margin. */
const MAX_BYTES = 7900;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** Longer than any access token should live: what is said to be needed for longer is not ours. */
const MAX_ENTRY_LIFE = 400 * 86_400_000;

/** The entries as texts, as many in each as fit. */
export function toMessages(entries: readonly RevokedSession[]): string[] {
  const messages: string[] = [];
  let parts: string[] = [];
  let bytes = 2;
  for (const { sessionId, userId, reason, expiresAt } of entries) {
    const part = JSON.stringify({ sessionId, userId, reason, expiresAt });
    const size = Buffer.byteLength(part) + 1;
    if (bytes + size > MAX_BYTES) {
      messages.push(`[${parts.join()}]`);
      [parts, bytes] = [[], 2];
    }
    parts.push(part);
    bytes += size;
  }
  return parts.length === 0 ? messages : [...messages, `[${parts.join()}]`];
}

/** The entries in a text that anybody may have sent: whatever is none is left out. @param now in milliseconds */
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
    isText(sessionId, 36) &&
    UUID.test(sessionId) &&
    isText(userId, 255) &&
    isText(reason, 32) &&
    Number.isFinite(expiresAt) &&
    (expiresAt as number) > now &&
    (expiresAt as number) <= now + MAX_ENTRY_LIFE
  );
}

function isText(value: unknown, longest: number): value is string {
  return typeof value === 'string' && value.length <= longest;
}
