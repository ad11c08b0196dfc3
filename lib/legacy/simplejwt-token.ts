import type { KeyObject } from 'node:crypto';
import { OldJwts } from './old-jwt.js';
import type { OldToken, OldTokenReader } from './old-token.js';
import type { LegacyTokenConfig } from './options.js';

const JTI = /^[0-9a-f]{32}$/;

/** Reads the refresh tokens of simplejwt_multisessions: JWTs whose `jti` the alias of the session has as a hash. */
export class SimpleJwtReader implements OldTokenReader {
  readonly system = 'simplejwt-multisessions';
  private readonly jwts: OldJwts;

  constructor(private readonly config: LegacyTokenConfig) {
    this.jwts = new OldJwts(config.verifyingKey as KeyObject, config.algorithm);
  }

  read(text: string): OldToken | undefined {
    const claims = this.jwts.verify(text);
    if (claims?.token_type !== 'refresh') return undefined;
    const { jti } = claims;
    const userId = claims[this.config.userIdClaim];
    const isUserId = typeof userId === 'string' || typeof userId === 'number';
    if (typeof jti !== 'string' || !JTI.test(jti) || !isUserId) return undefined;
    return { foundBy: { token: jti }, tokenKey: jti, userId };
  }
}
