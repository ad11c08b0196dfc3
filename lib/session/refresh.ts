import { HttpStatus } from '@nestjs/common';
import { SessionNotFoundError, TokenNotValidError, UnavailableError } from '../errors.js';
import { type RefreshTokenClaims, RefreshTokens } from '../token/refresh-token.js';
import { type ClientInfo, fitClientInfo, latestClient } from './client-info.js';
import { type Session, toSession } from './session.js';
import { handedOutAt, type SessionEntity } from './session.entity.js';
import type { SupersededTokenEvent } from './events.js';
import type { SessionParts } from './session-parts.js';
import type { NextGeneration } from './store.js';
import type { SessionPolicyService, Verdict } from './policy.js';
import type { ApplicationClaims } from './claims.js';
import type { SessionTokens } from './tokens.js';
import type { AuthenticatedUser } from './authenticator.js';

/** What a refresh hands out: `refresh` only where there is one to be stored by the client. */
export interface RefreshedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh?: string;
}

/** What a refresh is asked with, beside the token. */
export interface RefreshOptions {
  /** The type that the session must have; with another, the session is destroyed. */
  type?: string;
  /** Whether only the token of a permanent session is taken; any other is refused, and nothing happens to it. */
  permanent?: boolean;
  /** Who asks: a new generation writes it to the session. */
  client?: ClientInfo;
}

const TRIES = 5;

/** What happens on refresh. */
export class SessionRefresh {
  constructor(
    private readonly parts: SessionParts,
    private readonly tokens: SessionTokens,
    private readonly claims: ApplicationClaims,
  ) {}

  /**
   * As `SessionService.refresh` has it. When all goes well it is one statement, which rotates by compare-and-swap on what the token
   * itself states. Only where that misses is the row read, and `SessionPolicyService.judge` says what the token is.
   */
  async refresh(refreshToken: string | readonly string[], options: RefreshOptions = {}): Promise<RefreshedSession> {
    if (typeof refreshToken !== 'string') return this.refreshOneOf(refreshToken, options);
    return this.parts.telemetry.measure('refresh', (say) =>
      this.refreshOne(refreshToken, options, (verdict) => say({ 'multisession.refresh.verdict': verdict })),
    );
  }

  private async refreshOne(
    refreshToken: string,
    options: RefreshOptions,
    judged: (verdict: Verdict['kind']) => void,
  ): Promise<RefreshedSession> {
    const { policies, refreshTokens, store, clock, confirmed } = this.parts;
    const expected = options.type === undefined ? undefined : policies.named(options.type);
    const token = refreshTokens.verify(refreshToken);
    if (!token) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    const policy = policies.get(token.type);
    if (!policy || (options.permanent && !policy.config.permanent)) throw new TokenNotValidError('refresh');
    if (expected && expected !== policy) return this.refuseOtherType(token);
    const user = await this.activeUser(token);

    let now = clock.now();
    const unread = await this.refreshUnread(policy, token, now, options.client);
    if (unread) {
      judged(unread.rotated ? 'rotate' : 'keep');
      return this.refreshed(unread, policy, now, user);
    }

    // A miss of a compare-and-swap means that another request has just changed the row: read it again and judge again.
    for (let attempt = 0; attempt < TRIES; attempt++) {
      now = clock.now();
      const row = await store.find(token.sessionId);
      if (!row || contradicts(token, row)) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
      const seen = Math.max(row.confirmedGeneration, confirmed.highest(row.id));
      const verdict = policy.judge(row, token, now, seen);
      judged(verdict.kind);
      const outcome = await this.carryOut(verdict, policy, row, token, now, options.client);
      if (outcome) return this.refreshed(outcome, policy, now, user);
    }
    throw new UnavailableError(new Error('a session changed at each of several attempts to refresh it'));
  }

  /** Only where none of them would be granted is each refused as it deserves, and may end its session. */
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

  /** What `refresh` would come to, with nothing changed. */
  private async wouldGrant(refreshToken: string, type: string | undefined): Promise<boolean> {
    const { policies, refreshTokens, store, clock, confirmed } = this.parts;
    const expected = type === undefined ? undefined : policies.named(type);
    const token = refreshTokens.verify(refreshToken);
    const policy = token && policies.get(token.type);
    if (!policy || (expected && expected !== policy) || !(await this.findActive(token))) return false;
    const row = await store.find(token.sessionId);
    if (!row || contradicts(token, row)) return false;
    const seen = Math.max(row.confirmedGeneration, confirmed.highest(row.id));
    const { kind } = policy.judge(row, token, clock.now(), seen);
    return kind !== 'reuse' && kind !== 'expired';
  }

  /** The one statement of a refresh that goes well. @returns undefined where the row must be read to tell */
  private async refreshUnread(
    policy: SessionPolicyService,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo | undefined,
  ): Promise<Granted | undefined> {
    const { store } = this.parts;
    const { updateLastLogin, absoluteLifetime, reuseGrace, blacklistAfterRotation } = policy.config;
    // Where the row alone knows its end it must be read, and then there is mostly nothing to write.
    if (policy.config.permanent || token.expiresAt === null || token.expiresAt <= now) return undefined;
    const row = { expiresAt: new Date(token.expiresAt), absoluteExpiresAt: null };
    if (!policy.handsOut(row, now)) {
      const kept = updateLastLogin ? await store.touch(token, now) : null;
      return kept ? { row: kept, handedOut: false } : undefined;
    }
    const withoutBound = policy.extensionDue(row, now);
    if (withoutBound && absoluteLifetime !== undefined) return undefined;
    const next = this.nextGeneration(policy, row, now, client);
    const rotated = await store.rotate(token, next, now, {
      grace: reuseGrace,
      unread: true,
      withoutBound,
      blacklistParent: blacklistAfterRotation,
    });
    return rotated ? { row: rotated, handedOut: true, rotated: true } : undefined;
  }

