import { createHmac, timingSafeEqual } from 'node:crypto';
import { derivedKeys } from '../token/derived-keys.js';
import type { TokenConfig } from '../token/options.js';

const FORM = /^([0-9a-f-]{36})(?:\.([0-9a-z]{1,11}))?\.([\w-]{43})$/;

/** The content of a proof cookie. */
export interface SessionProof {
  readonly sessionId: string;
  /**
   * When the browser has last proved the key to which the session is bound, in milliseconds since 1970, by the database's clock.
   * Undefined if the session was not bound then.
   */
  readonly provenAt?: number;
}

/**
 * The value of the proof cookie: a session's id and a MAC over it. The cookie's name begins with `__Host-`, so only this host
 * can have set it. A refresh cookie says nothing of the kind: a sibling host can set one too.
 *
 * The proof is as good as long as the session, and it gives no access without a refresh token. If the session is bound to a
 * device, it also states when the device has last proved its key.
 */
export class CookieProof {
  private readonly keys: readonly Buffer[];

  /** @param config the secrets from which the keys of the MAC are derived: the first one writes, and each is accepted */
  constructor(config: Pick<TokenConfig, 'managed' | 'keys'>) {
    this.keys = derivedKeys(config, 'cookie proof');
  }

  /** Returns the proof of a session. */
  write(sessionId: string, provenAt?: number): string {
    const text = provenAt === undefined ? sessionId : `${sessionId}.${Math.floor(provenAt).toString(36)}`;
    return `${text}.${mac(this.keys[0], text).toString('base64url')}`;
  }

  /** Returns what the text proves; undefined if it is not a proof of ours. */
  read(text: string): SessionProof | undefined {
    const [, sessionId, provenAt, code] = FORM.exec(text) ?? [];
    if (sessionId === undefined) return undefined;
    const signed = text.slice(0, -code.length - 1);
    const given = Buffer.from(code, 'base64url');
    if (!this.keys.some((key) => timingSafeEqual(mac(key, signed), given))) return undefined;
    return provenAt === undefined ? { sessionId } : { sessionId, provenAt: parseInt(provenAt, 36) };
  }
}

function mac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
