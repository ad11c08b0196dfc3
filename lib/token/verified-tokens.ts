import type { Claims } from './claims.js';

/** Maximum number of tokens, maximum length of each, and how much memory all of them may take, in bytes. */
const MAX_TOKENS = 10_000;
const MAX_LENGTH = 4096;
const MAX_BYTES = 20_000_000;

/** What V8 needs for an object, a property and a string, apart from their values. Measured, and rounded up. */
const OBJECT_BYTES = 64;
const PROPERTY_BYTES = 56;
const ELEMENT_BYTES = 8;
const STRING_BYTES = 24;
const NUMBER_BYTES = 16;

interface Entry {
  readonly claims: Claims;
  readonly bytes: number;
}

/**
 * Remembers the claims of verified tokens by the token's text. The oldest ones make room for new ones.
 *
 * It counts bytes, because tokens differ: claims of four kilobytes may take 54 kilobytes as objects. It holds only tokens
 * with a valid signature, so whoever cannot log in cannot fill it up.
 */
export class VerifiedTokens {
  private readonly entries = new Map<string, Entry>();
  private bytes = 0;

  get size(): number {
    return this.entries.size;
  }

  has(token: string): boolean {
    return this.entries.has(token);
  }

  get(token: string): Claims | undefined {
    return this.entries.get(token)?.claims;
  }

  /** Freezes the claims, because requests share them, and remembers them unless the token is too long. */
  add(token: string, claims: Claims): void {
    const bytes = token.length + STRING_BYTES + freeze(claims);
    if (token.length > MAX_LENGTH) return;
    this.delete(token);
    this.entries.set(token, { claims, bytes });
    this.bytes += bytes;
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= MAX_TOKENS && this.bytes <= MAX_BYTES) return;
      this.delete(oldest);
    }
  }

  delete(token: string): void {
    const entry = this.entries.get(token);
    if (!entry) return;
    this.entries.delete(token);
    this.bytes -= entry.bytes;
  }

  clear(): void {
    this.entries.clear();
    this.bytes = 0;
  }
}

/**
 * Freezes a value with all of its members.
 * @returns how much memory it takes, estimated in bytes
 */
function freeze(value: unknown): number {
  if (typeof value === 'string') return STRING_BYTES + 2 * value.length;
  if (value === null || typeof value !== 'object') return NUMBER_BYTES;
  let bytes = OBJECT_BYTES;
  if (Array.isArray(value)) for (const element of value) bytes += ELEMENT_BYTES + freeze(element);
  else for (const [name, member] of Object.entries(value)) bytes += PROPERTY_BYTES + name.length + freeze(member);
  Object.freeze(value);
  return bytes;
}
