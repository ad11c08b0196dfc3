import { createHmac, hkdfSync, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { UsedProof } from '../binding/used-proofs.js';
import { PUSH_LIFE } from '../engine/timing.js';
import type { RevokedSession } from './revoked-session.js';

/** PostgreSQL limits a notification to 8000 bytes. This leaves a margin. */
const MAX_BYTES = 7900;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** In milliseconds. No access token lives this long, so an entry with a later expiry is not ours. */
const MAX_ENTRY_LIFE = 400 * 86_400_000;
/** HMAC-SHA-256 in base64url, without padding. */
const MAC_LENGTH = 43;
const ENDED = 'ended';
const PROOFS = 'proofs';

/**
 * Writes and reads the messages of a push: a MAC, a dot, and a JSON text with a kind, the time of sending and the entries.
 *
 * Anyone with access to the channel may send a message. The MAC proves that it comes from a process with one of our keys, and
 * the time limits how long a recorded message can be sent again.
 */
export class PushMessages {
  private readonly keys: readonly Buffer[];

  /** @param secrets the first one writes, and messages of any of them are accepted */
  constructor(secrets: readonly (string | KeyObject)[]) {
    this.keys = secrets.map((secret) =>
      Buffer.from(hkdfSync('sha256', bytesOf(secret), '', 'nestjs-multisession push', 32)),
    );
  }

  /**
   * Packs the entries into as few messages as the size limit allows.
   * @param now the database's time, in milliseconds since 1970
   */
  write(entries: readonly RevokedSession[], now: number): string[] {
    const parts = entries.map(({ sessionId, userId, reason, expiresAt }) =>
      JSON.stringify({ sessionId, userId, reason, expiresAt }),
    );
    return this.packed(ENDED, parts, now);
  }

  /** Packs proofs like `write`, into messages of their own. */
  writeProofs(proofs: readonly UsedProof[], now: number): string[] {
    return this.packed(
      PROOFS,
      proofs.map((proof) => JSON.stringify(proof)),
      now,
    );
  }

  private packed(kind: string, entries: readonly string[], now: number): string[] {
    const head = `{"kind":"${kind}","at":${now},"entries":[`;
    const tail = ']}';
    const messages: string[] = [];
    let parts: string[] = [];
    const emptySize = MAC_LENGTH + '.'.length + head.length + tail.length;
    let bytes = emptySize;
    const finishMessage = () => {
      if (parts.length > 0) messages.push(this.sealed(`${head}${parts.join(',')}${tail}`));
      [parts, bytes] = [[], emptySize];
    };
    for (const part of entries) {
      const size = Buffer.byteLength(part) + ','.length;
      if (bytes + size > MAX_BYTES) finishMessage();
      parts.push(part);
      bytes += size;
    }
    finishMessage();
    return messages;
  }

  /**
   * Reads the entries of a message. Skips invalid entries.
   * @param now the database's time, in milliseconds since 1970; entries that have expired by then are invalid
   * @returns no entries if none of our keys wrote the message, or if it is too old
   */
  read(message: string, now: number): RevokedSession[] {
    return this.entriesOf(ENDED, message, now).filter((entry) => isRevokedSession(entry, now));
  }

  /** Reads the proofs of a message like `read`. */
  readProofs(message: string, now: number): UsedProof[] {
    return this.entriesOf(PROOFS, message, now).filter(isUsedProof);
  }

  private entriesOf(kind: string, message: string, now: number): unknown[] {
    const text = this.verifiedText(message);
    if (text === undefined) return [];
    try {
      const content = (JSON.parse(text) ?? {}) as Partial<Record<string, unknown>>;
      const { at, entries } = content;
      // Other kinds of messages come from a later version.
      if (content.kind !== kind || !Array.isArray(entries)) return [];
      return typeof at === 'number' && Math.abs(now - at) <= PUSH_LIFE ? entries : [];
    } catch {
      return [];
    }
  }

  private sealed(text: string): string {
    return `${macOf(this.keys[0], text)}.${text}`;
  }

  private verifiedText(message: string): string | undefined {
    if (message.length > MAX_BYTES || message[MAC_LENGTH] !== '.') return undefined;
    // Compare the texts, since several texts are decoded to the same bytes.
    const given = Buffer.from(message.slice(0, MAC_LENGTH));
    const text = message.slice(MAC_LENGTH + 1);
    const isOurs = this.keys.some((key) => {
      const mac = Buffer.from(macOf(key, text));
      return given.length === mac.length && timingSafeEqual(given, mac);
    });
    return isOurs ? text : undefined;
  }
}

function macOf(key: Buffer, text: string): string {
  return createHmac('sha256', key).update(text).digest('base64url');
}

function bytesOf(secret: string | KeyObject): string | Buffer {
  if (typeof secret === 'string') return secret;
  return secret.type === 'secret' ? secret.export() : secret.export({ type: 'pkcs8', format: 'der' });
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

function isUsedProof(value: unknown): value is UsedProof {
  if (!Array.isArray(value)) return false;
  const [id, period] = value as unknown[];
  return isText(id, 32) && Number.isSafeInteger(period);
}

function isText(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value.length <= maxLength;
}