  /** Does what the verdict says. @returns undefined where the row has changed meanwhile @throws where the token is refused */
  private async carryOut(
    verdict: Verdict,
    policy: SessionPolicyService,
    row: SessionEntity,
    token: RefreshTokenClaims,
    now: number,
    client: ClientInfo | undefined,
  ): Promise<Granted | undefined> {
    const { store, events, confirmed } = this.parts;
    const { permanent, updateLastLogin, reuseGrace, blacklistAfterRotation } = policy.config;
    switch (verdict.kind) {
      case 'keep': {
        if (permanent) return this.slide(policy, row, token, now);
        if (!updateLastLogin) confirmed.note(row.id, token.generation);
        const kept = updateLastLogin ? await store.touch(token, now) : row;
        return kept ? { row: kept, handedOut: false } : undefined;
      }
      case 'renew':
        confirmed.note(row.id, token.generation);
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
        await this.parts.endings.end(row, 'reuse');
        events.emit('refresh.reused', { ...this.supersededEvent(row, token, now, client), reuse: verdict.reuse });
        throw new TokenNotValidError('refresh');
      case 'expired':
        await this.parts.endings.end(row, 'expired', { expiredAt: now });
        throw permanent
          ? new TokenNotValidError('refresh', 'The permanent token has expired, and the device is logged out')
          : new TokenNotValidError('refresh');
    }
  }

  /** A permanent session lives on from here; the same token is handed out again where its end has moved, for a cookie's sake. */
  private async slide(
    policy: SessionPolicyService,
    row: SessionEntity,
    token: RefreshTokenClaims,
    now: number,
  ): Promise<Granted | undefined> {
    const expiresAt = policy.slidingExpiry(row, now);
    if (expiresAt === undefined) return { row, handedOut: false };
    const slid = await this.parts.store.touch(token, now, { expiresAt, touchInterval: policy.config.touchInterval });
    return slid ? { row: slid, handedOut: true } : undefined;
  }

  /** The session of a token that names the wrong type is destroyed, where the token is its current one. */
  private async refuseOtherType(token: RefreshTokenClaims): Promise<never> {
    const row = await this.parts.store.find(token.sessionId);
    if (!row) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    await this.parts.endings.end(row, 'mismatch', { jti: token.jti });
    throw new TokenNotValidError('refresh');
  }

  private async activeUser(token: RefreshTokenClaims): Promise<AuthenticatedUser> {
    const user = await this.findActive(token);
    if (user) return user;
    const row = await this.parts.store.find(token.sessionId);
    if (row) await this.parts.endings.end(row, 'user-inactive');
    throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  private async findActive({ userId }: RefreshTokenClaims): Promise<AuthenticatedUser | null> {
    const authenticator = this.parts.authenticator();
    return authenticator?.findActive ? authenticator.findActive(userId) : { id: userId };
  }

  private nextGeneration(
    policy: SessionPolicyService,
    row: Pick<SessionEntity, 'expiresAt' | 'absoluteExpiresAt'>,
    now: number,
    client: ClientInfo | undefined,
  ): NextGeneration {
    return {
      jti: RefreshTokens.newJti(),
      kid: this.parts.refreshTokens.kid,
      expiresAt: policy.nextExpiry(row, now),
      ...(policy.config.updateLastLogin && { lastUpdate: now }),
      ...(client && { client: latestClient(client) }),
    };
  }

  private async refreshed(
    { row, handedOut, rotated = false }: Granted,
    policy: SessionPolicyService,
    now: number,
    user: AuthenticatedUser,
  ): Promise<RefreshedSession> {
    const session = toSession(row, this.parts.tokens);
    this.parts.events.emit('session.refreshed', { session, rotated });
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
      session: toSession(row, this.parts.tokens),
      presentedGeneration: token.generation,
      currentGeneration: row.generation,
      age: now - handedOutAt(row),
      client: fitClientInfo(client),
    };
  }
}

/** A refresh that is granted: the row after it, and whether the answer carries a refresh token. */
interface Granted {
  readonly row: SessionEntity;
  readonly handedOut: boolean;
  /** Whether a new generation began. */
  readonly rotated?: boolean;
}

type Refusal = TokenNotValidError | SessionNotFoundError;

/** Told apart from a fault of the server, which no other token can make up for. */
function isRefusal(error: unknown): error is Refusal {
  return error instanceof TokenNotValidError || error instanceof SessionNotFoundError;
}

/** Who has our signing key and a token of their own could state another type or generation in it: no such token was written. */
export function contradicts(token: RefreshTokenClaims, row: SessionEntity): boolean {
  return token.type !== row.type || (token.jti === row.refreshJti && token.generation !== row.generation);
}
