import type { Claims, Keyring } from './keyring.js';
import type { TokenConfig, UserId } from './options.js';
import { randomId } from './random-id.js';

/** Whom and what an access token speaks for. */
export interface AccessTokenSubject {
  userId: UserId;
  sessionId: string;
  type: string;
  generation: number;
  /** The application's own claims. */
  claims?: Claims | null;
  /** When the user logged in, in milliseconds: the claim `auth_time`. */
  authenticatedAt: number;
  /** How (RFC 8176): the claim `amr`, where it is known. */
  amr?: readonly string[];
  /** When the session ends, in milliseconds: no access token outlives it. */
  expiresAt: number;
  /** Milliseconds. */
  lifetime: number;
}

/** What a verified access token says. */
export interface SessionClaims {
  readonly userId: UserId;
  readonly sessionId: string;
  readonly sessionType: string;
  readonly generation: number;
  /** The token's own id. */
  readonly tokenId: string;
  /** Seconds since 1970. */
  readonly issuedAt: number;
  /** Seconds since 1970. */
  readonly expiresAt: number;
  /** When the user logged in, in seconds since 1970; undefined in a token of an earlier version. */
  readonly authenticatedAt?: number;
  /** How the user logged in (RFC 8176), `['pwd']` for one; empty where it is not known. */
  readonly amr: readonly string[];
  /** All claims, the application's own among them. */
  readonly claims: Readonly<Claims>;
}

/** How many verified tokens are remembered, and how long one may be: some 10 MB at most. */
const MAX_REMEMBERED = 10_000;
const MAX_REMEMBERED_LENGTH = 4096;

/** Short-lived, stateless, one per refresh: says who the user is and by which session. */
export class AccessTokens {
  /**
   * The claims of tokens whose signature has been found good, the oldest first. A client shows the same token at each request,
   * and verifying it is most of what a guard costs: 9 µs of the 25 of a request on Fastify. What may change, the times and
   * whether the session has ended, is looked at each time. How long a look-up takes tells nothing of a token: its text is hashed by a seed that
   * is drawn for each process, and found as a whole or not at all.
   */
  private readonly verified = new Map<string, Claims>();
  /** Of the keyring that `verified` was verified with: no entry outlives its key. */
  private edition = 0;

  /**
   * @param now the time that tokens go by, in milliseconds
   */
  constructor(
    private readonly keyring: Keyring,
    private readonly config: TokenConfig,
    private readonly now: () => number,
  ) {}

  /** @param issuedAt milliseconds; taken before the statement that grants the token, so that a blacklist entry outlives it */
  issue(subject: AccessTokenSubject, issuedAt: number): string {
    const { tokenTypeClaim, userIdClaim, jtiClaim } = this.config;
    const iat = Math.floor(issuedAt / 1000);
    const claims = {
      ...subject.claims,
      [tokenTypeClaim]: 'access',
      exp: Math.min(iat + subject.lifetime / 1000, Math.floor(subject.expiresAt / 1000)),
      iat,
      [jtiClaim]: randomId(),
      [userIdClaim]: userIdClaimOf(this.config, subject.userId),
      sid: subject.sessionId,
      gen: subject.generation,
      session_type: subject.type,
      auth_time: Math.floor(subject.authenticatedAt / 1000),
      ...(subject.amr?.length && { amr: subject.amr }),
    };
    return this.keyring.sign(claims, 'at+jwt');
  }

  /** @returns what the token says, or undefined where it is forged, expired, or no access token of ours */
  verify(token: string): SessionClaims | undefined {
    if (this.edition !== this.keyring.edition) this.forgetAll();
    const known = this.verified.get(token);
    const claims = known ?? this.keyring.verify(token);
    const current = claims && this.fromVerifiedClaims(claims);
    if (current && !known) this.remember(token, current.claims);
    if (known && !current) this.verified.delete(token);
    return current;
  }

  /** The same for claims whose signature has been verified elsewhere, as passport-jwt does. */
  fromVerifiedClaims(claims: Claims): SessionClaims | undefined {
    const { tokenTypeClaim, userIdClaim, jtiClaim, clockTolerance } = this.config;
    const { sid, gen, session_type: sessionType, exp, iat, nbf = 0, auth_time: authTime } = claims;
    const tokenId = claims[jtiClaim];
    const userId = readUserId(this.config, claims[userIdClaim]);
    if (
      claims[tokenTypeClaim] !== 'access' ||
      typeof sid !== 'string' ||
      typeof sessionType !== 'string' ||
      typeof tokenId !== 'string' ||
      !isGeneration(gen) ||
      !isInstant(iat) ||
      !isInstant(exp) ||
      !isInstant(nbf) ||
      userId === undefined
    ) {
      return undefined;
    }
    const now = this.now();
    if (now >= exp * 1000 + clockTolerance || now < nbf * 1000 - clockTolerance) return undefined;
    return {
      userId,
      sessionId: sid,
      sessionType,
      generation: gen,
      tokenId,
      issuedAt: iat,
      expiresAt: exp,
      ...(isInstant(authTime) && { authenticatedAt: authTime }),
      amr: Array.isArray(claims.amr) ? (claims.amr as string[]) : [],
      claims,
    };
  }

  private forgetAll(): void {
    this.verified.clear();
    this.edition = this.keyring.edition;
  }

  private remember(token: string, claims: Claims): void {
    deepFreeze(claims);
    if (token.length > MAX_REMEMBERED_LENGTH) return;
    this.verified.set(token, claims);
    if (this.verified.size > MAX_REMEMBERED) this.verified.delete(this.verified.keys().next().value as string);
  }
}

/** What one request does to the claims, no other must see. */
function deepFreeze(value: object): void {
  for (const member of Object.values(value) as unknown[]) {
    if (member !== null && typeof member === 'object') deepFreeze(member);
  }
  Object.freeze(value);
}

/** What the column of a generation holds. */
export function isGeneration(claim: unknown): claim is number {
  return Number.isInteger(claim) && (claim as number) >= 0 && (claim as number) < 2 ** 31;
}

/** RFC 7519 allows fractions; JSON allows 1e999, which would never be past. */
function isInstant(claim: unknown): claim is number {
  return Number.isFinite(claim);
}

/** Under `sub` a number is written as text, as RFC 7519 section 4.1.2 has it; under any other name as it is. */
export function userIdClaimOf(config: TokenConfig, userId: UserId): UserId {
  return config.userIdClaim === 'sub' ? String(userId) : userId;
}

/** The id in the kind that the application uses, or undefined where the claim holds none. */
export function readUserId(config: TokenConfig, claim: unknown): UserId | undefined {
  if (typeof claim !== 'string' && typeof claim !== 'number') return undefined;
  if (config.userIdType === 'string') return String(claim);
  const id = Number(claim);
  return Number.isSafeInteger(id) && claim !== '' ? id : undefined;
}
