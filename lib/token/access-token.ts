import type { Claims, SigningKeys, VerifyingKeys } from './claims.js';
import { type TokenEpochs, WITHOUT_EPOCHS } from './epoch.js';
import type { TokenConfig, UserId } from './options.js';
import { randomId } from './random-id.js';
import { VerifiedTokens } from './verified-tokens.js';

/** The user, session and lifetime for which an access token is issued. */
export interface AccessTokenSubject {
  userId: UserId;
  sessionId: string;
  type: string;
  generation: number;
  /** The application's own claims. */
  claims?: Claims | null;
  /** When the user logged in, in milliseconds since 1970. Written as the claim `auth_time`. */
  authenticatedAt: number;
  /** How the user logged in (RFC 8176). Written as the claim `amr` if it is not empty. */
  amr?: readonly string[];
  /** The expiry of the session, in milliseconds since 1970. No access token outlives it. */
  expiresAt: number;
  /** How long the token lives, in milliseconds. */
  lifetime: number;
  /** The thumbprint of the key to which the token is bound. Written as the claim `cnf` (RFC 9449 section 6.1). */
  confirmation?: string | undefined;
}

/** The claims of a verified access token. */
export interface SessionClaims {
  readonly userId: UserId;
  readonly sessionId: string;
  readonly sessionType: string;
  readonly generation: number;
  /** The id of the token: the claim `jti`. */
  readonly tokenId: string;
  /** When the token was issued, in seconds since 1970. */
  readonly issuedAt: number;
  /** When the token expires, in seconds since 1970. */
  readonly expiresAt: number;
  /** When the user logged in, in seconds since 1970. Undefined in a token of an earlier version. */
  readonly authenticatedAt?: number;
  /** How the user logged in (RFC 8176), for example `['pwd']`. Empty if it is unknown. */
  readonly amr: readonly string[];
  /**
   * The thumbprint of the key to which the token is bound (`cnf.jkt`, RFC 9449 section 6.1). Undefined if it is a bearer token.
   */
  readonly confirmation?: string;
  /** All claims, including those of the application. Frozen, because requests with the same token share them. */
  readonly claims: Readonly<Claims>;
}

/** What a process must know about access tokens to verify them. Time spans are in milliseconds. */
export type AccessTokenConfig = Pick<
  TokenConfig,
  'userIdClaim' | 'userIdType' | 'tokenTypeClaim' | 'jtiClaim' | 'clockTolerance'
>;

/** Verifies access tokens. */
export class AccessTokenReader {
  /**
   * The claims of verified tokens.
   *
   * A client sends the same token with each request, and verifying it is the most expensive part of a guard: 9 µs of a request's
   * 25 µs on Fastify. Conditions that may change are still checked each time: the times, and whether the session has ended. The
   * duration of a look-up reveals nothing about a token, because V8 hashes the whole text with a random seed per process.
   */
  private readonly verified = new VerifiedTokens();
  /** The keyring's edition for which `verified` is valid. A new edition clears it, so that no entry outlives its key. */
  private edition = 0;

  /**
   * @param now returns the database's time, in milliseconds
   * @param epochs Default: tokens state no epoch
   */
  constructor(
    private readonly keys: VerifyingKeys,
    protected readonly config: AccessTokenConfig,
    private readonly now: () => number,
    protected readonly epochs: TokenEpochs = WITHOUT_EPOCHS,
  ) {}

  /**
   * Verifies the signature, the times and the form of the claims. It does not check whether the session has ended.
   * @returns the claims, or undefined if the token is forged, expired, or not an access token of ours
   * @throws UnavailableError if the signing key may be one that this process has not read yet
   */
  verify(token: string): SessionClaims | undefined {
    if (this.edition !== this.keys.edition) this.forgetAll();
    const known = this.verified.get(token);
    const claims = known ?? this.keys.verify(token);
    const current = claims && this.fromVerifiedClaims(claims);
    if (current && !known) this.verified.add(token, claims);
    if (known && !current) this.verified.delete(token);
    return current;
  }

