import { isGeneration, readUserId, userIdClaimOf } from './access-token.js';
import { type TokenEpochs, WITHOUT_EPOCHS } from './epoch.js';
import type { Keyring } from './keyring.js';
import type { TokenConfig, UserId } from './options.js';
import { parentHashOf } from './parent-hash.js';
import { randomId } from './random-id.js';

/** The verified claims of a refresh token. Issuing one requires both the signing key and the session's row. */
export interface RefreshTokenClaims {
  readonly sessionId: string;
  readonly userId: UserId;
  readonly type: string;
  readonly generation: number;
  /** 128 random bits of this generation, in lower-case hex. */
  readonly jti: string;
  /** The expiry of the session, in milliseconds since 1970. Null for a permanent session, whose expiry is only in its row. */
  readonly expiresAt: number | null;
  /** When this generation was handed out, in seconds since 1970. */
  readonly issuedAt: number;
  /** The epoch of the database in which the token was issued. Undefined in a token of version 0.1.0. */
  readonly epoch?: string;
  /** See `parentHashOf`. Undefined in the first token of a session, and in tokens of version 0.1.0. */
  readonly parentHash?: string;
  /** The id of the key that has signed the token. Undefined in a token of an old system. */
  readonly kid?: string;
}

/** Everything that determines the text of a refresh token. */
export interface RefreshTokenSource extends Omit<RefreshTokenClaims, 'issuedAt' | 'epoch' | 'parentHash'> {
  /** The `jti` of the parent generation. Default: there is none. */
  readonly parentJti?: string | null;
  /** When this generation was handed out, in milliseconds. */
  readonly issuedAt: number;
  /** The id of the key that signs this generation. */
  readonly kid: string;
}

const SESSION_ID = /^[0-9a-f-]{36}$/;
const JTI = /^[0-9a-f]{32}$/;

/**
 * Issues and verifies refresh tokens, which are never stored. A token is a signed statement of its session, type, generation,
 * `jti`, `iat` and `exp`.
 */
export class RefreshTokens {
  /** @param epochs Default: tokens state no epoch */
  constructor(
    private readonly keyring: Keyring,
    private readonly config: TokenConfig,
    private readonly epochs: TokenEpochs = WITHOUT_EPOCHS,
  ) {}

  /** Returns a new `jti`: 128 random bits (ASVS 11.5.1). */
  static newJti(): string {
    return randomId();
  }

  /** The id of the key that signs new generations. The row stores it. */
  get kid(): string {
    return this.keyring.current.kid;
  }

  /** Signs a refresh token. With a deterministic algorithm, the same source gives the same text, so it can be handed out again. */
  issue(source: RefreshTokenSource): string {
    const { tokenTypeClaim, userIdClaim, jtiClaim } = this.config;
    const epoch = this.epochs.current;
    const claims = {
      [tokenTypeClaim]: 'refresh',
      ...(source.expiresAt !== null && { exp: Math.floor(source.expiresAt / 1000) }),
      iat: Math.floor(source.issuedAt / 1000),
      [jtiClaim]: source.jti,
      [userIdClaim]: userIdClaimOf(this.config, source.userId),
      sid: source.sessionId,
      gen: source.generation,
      session_type: source.type,
      ...(epoch !== undefined && { ep: epoch }),
      ...(source.parentJti && { prt: parentHashOf(source.parentJti) }),
    };
    return this.keyring.sign(claims, 'JWT', source.kid);
  }

  /**
   * Verifies a token and its epoch. Sends a query only if memory does not know the epoch.
   * @returns the claims, or undefined if this is not a refresh token of ours, or if a restored backup has outdated it
   * @throws UnavailableError if the signing key may be one that this process has not read yet, or if the epoch cannot be read
   */
  async verifyCurrent(token: string): Promise<RefreshTokenClaims | undefined> {
    const claims = this.verify(token);
    return claims && (await this.epochs.isCurrent(claims.epoch)) ? claims : undefined;
  }

  /**
   * Verifies the signature and the form of the claims. It does not check the expiry, which the row decides, nor the epoch.
   * @returns the claims, or undefined if this is not a refresh token of ours
   * @throws UnavailableError if the signing key may be one that this process has not read yet
   */
  verify(token: string): RefreshTokenClaims | undefined {
    const claims = this.keyring.verify(token);
    if (!claims) return undefined;
    const { tokenTypeClaim, userIdClaim, jtiClaim } = this.config;
    const { sid, gen, session_type: type, exp, iat, ep, prt } = claims;
    const kid = this.keyring.keyOf(token)?.kid;
    const jti = claims[jtiClaim];
    const userId = readUserId(this.config, claims[userIdClaim]);
    if (
      claims[tokenTypeClaim] !== 'refresh' ||
      typeof sid !== 'string' ||
      typeof type !== 'string' ||
      typeof jti !== 'string' ||
      !SESSION_ID.test(sid) ||
      !JTI.test(jti) ||
      !isGeneration(gen) ||
      !Number.isSafeInteger(iat) ||
      !(exp === undefined || Number.isSafeInteger(exp)) ||
      !(ep === undefined || typeof ep === 'string') ||
      !(prt === undefined || typeof prt === 'string') ||
      userId === undefined
    ) {
      return undefined;
    }
    const expiresAt = exp === undefined ? null : (exp as number) * 1000;
    return {
      sessionId: sid,
      userId,
      type,
      generation: gen,
      jti,
      expiresAt,
      issuedAt: iat as number,
      ...(ep !== undefined && { epoch: ep }),
      ...(prt !== undefined && { parentHash: prt }),
      ...(kid !== undefined && { kid }),
    };
  }

  /**
   * Whether the key of a token was the one that signed at the token's `iat`. The thief of an older key, which only verifies, may
   * have made the token.
   */
  isOfItsTime({ kid, issuedAt }: Pick<RefreshTokenClaims, 'kid' | 'issuedAt'>): boolean {
    return kid !== undefined && this.keyring.signedAt(kid, issuedAt * 1000);
  }
}
