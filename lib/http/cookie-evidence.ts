import { expiryOf } from '../token/access-token.js';
import type { Keyring } from '../token/keyring.js';
import type { TokenConfig } from '../token/options.js';
import { RefreshTokens } from '../token/refresh-token.js';
import { cookieValues } from './cookie-header.js';
import type { CookieConfig } from './cookie.options.js';
import { CookieProof, type SessionProof } from './cookie-proof.js';
import type { CredentialsCarrier } from './request.js';

/**
 * Maximum number of sessions that one request's cookies may name. More than one is rare: it takes a change of the option
 * `path` or `domain`, or a sibling host that sets cookies. Each may cost some statements.
 */
const MAX_SESSIONS = 3;

/** The refresh tokens of a request: one for each session, the latest session first. */
export interface RefreshCookies {
  /** The tokens to try. */
  readonly tokens: readonly string[];
  /** Whether the request proves that this host has set them. */
  readonly areProven: boolean;
}

/**
 * Reads what the cookies of a request prove. Sends no statement: it only verifies signatures.
 *
 * Any host below the same domain can set a refresh cookie. So a refresh cookie counts only together with evidence that this
 * host has set it: the proof cookie of the same session, or its access cookie. The access token may have expired.
 */
export class CookieEvidence {
  private readonly proof: CookieProof;
  private readonly refreshTokens: RefreshTokens;

  constructor(
    private readonly cookies: CookieConfig | false,
    private readonly tokens: TokenConfig,
    private readonly keyring: Keyring,
  ) {
    this.proof = new CookieProof(tokens);
    this.refreshTokens = new RefreshTokens(keyring, tokens);
  }

  /**
   * Returns the value of the proof cookie for a session.
   * @param provenAt when the browser has proved the key to which the session is bound. Default: the session is not bound
   */
  proofOf(sessionId: string, provenAt?: number): string {
    return this.proof.write(sessionId, provenAt);
  }

  /**
   * Returns when the browser has last proved the key to which a session is bound, in milliseconds since 1970.
   * @returns undefined if the cookies do not say, because the session was not bound when they were set
   */
  provenAt(carrier: CredentialsCarrier, sessionId: string): number | undefined {
    const times = this.proofs(carrier).flatMap((proof) =>
      proof.sessionId === sessionId ? (proof.provenAt ?? []) : [],
    );
    return times.length > 0 ? Math.max(...times) : undefined;
  }

  /**
   * Returns the ids of the sessions that are this browser's own.
   * @throws UnavailableError if no session is proven, and a key may be one that this process has not read yet
   */
  provenSessions(carrier: CredentialsCarrier): string[] {
    const byProof = this.byProof(carrier);
    if (!this.cookies || this.cookies.isShared) return latest(byProof);
    return latest([
      ...byProof,
      ...(byProof.length > 0 ? this.byAccess(carrier).found : foundIn(this.byAccess(carrier))),
    ]);
  }

  /**
   * Returns the ids of all sessions that the cookies name with a valid signature, for a logout. A host that shares the cookies
   * can name a session too, but then it has a token of the session anyway.
   * @throws UnavailableError if no session is named, and a key may be one that this process has not read yet
   */
  namedSessions(carrier: CredentialsCarrier): string[] {
    const [access, refresh] = [this.byAccess(carrier), this.byRefresh(carrier)];
    // Each kind has its own places, so that a sibling host cannot crowd out the others.
    const named = [this.byProof(carrier), access.found, refresh.found.map(({ sessionId }) => sessionId)].flatMap(
      latest,
    );
    if (named.length === 0) throwFault(access.fault ?? refresh.fault);
    return [...new Set(named)];
  }

  /**
   * Returns the refresh tokens that are worth trying. Of each session, that is the one of the highest generation: an older one
   * could only be refused. Without evidence for any of them, all are unproven.
   * @throws UnavailableError if no token is proven, and a key may be one that this process has not read yet
   */
  refreshCookies(carrier: CredentialsCarrier): RefreshCookies {
    const proven = this.provenSessions(carrier);
    const { found, fault } = this.byRefresh(carrier);
    const all = newestOfEach(found);
    const own = all.filter(({ sessionId }) => proven.includes(sessionId));
    if (own.length === 0) throwFault(fault);
    return { tokens: (own.length > 0 ? own : all).map(({ text }) => text), areProven: own.length > 0 };
  }

  /**
   * Returns the refresh token of a session that the cookies carry. Of several, it is the one of the highest generation.
   *
   * Unlike `refreshCookies`, it asks for no evidence: the caller has a proof of the session's key.
   * @throws UnavailableError if there is none, and a key may be one that this process has not read yet
   */
  refreshCookieOf(carrier: CredentialsCarrier, sessionId: string): RefreshCookie | undefined {
    const { found, fault } = this.byRefresh(carrier);
    const own = found.filter((cookie) => cookie.sessionId === sessionId);
    if (own.length === 0) throwFault(fault);
    return own.length === 0 ? undefined : own.reduce((a, b) => (b.generation > a.generation ? b : a));
  }