  /**
   * Checks the times and the form of claims whose signature is verified, for example by passport-jwt.
   * @returns undefined if the token has expired or is not an access token of ours
   */
  fromVerifiedClaims(claims: Claims): SessionClaims | undefined {
    const { tokenTypeClaim, userIdClaim, jtiClaim, clockTolerance } = this.config;
    const { sid, gen, session_type: sessionType, exp, iat, nbf = 0, auth_time: authTime, cnf } = claims;
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
      userId === undefined ||
      (cnf !== undefined && !isConfirmation(cnf))
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
      ...(cnf !== undefined && { confirmation: cnf.jkt }),
      claims,
    };
  }

  /**
   * Whether the token belongs to the current epoch of the database.
   * @param accuracy `'memory'` for a type whose ended sessions are not refused: what this process has read last decides, unless
   * it contradicts the token
   * @throws UnavailableError if the epoch must be read and cannot be
   */
  isOfCurrentEpoch({ claims }: SessionClaims, accuracy: 'fresh' | 'memory' = 'fresh'): boolean | Promise<boolean> {
    const { ep } = claims;
    if (ep !== undefined && typeof ep !== 'string') return false;
    return (accuracy === 'memory' && this.epochs.matches(ep)) || this.epochs.isCurrent(ep);
  }

  private forgetAll(): void {
    this.verified.clear();
    this.edition = this.keys.edition;
  }
}

/** Issues and verifies access tokens. They are short-lived, not stored, and name the user and the session. */
export class AccessTokens extends AccessTokenReader {
  /**
   * @param now returns the database's time, in milliseconds
   * @param epochs Default: tokens state no epoch
   */
  constructor(
    private readonly keyring: SigningKeys,
    config: AccessTokenConfig,
    now: () => number,
    epochs?: TokenEpochs,
  ) {
    super(keyring, config, now, epochs);
  }

  /**
   * Signs an access token.
   * @param issuedAt in milliseconds. Read it before the statement that grants the token, so that a revocation entry outlives it
   * @throws UnavailableError if the signing keys or the epoch have not been read yet
   */
  issue(subject: AccessTokenSubject, issuedAt: number): string {
    const { tokenTypeClaim, userIdClaim, jtiClaim } = this.config;
    const iat = Math.floor(issuedAt / 1000);
    const epoch = this.epochs.current;
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
      ...(subject.confirmation !== undefined && { cnf: { jkt: subject.confirmation } }),
      ...(epoch !== undefined && { ep: epoch }),
    };
    return this.keyring.sign(claims, 'at+jwt');
  }
}

/** Whether the claim fits the column of a generation. */
export function isGeneration(claim: unknown): claim is number {
  return Number.isInteger(claim) && (claim as number) >= 0 && (claim as number) < 2 ** 31;
}

/** Whether the claim is a time. RFC 7519 allows fractions. JSON allows 1e999, which is infinite and would never expire. */
function isInstant(claim: unknown): claim is number {
  return Number.isFinite(claim);
}

/** Whether the claim `cnf` names a key by its thumbprint. A token that is bound in another way is not ours. */
function isConfirmation(claim: unknown): claim is { jkt: string } {
  return typeof (claim as { jkt?: unknown } | null)?.jkt === 'string';
}

/** Returns the user id as a claim: `sub` must be a string (RFC 7519 section 4.1.2), any other claim keeps the type. */
export function userIdClaimOf(config: AccessTokenConfig, userId: UserId): UserId {
  return config.userIdClaim === 'sub' ? String(userId) : userId;
}

/** Returns the user id in the type that the application uses, or undefined if the claim is not a user id. */
export function readUserId(config: AccessTokenConfig, claim: unknown): UserId | undefined {
  if (typeof claim !== 'string' && typeof claim !== 'number') return undefined;
  if (config.userIdType === 'string') return String(claim);
  const id = Number(claim);
  return Number.isSafeInteger(id) && claim !== '' ? id : undefined;
}

/** Reads the expiry of an access token that this process has just issued, in milliseconds since 1970. */
export function expiryOf(issued: string): number {
  const [, payload] = issued.split('.');
  const { exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { exp: number };
  return exp * 1000;
}
