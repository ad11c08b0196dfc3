import { HttpStatus } from '@nestjs/common';
import type { Clock } from '../database/clock.js';
import { SessionNotFoundError, TokenNotValidError, UnavailableError } from '../errors.js';
import type { SetAttributes, Telemetry } from '../telemetry/telemetry.js';
import { type RefreshTokenClaims, RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig } from '../token/options.js';
import type { AuthenticatedUser, UserDirectory } from './authenticator.js';
import type { ApplicationClaims } from './claims.js';
import { type ClientInfo, fitClientInfo, latestClient } from './client-info.js';
import type { SessionEndings } from './endings.js';
import type { SessionEvents, SupersededTokenEvent } from './events.js';
import type { SessionPolicies } from './policies.js';
import type { SessionPolicyService, Verdict } from './policy.js';
import type { SeenGenerations } from './seen-generations.js';
import { type Session, toSession } from './session.js';
import { handedOutAt, type SessionEntity } from './session.entity.js';
import type { NextGeneration, SessionStore } from './store.js';
import type { SessionTokens } from './tokens.js';

/** The result of a refresh. `refresh` is present only if the client has to store it. */
export interface RefreshedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh?: string;
}

/** Conditions on the refresh token, and the client that sends it. */
export interface RefreshOptions {
  /** The type that the session must have. If the current token of a session has another type, the session ends. */
  type?: string;
  /**
   * If true, accepts only tokens of permanent sessions. Any other token is refused, and its session stays. Default: false.
   */
  permanent?: boolean;
  /** The client that sends the token. A new generation stores it in the session. */
  client?: ClientInfo;
}

/** Maximum number of times that a refresh reads the row. It reads again if another request has just changed the row. */
const MAX_ATTEMPTS = 5;

/**
 * Refreshes sessions.
 *
 * 1. Verify the token's signature, and check its type and its user.
 * 2. `refreshUnread`: try one statement, a compare-and-swap on the values in the token. Most refreshes end here.
 * 3. Otherwise read the row, let `SessionPolicyService.judge` give the verdict, and let `carryOut` act on it.
 */
export class SessionRefresh {
  /** @param users returns the application's users, or null if it has none */
  constructor(
    private readonly store: SessionStore,
    private readonly policies: SessionPolicies,
    private readonly endings: SessionEndings,
    private readonly refreshTokens: RefreshTokens,
    private readonly tokens: SessionTokens,
    private readonly claims: ApplicationClaims,
    private readonly users: () => UserDirectory | null,
    private readonly seen: SeenGenerations,
    private readonly events: SessionEvents,
    private readonly telemetry: Telemetry,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /** See `SessionService.refresh`. */
  async refresh(refreshToken: string | readonly string[], options: RefreshOptions = {}): Promise<RefreshedSession> {
    if (typeof refreshToken !== 'string') return this.refreshOneOf(refreshToken, options);
    return this.telemetry.measure('refresh', (setAttributes) => this.refreshOne(refreshToken, options, setAttributes));
  }

  private async refreshOne(
    refreshToken: string,
    options: RefreshOptions,
    setAttributes: SetAttributes,
  ): Promise<RefreshedSession> {
    const expected = options.type === undefined ? undefined : this.policies.named(options.type);
    const token = this.refreshTokens.verify(refreshToken);
    if (!token) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    const policy = this.policies.get(token.type);
    if (!policy || (options.permanent && !policy.config.permanent)) throw new TokenNotValidError('refresh');
    if (expected && expected !== policy) return this.refuseOtherType(token);
    const user = await this.activeUser(token);

    let now = this.clock.now();
    const unread = await this.refreshUnread(policy, token, now, options.client);
    if (unread) {
      setAttributes({ 'multisession.refresh.verdict': unread.rotated ? 'rotate' : 'keep' });
      return this.answer(unread, policy, now, user);
    }

    // The token alone was not enough, or another request has just changed the row. Read the row, and again after each miss.
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      now = this.clock.now();
      const row = await this.store.find(token.sessionId);
      if (!row || contradicts(token, row)) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
      const verdict = this.judge(policy, row, token, now);
      setAttributes({ 'multisession.refresh.verdict': verdict.kind });
      const granted = await this.carryOut(verdict, policy, row, token, now, options.client);
      if (granted) return this.answer(granted, policy, now, user);
    }
    throw new UnavailableError(new Error(`a session changed during each of ${MAX_ATTEMPTS} attempts to refresh it`));
  }