  /** Whether the request carries a refresh cookie of any session. */
  carriesRefreshToken(carrier: CredentialsCarrier): boolean {
    return this.byRefresh(carrier).found.length > 0;
  }

  /** Returns the session and generation that a refresh token of ours states. */
  contentOf(refreshToken: string): Pick<RefreshCookie, 'sessionId' | 'generation'> | undefined {
    return this.refreshTokens.verify(refreshToken);
  }

  /**
   * Returns the access token of a session that the cookies carry. Of several, it is the one that expires last. It may have
   * expired.
   */
  accessCookieOf(carrier: CredentialsCarrier, sessionId: string): string | undefined {
    const own = this.accessCookies(carrier).found.filter((cookie) => cookie.sessionId === sessionId);
    return own.sort((a, b) => b.expiresAt - a.expiresAt).at(0)?.text;
  }

  private byProof(carrier: CredentialsCarrier): string[] {
    return this.proofs(carrier).map(({ sessionId }) => sessionId);
  }

  private proofs(carrier: CredentialsCarrier): SessionProof[] {
    if (!this.cookies) return [];
    return cookieValues(carrier, this.cookies, 'proof').flatMap((text) => this.proof.read(text) ?? []);
  }

  private byAccess(carrier: CredentialsCarrier): Read<string> {
    const { found, fault } = this.accessCookies(carrier);
    return { found: found.map(({ sessionId }) => sessionId), fault };
  }

  private accessCookies(carrier: CredentialsCarrier): Read<AccessCookie> {
    if (!this.cookies) return NONE;
    const { tokenTypeClaim } = this.tokens;
    return readEach(cookieValues(carrier, this.cookies, 'access'), (text) => {
      const claims = this.keyring.verify(text);
      // A refresh token has a signature too, and it must not prove itself.
      if (claims?.[tokenTypeClaim] !== 'access' || typeof claims.sid !== 'string') return undefined;
      return { text, sessionId: claims.sid, expiresAt: expiryOf(text) };
    });
  }

  private byRefresh(carrier: CredentialsCarrier): Read<RefreshCookie> {
    if (!this.cookies) return NONE;
    return readEach(cookieValues(carrier, this.cookies, 'refresh'), (text) => {
      const claims = this.refreshTokens.verify(text);
      return claims && { text, sessionId: claims.sessionId, generation: claims.generation, type: claims.type };
    });
  }
}

/** A refresh token in a cookie, whose signature is good. */
export interface RefreshCookie {
  readonly text: string;
  readonly sessionId: string;
  readonly generation: number;
  /** The session type. */
  readonly type: string;
}

interface AccessCookie {
  readonly text: string;
  readonly sessionId: string;
  /** In milliseconds since 1970. */
  readonly expiresAt: number;
}

/** What could be read of several cookies, and why one of them could not be read yet. */
interface Read<T> {
  readonly found: readonly T[];
  /** The server's fault, such as a key that it has not read yet. Undefined if every cookie was readable, or not ours. */
  readonly fault?: unknown;
}

const NONE: Read<never> = { found: [] };

/** Reads each text. One whose key is not known yet must not hide the others. */
function readEach<T>(texts: readonly string[], read: (text: string) => T | undefined): Read<T> {
  const found: T[] = [];
  let fault: unknown;
  for (const text of texts) {
    try {
      const result = read(text);
      if (result !== undefined) found.push(result);
    } catch (error) {
      fault ??= error;
    }
  }
  return { found, fault };
}

function foundIn<T>({ found, fault }: Read<T>): readonly T[] {
  if (found.length === 0) throwFault(fault);
  return found;
}

function throwFault(fault: unknown): void {
  if (fault !== undefined) throw fault as Error;
}

/** Keeps the token of the highest generation of each session, and of the sessions the latest ones. */
function newestOfEach(cookies: readonly RefreshCookie[]): RefreshCookie[] {
  const newest = new Map<string, RefreshCookie>();
  for (const cookie of cookies) {
    const known = newest.get(cookie.sessionId);
    if (!known || cookie.generation > known.generation) newest.set(cookie.sessionId, cookie);
  }
  return latest([...newest.keys()]).map((sessionId) => newest.get(sessionId) as RefreshCookie);
}

/** Session ids begin with the time of the login, so the last ones are of the latest logins. */
function latest(sessionIds: readonly string[]): string[] {
  return [...new Set(sessionIds)].sort().reverse().slice(0, MAX_SESSIONS);
}
