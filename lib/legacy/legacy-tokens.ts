import { aliasTokenOf, legacyJtiOf } from '../session/alias.js';
import type { AliasStore } from '../session/alias-store.js';
import type { OldRefreshTokens, PresentedToken } from '../session/presented-token.js';
import type { SessionEntity } from '../session/session.entity.js';
import { userIdOf } from '../session/session.js';
import type { TokenEpochs } from '../token/epoch.js';
import type { TokenConfig } from '../token/options.js';
import { DeviceTokenReader } from './device-token.js';
import type { OldToken, OldTokenReader } from './old-token.js';
import type { LegacyTokenConfig } from './options.js';
import { SimpleJwtReader } from './simplejwt-token.js';
import { SuperTokensReader } from './supertokens-token.js';

/** An old token with the names that a row has for it. */
interface NamedToken {
  /** The name of the token itself. */
  readonly jti: string;
  /** The name of the token that it replaces. Undefined if it does not state one. */
  readonly parentJti: string | undefined;
  readonly replaceAtFirstUse: boolean;
}

/**
 * Finds the sessions of old refresh tokens and permanent tokens, and states each token as one of our own. The rule of rotation
 * then judges it like any other: an imported row begins with the old token as its current one, in generation 0.
 */
export class LegacyTokens implements OldRefreshTokens {
  private readonly readers: readonly (readonly [OldTokenReader, LegacyTokenConfig])[];

  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    configs: readonly LegacyTokenConfig[],
    private readonly aliases: AliasStore,
    private readonly epochs: TokenEpochs,
    private readonly now: () => number,
    private readonly tokens: TokenConfig,
  ) {
    this.readers = configs.flatMap((config) => {
      const reader = readerOf(config);
      return reader ? [[reader, config] as const] : [];
    });
  }

  read(text: string): Promise<PresentedToken | undefined> | undefined {
    for (const [reader, config] of this.readers) {
      const token = this.now() < config.until ? reader.read(text) : undefined;
      if (token) return this.find(reader, config, token);
    }
    return undefined;
  }

  private async find(
    { system }: OldTokenReader,
    { replaceAtFirstUse }: LegacyTokenConfig,
    { foundBy, tokenKey, parentTokenKey, userId }: OldToken,
  ): Promise<PresentedToken | undefined> {
    // Old tokens state no epoch, so they belong to the first one.
    if (!(await this.epochs.isCurrent(undefined))) return undefined;
    const row =
      'token' in foundBy
        ? await this.aliases.findByToken(system, foundBy.token)
        : await this.aliases.findByKey(system, foundBy.oldKey);
    if (!row || (userId !== undefined && !this.isUserOf(row, userId))) return undefined;
    const jtiOf = (key: string) => legacyJtiOf(aliasTokenOf(system, key));
    const parentJti = parentTokenKey === undefined ? undefined : jtiOf(parentTokenKey);
    return { ...this.inRow(row, { jti: jtiOf(tokenKey), parentJti, replaceAtFirstUse }), foundIn: row };
  }

  /** Whether the token names the user of the row. For SuperTokens, 2 and "2" are different users, so types count too. */
  private isUserOf(row: SessionEntity, userId: string | number): boolean {
    return row.userId === String(userId) && (typeof userId === 'string' || this.tokens.userIdType === 'number');
  }

  /** States the token with the generation that it has for this row. */
  private inRow(row: SessionEntity, named: NamedToken): PresentedToken {
    const { jti, parentJti, replaceAtFirstUse } = named;
    const common = {
      sessionId: row.id,
      userId: userIdOf(row, this.tokens),
      type: row.type,
      expiresAt: row.expiresAt.getTime(),
      issuedAt: Math.floor(row.createdAt.getTime() / 1000),
      inRow: (other: SessionEntity) => this.inRow(other, named),
    };
    // The successor of the current token, which has not been seen yet. Its first use replaces the current token for good.
    if (parentJti === row.refreshJti)
      return { ...common, jti: parentJti, parentJti: jti, generation: row.generation, isReplaced: true };
    const isParent = jti === row.parentJti;
    const generation = jti === row.refreshJti ? row.generation : isParent ? (row.parentGeneration ?? 0) : 0;
    return { ...common, jti, generation, isReplaced: replaceAtFirstUse };
  }
}

function readerOf(config: LegacyTokenConfig): OldTokenReader | undefined {
  switch (config.system) {
    case 'simplejwt-multisessions':
      return new SimpleJwtReader(config);
    case 'drf-jwt-devices':
      return new DeviceTokenReader();
    case 'supertokens-django-ref-jwt':
      return new SuperTokensReader(config);
    case 'django-token-manager':
      return undefined;
  }
}
