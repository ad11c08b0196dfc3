import { createDecipheriv, createHash, pbkdf2Sync, timingSafeEqual } from 'node:crypto';
import type { OldToken, OldTokenReader } from './old-token.js';
import type { LegacyTokenConfig } from './options.js';

/** Where the parts of the encrypted text are. A value that is not used lies between salt and tag. */
const SALT = [0, 64] as const;
const TAG = [80, 104] as const;
const NONCE = [104, 128] as const;
const CIPHERTEXT = [128] as const;

/** The nonce after the dot: a hash in hex. */
const TOKEN = /^([A-Za-z0-9+/]{172,}={0,2})\.([0-9a-f]{64})$/;
/** Longer than any token that the old system makes. A handle has up to 255 characters, and a user id up to 128. */
const MAX_LENGTH = 4096;
const HASH = /^[0-9a-f]{64}$/;

/**
 * Reads the refresh tokens of supertokens-django-ref-jwt. A token is encrypted (AES-256-GCM) and states its session, its user
 * and a hash of the token that it replaces.
 *
 * The old system stores a token only when it is used for the first time, or its access token is. Until then the row has the
 * token's parent. Such a successor is therefore known only by its parent.
 */
export class SuperTokensReader implements OldTokenReader {
  readonly system = 'supertokens-django-ref-jwt';

  constructor(private readonly config: LegacyTokenConfig) {}

  read(text: string): OldToken | undefined {
    const [, encrypted, nonce] = (text.length <= MAX_LENGTH && TOKEN.exec(text)) || [];
    if (encrypted === undefined) return undefined;
    const content = parsed(this.decrypt(encrypted));
    if (!content) return undefined;
    const { sessionHandle, userId, prt, nonce: inside } = content;
    const isUserId = typeof userId === 'string' || typeof userId === 'number';
    if (typeof sessionHandle !== 'string' || !isUserId || typeof inside !== 'string') return undefined;
    if (!isSame(inside, nonce) || !(prt === null || (typeof prt === 'string' && HASH.test(prt)))) return undefined;
    return {
      foundBy: { oldKey: sessionHandle },
      tokenKey: sha256(sha256(text)),
      userId,
      ...(prt !== null && { parentTokenKey: sha256(prt) }),
    };
  }

  /** Returns the plain text, or undefined if the text was not encrypted with our key or has been changed. */
  private decrypt(encrypted: string): string | undefined {
    try {
      const text = decoded(encrypted).toString('latin1');
      const [salt, tag, nonce, ciphertext] = [SALT, TAG, NONCE, CIPHERTEXT].map((range) => text.slice(...range));
      const options = { authTagLength: 16 };
      const decipher = createDecipheriv('aes-256-gcm', this.keyOf(salt), decoded(nonce), options);
      decipher.setAuthTag(decoded(tag));
      return Buffer.concat([decipher.update(decoded(ciphertext)), decipher.final()]).toString('utf8');
    } catch {
      return undefined;
    }
  }

  /** The 32 bytes are hex digits, so the key has 128 bits. The old system derives it with 32 rounds, from a random key. */
  private keyOf(salt: string): Buffer {
    const derived = pbkdf2Sync(this.config.signingKey, salt, 32, 100, 'sha256').toString('base64');
    return Buffer.from(createHash('md5').update(derived).digest('hex'));
  }
}

function parsed(json: string | undefined): Record<string, unknown> | undefined {
  if (json === undefined) return undefined;
  try {
    const content: unknown = JSON.parse(json);
    return content !== null && typeof content === 'object' ? (content as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Decodes Base64.
 * @throws if another text has the same bytes: such a token was changed, and must not be taken for a stolen one
 */
function decoded(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new TypeError('not canonical');
  return bytes;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function isSame(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
