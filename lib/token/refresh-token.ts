import { isGeneration, readUserId, userIdClaimOf } from './access-token.js';
import type { Keyring } from './keyring.js';
import type { TokenConfig, UserId } from './options.js';
import { randomId } from './random-id.js';

/** What a refresh token states. It takes the signing key and the session's row to make one; neither alone will do. */
export interface RefreshTokenClaims {
  readonly sessionId: string;
  readonly userId: UserId;
  readonly type: string;
  readonly generation: number;
  /** 128 random bits of this generation, in lower-case hex. */
  readonly jti: string;
  /** When the session ends, in milliseconds; null in the token of a permanent session, whose row alone knows. */
  readonly expiresAt: number | null;
  /** Since when there is this token, in seconds since 1970. */
  readonly issuedAt: number;
}

/** A refresh token to write: what it states, and since when, by which key. */
export interface RefreshTokenSource extends Omit<RefreshTokenClaims, 'issuedAt'> {
  /** Milliseconds. */
  readonly issuedAt: number;
  /** The key that signed this generation. */
  readonly kid: string;
}

const SESSION_ID = /^[0-9a-f-]{36}$/;
const JTI = /^[0-9a-f]{32}$/;

/** A refresh token is a signed statement of (session, type, generation, `jti`, `iat`, `exp`); it is never stored. */
export class RefreshTokens {
  constructor(
    private readonly keyring: Keyring,
    private readonly config: TokenConfig,
  ) {}

  /** A fresh `jti`: 128 random bits (ASVS 11.5.1). */
  static newJti(): string {
    return randomId();
  }

  /** The key that a new generation is signed with; kept in the row. */
  get kid(): string {
    return this.keyring.current.kid;
  }

  /** The same source gives the same text with a deterministic algorithm, so a successor can be handed out again. */
  issue(source: RefreshTokenSource): string {
    const { tokenTypeClaim, userIdClaim, jtiClaim } = this.config;
    const claims = {
      [tokenTypeClaim]: 'refresh',
      ...(source.expiresAt !== null && { exp: Math.floor(source.expiresAt / 1000) }),
      iat: Math.floor(source.issuedAt / 1000),
      [jtiClaim]: source.jti,
      [userIdClaim]: userIdClaimOf(this.config, source.userId),
      sid: source.sessionId,
      gen: source.generation,
      session_type: source.type,
    };
    return this.keyring.sign(claims, 'JWT', source.kid);
  }

  /** @returns what the token states, or undefined where it is none of ours. Whether it has expired, the row decides. */
  verify(token: string): RefreshTokenClaims | undefined {
    const claims = this.keyring.verify(token);
    if (!claims) return undefined;
    const { tokenTypeClaim, userIdClaim, jtiClaim } = this.config;
    const { sid, gen, session_type: type, exp, iat } = claims;
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
      userId === undefined
    ) {
      return undefined;
    }
    const expiresAt = exp === undefined ? null : (exp as number) * 1000;
    return { sessionId: sid, userId, type, generation: gen, jti, expiresAt, issuedAt: iat as number };
  }
}