  /**
   * Refreshes with the first token that would be granted. If there is no such token, tries each one, which may end its
   * session.
   */
  private async refreshOneOf(refreshTokens: readonly string[], options: RefreshOptions): Promise<RefreshedSession> {
    if (refreshTokens.length === 1) return this.refresh(refreshTokens[0], options);
    for (const token of refreshTokens) {
      if (await this.wouldGrant(token, options.type)) return this.refresh(token, options);
    }
    let refusal: Refusal | undefined;
    for (const token of refreshTokens) {
      try {
        return await this.refresh(token, options);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        refusal ??= error;
      }
    }
    throw refusal ?? new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  /** Tells whether `refresh` would grant this token. Changes nothing. */
  private async wouldGrant(refreshToken: string, type: string | undefined): Promise<boolean> {
    const expected = type === undefined ? undefined : this.policies.named(type);
    const token = this.refreshTokens.verify(refreshToken);
    const policy = token && this.policies.get(token.type);
    if (!policy || (expected && expected !== policy) || !(await this.findActive(token))) return false;
    const row = await this.store.find(token.sessionId);
    if (!row || contradicts(token, row)) return false;
    const { kind } = this.judge(policy, row, token, this.clock.now());
    return kind !== 'reuse' && kind !== 'expired';
  }

  private judge(policy: SessionPolicyService, row: SessionEntity, token: RefreshTokenClaims, now: number): Verdict {
    return policy.judge(row, token, now, Math.max(row.confirmedGeneration, this.seen.highest(row.id)));
  }

  /**
   * Refreshes with one statement, without reading the row first.
   * @returns undefined if the row must be read to decide
   */
  private async refreshUnread(
    policy: SessionPolicyService,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo | undefined,
  ): Promise<Granted | undefined> {
    const { updateLastLogin, absoluteLifetime, reuseGrace, blacklistAfterRotation } = policy.config;
    // The expiry of a permanent session is only in its row, and most of its refreshes do not write.
    if (policy.config.permanent || token.expiresAt === null || token.expiresAt <= now) return undefined;
    const row = { expiresAt: new Date(token.expiresAt), absoluteExpiresAt: null };
    if (!policy.handsOut(row, now)) {
      const kept = updateLastLogin ? await this.store.touch(token, now) : null;
      return kept ? { row: kept, handedOut: false } : undefined;
    }
    const withoutBound = policy.extensionDue(row, now);
    if (withoutBound && absoluteLifetime !== undefined) return undefined;
    const next = this.nextGeneration(policy, row, now, client);
    const rotated = await this.store.rotate(token, next, now, {
      grace: reuseGrace,
      unread: true,
      withoutBound,
      blacklistParent: blacklistAfterRotation,
    });
    return rotated ? { row: rotated, handedOut: true, rotated: true } : undefined;
  }

  /**
   * Carries out a verdict.
   * @returns undefined if another request has changed the row since it was read
   * @throws TokenNotValidError if the verdict refuses the token
   */
  private async carryOut(
    verdict: Verdict,
    policy: SessionPolicyService,
    row: SessionEntity,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo | undefined,
  ): Promise<Granted | undefined> {
    const { store, events, seen } = this;
    const { permanent, updateLastLogin, reuseGrace, blacklistAfterRotation } = policy.config;
    switch (verdict.kind) {
      case 'keep': {
        if (permanent) return this.slide(policy, row, token, now);
        if (!updateLastLogin) seen.note(row.id, token.generation);
        const kept = updateLastLogin ? await store.touch(token, now) : row;
        return kept ? { row: kept, handedOut: false } : undefined;
      }
      case 'renew':
        seen.note(row.id, token.generation);
        return { row, handedOut: true };
      case 'rotate': {
        const next = this.nextGeneration(policy, row, now, client);
        const rotated = await store.rotate(token, next, now, {
          grace: reuseGrace,
          blacklistParent: blacklistAfterRotation,
        });
        return rotated ? { row: rotated, handedOut: true, rotated: true } : undefined;
      }
      case 'replay':
        events.emit('refresh.replayed', this.supersededEvent(row, token, now, client));
        return { row, handedOut: true };
      case 'recover': {
        const next = this.nextGeneration(policy, row, now, client);
        const recovered = await store.recover(row, next, now, { blacklistLost: blacklistAfterRotation });
        if (recovered) events.emit('refresh.recovered', this.supersededEvent(row, token, now, client));
        return recovered ? { row: recovered, handedOut: true, rotated: true } : undefined;
      }
      case 'reuse':
        await this.endings.end(row, 'reuse');
        events.emit('refresh.reused', { ...this.supersededEvent(row, token, now, client), reuse: verdict.reuse });
        throw new TokenNotValidError('refresh');
      case 'expired':
        await this.endings.end(row, 'expired', { expiredAt: now });
        throw permanent
          ? new TokenNotValidError('refresh', 'The permanent token has expired, and the device is logged out')
          : new TokenNotValidError('refresh');
    }
  }

  /**
   * Moves the expiry of a permanent session, counted from now. If it has moved, hands out the same token again, so that a
   * cookie gets the new expiry too.
   */
  private async slide(
    policy: SessionPolicyService,
    row: SessionEntity,
    token: RefreshTokenClaims,
    now: number,
  ): Promise<Granted | undefined> {
    const expiresAt = policy.slidingExpiry(row, now);
    if (expiresAt === undefined) return { row, handedOut: false };
    const slid = await this.store.touch(token, now, { expiresAt, touchInterval: policy.config.touchInterval });
    return slid ? { row: slid, handedOut: true } : undefined;
  }

  /** Refuses a token that was presented for the wrong type. If it is the session's current token, the session ends. */
  private async refuseOtherType(token: RefreshTokenClaims): Promise<never> {
    const row = await this.store.find(token.sessionId);
    if (!row) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    await this.endings.end(row, 'mismatch', { jti: token.jti });
    throw new TokenNotValidError('refresh');
  }

  private async activeUser(token: RefreshTokenClaims): Promise<AuthenticatedUser> {
    const user = await this.findActive(token);
    if (user) return user;
    const row = await this.store.find(token.sessionId);
    if (row) await this.endings.end(row, 'user-inactive');
    throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  private async findActive({ userId }: RefreshTokenClaims): Promise<AuthenticatedUser | null> {
    const users = this.users();
    return users?.findActive ? users.findActive(userId) : { id: userId };
  }

  private nextGeneration(
    policy: SessionPolicyService,
    row: Pick<SessionEntity, 'expiresAt' | 'absoluteExpiresAt'>,
    now: number,
    client: ClientInfo | undefined,
  ): NextGeneration {
    return {
      jti: RefreshTokens.newJti(),
      kid: this.refreshTokens.kid,
      expiresAt: policy.nextExpiry(row, now),
      ...(policy.config.updateLastLogin && { lastUpdate: now }),
      ...(client && { client: latestClient(client) }),
    };
  }

  private async answer(
    { row, handedOut, rotated = false }: Granted,
    policy: SessionPolicyService,
    now: number,
    user: AuthenticatedUser,
  ): Promise<RefreshedSession> {
    const session = toSession(row, this.config);
    this.events.emit('session.refreshed', { session, rotated });
    const access = this.tokens.access(row, policy, now, await this.claims.build(row, user));
    return handedOut ? { session, access, refresh: this.tokens.refresh(row, policy) } : { session, access };
  }

  private supersededEvent(
    row: SessionEntity,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo = {},
  ): SupersededTokenEvent {
    return {
      session: toSession(row, this.config),
      presentedGeneration: token.generation,
      currentGeneration: row.generation,
      age: now - handedOutAt(row),
      client: fitClientInfo(client),
    };
  }
}

/** A granted refresh: the row afterwards, and whether the answer carries a refresh token. */
interface Granted {
  readonly row: SessionEntity;
  readonly handedOut: boolean;
  /** Whether a new generation began. */
  readonly rotated?: boolean;
}

type Refusal = TokenNotValidError | SessionNotFoundError;

/** Distinguishes a refusal from a server fault. Another token may still be granted after a refusal, but not after a fault. */
function isRefusal(error: unknown): error is Refusal {
  return error instanceof TokenNotValidError || error instanceof SessionNotFoundError;
}

/**
 * Whether the token's type or generation contradicts the row. The library never issues such a token. To forge one, an
 * attacker needs the signing key and a token of their own.
 */
export function contradicts(token: RefreshTokenClaims, row: SessionEntity): boolean {
  return token.type !== row.type || (token.jti === row.refreshJti && token.generation !== row.generation);
}
