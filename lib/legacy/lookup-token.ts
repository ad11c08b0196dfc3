import type { KeyObject } from 'node:crypto';
import type { AliasStore } from '../session/alias-store.js';
import type { OldAccessToken, OldAccessTokens } from '../session/old-access.js';
import type { SessionEntity } from '../session/session.entity.js';
import { OldJwts } from './old-jwt.js';
import type { LegacyTokenConfig } from './options.js';

/** Reads the tokens of django-token-manager: JWTs that practically never expire, and name a row by its `lookup_id`. */
export class LookupTokens implements OldAccessTokens {
  private readonly jwts: OldJwts;

  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    private readonly config: LegacyTokenConfig,
    private readonly aliases: AliasStore,
    private readonly now: () => number,
  ) {
    this.jwts = new OldJwts(config.verifyingKey as KeyObject, config.algorithm);
  }

  verify(text: string): OldAccessToken | undefined {
    const claims = this.now() < this.config.until ? this.jwts.verify(text) : undefined;
    if (!claims) return undefined;
    const { lookup_id: lookupId, user_id: userId, exp } = claims;
    const isUserId = typeof userId === 'string' || typeof userId === 'number';
    if (!Number.isSafeInteger(lookupId) || !isUserId || !Number.isFinite(exp)) return undefined;
    return { oldKey: String(lookupId), userId, expiresAt: exp as number, claims: Object.freeze(claims) };
  }

  find({ oldKey }: OldAccessToken): Promise<SessionEntity | null> {
    return this.aliases.findByKey('django-token-manager', oldKey);
  }
}
