import { HttpStatus } from '@nestjs/common';
import type { Clock } from '../database/clock.js';
import {
  DeviceProofRequiredError,
  SessionNotFoundError,
  SessionProofRequiredError,
  TokenNotValidError,
  UnavailableError,
} from '../errors.js';
import type { SetAttributes, Telemetry } from '../telemetry/telemetry.js';
import type { RefreshTokenClaims, RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig } from '../token/options.js';
import { LEGACY_KID } from './alias.js';
import { type AuthenticatedUser, findActiveUser, type Users } from './authenticator.js';
import { demandOf, isFirstProof } from './binding.js';
import type { ApplicationClaims } from './claims.js';
import type { ChangeLog, SessionNoted } from './change-log.js';
import { type ClientInfo, fitClientInfo, isAnotherClient } from './client-info.js';
import type { EndReasons } from './end-reasons.js';
import type { SessionEndings } from './endings.js';
import type { SessionEvents } from './events.js';
import type { SessionPolicies } from './policies.js';
import type { SessionPolicyService, Verdict } from './policy.js';
import type { PresentedToken, PresentedTokens } from './presented-token.js';
import type { JudgedRow } from './refresh-sql.js';
import type { RefreshedSession, RefreshOptions } from './refreshed-session.js';
import { accepts, assertTransport, contradicts, isRefusal, isRefused, type Refusal } from './refusals.js';
import type { SeenGenerations } from './seen-generations.js';
import { toSession } from './session.js';
import type { SessionEntity } from './session.entity.js';
import type { Refresher, RefreshStore } from './refresh-store.js';
import type { SessionStore } from './store.js';
import type { SessionTokens } from './tokens.js';
import { type Granted, VerdictActions } from './verdict-actions.js';

/** Maximum number of times that a refresh reads the row. It reads again if another request has just changed the row. */
const MAX_ATTEMPTS = 5;

/**
 * Refreshes sessions.
 *
 * 1. Verify the token's signature, and check its type and its user.
 * 2. `refreshUnread`: try one statement, a compare-and-swap on the values in the token. Most refreshes end here.
 * 3. Otherwise read the row and compare its binding with the proof in the request: `assertDemandMet`.
 * 4. Let `SessionPolicyService.judge` give the verdict, and let `VerdictActions.carryOut` act on it.
 */
export class SessionRefresh {
  private readonly actions: VerdictActions;

  /** @param users returns the application's users, or null if it has none */
  constructor(
    private readonly store: SessionStore,
    private readonly refreshStore: RefreshStore,
    private readonly policies: SessionPolicies,
    private readonly endings: SessionEndings,
    private readonly presented: PresentedTokens,
    private readonly refreshTokens: RefreshTokens,
    private readonly tokens: SessionTokens,
    private readonly claims: ApplicationClaims,
    private readonly users: Users,
    private readonly seen: SeenGenerations,
    private readonly events: SessionEvents,
    private readonly telemetry: Telemetry,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
    private readonly changes: ChangeLog,
    private readonly reasons: EndReasons,
  ) {
    this.actions = new VerdictActions(refreshStore, endings, refreshTokens, seen, events, config, changes);
  }

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
    const token = await this.presented.read(refreshToken);
    if (!token) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    // A database that fails over may lose the ending, and bring the row back.
    if (this.store.hasEnded(token.sessionId)) throw await this.endedError(token);
    const named = this.policies.get(token.type);
    if (!named || (options.permanent && !named.config.permanent)) throw new TokenNotValidError('refresh');
    if (options.isProven === false) await this.assertTransportUnknown(token);
    if (expected && expected !== named) return this.refuseOtherType(token, named, options);
    const policy = mustReplace(token, options) ? named.replacing : named;
    const user = await this.activeUser(token, options.request);
    const client = knownClient(options.client);
    const note = client && this.changes.concerns('noted') ? clientNote(token, client) : undefined;
    const isWanted = note !== undefined || this.events.isListenedTo('session.client-changed');
    const wantsPreviousClient = client !== undefined && isWanted;
    const proof = options.proof ?? undefined;
    const by: Refresher = { client, transport: options.transport, wantsPreviousClient, proof, ...(note && { note }) };

    const unread = await this.refreshUnread(policy, token, by);
    if (unread) {
      setAttributes({ 'multisession.refresh.verdict': unread.rotated ? 'rotate' : 'keep' });
      return this.answer(unread, policy, by, user, options);
    }

    // The token alone was not enough, or another request has just changed the row. Read the row, and again after each miss.
    let known = unread === undefined ? token.foundIn : undefined;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const row = known ?? (await this.refreshStore.findToJudge(token.sessionId));
      known = undefined;
      if (!row) throw await this.endedError(token);
      if (contradicts(token, row)) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
      assertTransport(row, options.transport);
      const current = token.inRow?.(row) ?? token;
      const verdict = this.judge(policy, row, current, row.askedAt);
      setAttributes({ 'multisession.refresh.verdict': verdict.kind });
      if (verdict.kind !== 'expired') await this.assertDemandMet(policy, row, verdict, options);
      const binds = isFirstProof(row, proof);
      const noting = this.noting(by, row);
      const granted = await this.actions.carryOut(verdict, policy, row, current, binds ? boundBy(noting, row) : noting);
      if (granted && binds) this.events.emit('device.bound', { session: toSession(granted.row, this.config) });
      if (granted) return this.answer(granted, policy, by, user, options);
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
      if (await this.wouldGrant(token, options)) return this.refresh(token, options);
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
  private async wouldGrant(refreshToken: string, options: RefreshOptions): Promise<boolean> {
    const { type, transport, proof, request } = options;
    const expected = type === undefined ? undefined : this.policies.named(type);
    const token = await this.presented.read(refreshToken);
    const policy = token && this.policies.get(token.type);
    if (!policy || this.store.hasEnded(token.sessionId)) return false;
    if ((expected && expected !== policy) || !(await findActiveUser(this.users, token.userId, request))) return false;
    const row = await this.refreshStore.findToJudge(token.sessionId);
    if (!row || contradicts(token, row) || !accepts(row, transport)) return false;
    if (demandOf(row, policy, proof ?? undefined, row.askedAt) !== 'met') return false;
    const { kind } = this.judge(policy, row, token.inRow?.(row) ?? token, row.askedAt);
    return !isRefused(kind);
  }

  private judge(policy: SessionPolicyService, row: SessionEntity, token: RefreshTokenClaims, now: number): Verdict {
    // What a token that is ahead of the row states of its parent counts only if its key cannot be an old one that was stolen.
    const isDoubtful = token.generation > row.generation && !this.refreshTokens.isOfItsTime(token);
    const stated = isDoubtful ? { ...token, parentHash: undefined } : token;
    return policy.judge(row, stated, now, this.seen.confirmedIn(row));
  }

  /**
   * Refreshes with one statement, without reading the row first. The statement checks and computes everything that matters
   * from the row. The token only tells which statement to try.
   * @returns undefined if the row must be read to decide, and null if a statement found that it must
   */
  private async refreshUnread(
    policy: SessionPolicyService,
    token: PresentedToken,
    by: Refresher,
  ): Promise<Granted | null | undefined> {
    const { permanent, updateLastLogin, blacklistAfterRotation } = policy.config;
    const now = this.clock.now();
    // A browser's proof may be its first, which binds the session. Only the row shows that.
    if (by.proof?.kind === 'dbsc') return undefined;
    // The expiry of a permanent session is only in its row, and most of its refreshes do not write.
    if (permanent || token.expiresAt === null || token.expiresAt <= now) return undefined;
    const stated = { expiresAt: new Date(token.expiresAt), absoluteExpiresAt: null, createdAt: new Date(now) };
    const handsOut = policy.handsOut(stated, now);
    if (!handsOut && !updateLastLogin) return undefined;
    const before = await this.clientBefore(token, by);
    const noting = this.noting(by, before);
    if (!handsOut) {
      const kept = await this.refreshStore.touch(token, noting, policy.values);
      return kept ? { row: kept, handedOut: false, at: kept.lastUpdate.getTime(), before } : null;
    }
    const blacklistParent = blacklistAfterRotation;
    const rotated = await this.refreshStore.rotate(token, this.actions.nextGeneration(noting), policy.values, {
      blacklistParent,
    });
    return rotated ? { row: rotated, handedOut: true, rotated: true, at: rotated.rotatedAt.getTime(), before } : null;
  }

  /**
   * Returns what the row records about the client, if somebody wants to know of a change and the statement of the refresh does
   * not return it.
   */
  private async clientBefore({ sessionId }: RefreshTokenClaims, { wantsPreviousClient }: Refresher) {
    if (!wantsPreviousClient || this.refreshStore.returnsPreviousClient) return undefined;
    return (await this.store.find(sessionId)) ?? undefined;
  }

  /** Keeps the note about another client only if the statement finds out whether it is one, or if it is. */
  private noting(by: Refresher, before: ClientInfo | undefined): Refresher {
    const { client, note } = by;
    if (!note || !client || this.refreshStore.returnsPreviousClient) return by;
    if (!before || !isAnotherClient(before, client)) return { ...by, note: undefined };
    const { userAgent = null, ipAddress = null, deviceName = null } = before;
    const previous = { user_agent: userAgent, ip_address: ipAddress, device_name: deviceName };
    return { ...by, note: { ...note, details: { previous } } };
  }

  /**
   * Asserts that the request meets the binding of its session.
   *
   * A refusal changes nothing: whoever has copied a refresh token could otherwise end the session of its owner.
   * @throws DeviceProofRequiredError if the session is bound, and the request does not prove its key
   * @throws TokenNotValidError if the policy demands a binding that the session has not got in time. Its row stays until it
   * expires: if the setting was a mistake, the session is not lost
   */
  private async assertDemandMet(
    policy: SessionPolicyService,
    row: JudgedRow,
    verdict: Verdict,
    { proof, client }: RefreshOptions,
  ): Promise<void> {
    const demand = demandOf(row, policy, proof ?? undefined, row.askedAt);
    if (demand === 'met') return;
    if (demand === 'too-late') throw new TokenNotValidError('refresh');
    if (!isRefused(verdict.kind)) {
      const reason = proof ? 'other-key' : proof === null ? 'invalid' : 'missing';
      const seen = fitClientInfo(client ?? {});
      const { userAgent = null, ipAddress = null, deviceName = null } = seen;
      const noted = { id: row.id, userId: row.userId, type: row.type, userAgent, ipAddress, deviceName };
      await this.changes.note({ kind: 'noted', name: 'device.proof-failed', row: noted, details: { proof: reason } });
      this.events.emit('device.proof-failed', { session: toSession(row, this.config), reason, client: seen });
    }
    throw new DeviceProofRequiredError();
  }

  /** Refuses a token that was presented for the wrong type. If it is the session's current token, the session ends. */
  private async refuseOtherType(
    token: RefreshTokenClaims,
    policy: SessionPolicyService,
    { transport, proof }: RefreshOptions,
  ): Promise<never> {
    const row = await this.store.find(token.sessionId);
    if (!row) throw await this.endedError(token);
    assertTransport(row, transport);
    if (demandOf(row, policy, proof ?? undefined, this.clock.now()) !== 'met') throw new DeviceProofRequiredError();
    await this.endings.end(row, 'mismatch', { jti: token.jti });
    throw new TokenNotValidError('refresh');
  }

  /** Returns the error for a token whose session has ended, with the reason. */
  private async endedError(token: RefreshTokenClaims): Promise<SessionNotFoundError> {
    return new SessionNotFoundError(HttpStatus.UNAUTHORIZED, await this.reasons.of(token, this.clock.now()));
  }

  /**
   * Asserts that an unproven token may be accepted once.
   * @throws SessionProofRequiredError if the transport of its session is known
   */
  private async assertTransportUnknown({ sessionId }: RefreshTokenClaims): Promise<void> {
    const row = await this.store.find(sessionId);
    if (!row) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    if (row.transport !== null) throw new SessionProofRequiredError();
  }

  private async activeUser(token: RefreshTokenClaims, request: unknown): Promise<AuthenticatedUser> {
    const user = await findActiveUser(this.users, token.userId, request);
    if (user) return user;
    const row = await this.store.find(token.sessionId);
    if (row) await this.endings.end(row, 'user-inactive');
    throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  private async answer(
    { row, handedOut, rotated = false, isHeld = false, at, before }: Granted,
    policy: SessionPolicyService,
    { client }: Refresher,
    user: AuthenticatedUser,
    { withRefreshToken = false, salvage, request }: RefreshOptions,
  ): Promise<RefreshedSession> {
    const session = toSession(row, this.config);
    this.events.emit('session.refreshed', { session, rotated, client: client ?? fitClientInfo({}) });
    const previous = row.previousClient ?? before;
    if (client && previous && isAnotherClient(previous, client))
      this.events.emit('session.client-changed', { session, previous: fitClientInfo(previous), client });
    // An old token that is kept must not come back as one of ours: its row names no key of ours that must be retained.
    const isOurs = row.refreshKid !== LEGACY_KID;
    const refresh =
      isOurs && (handedOut || (withRefreshToken && !isHeld)) ? this.tokens.refresh(row, policy) : undefined;
    try {
      const access = this.tokens.access(row, policy, at, await this.claims.build(row, user, request));
      return refresh === undefined ? { session, access } : { session, access, refresh };
    } catch (error) {
      if (rotated && refresh !== undefined) salvage?.({ session, refresh });
      throw error;
    }
  }
}

/** Returns the client with all of its members, or undefined if nothing is known about it. */
function knownClient(client: ClientInfo | undefined): Required<ClientInfo> | undefined {
  if (!client) return undefined;
  const { ipAddress, userAgent, deviceName } = client;
  const isKnown = ipAddress !== undefined || userAgent !== undefined || deviceName !== undefined;
  return isKnown ? fitClientInfo(client) : undefined;
}

/** Whether a refresh must replace the token whatever the policy says. An old token is not handed out again, but replaced. */
function mustReplace({ isReplaced, inRow }: PresentedToken, { withRefreshToken }: RefreshOptions): boolean {
  return isReplaced === true || (inRow !== undefined && withRefreshToken === true);
}

/** Returns the refresher of a session that is bound with this refresh. */
function boundBy(by: Refresher, row: JudgedRow): Refresher {
  return { ...by, binds: true, noteOfBinding: { kind: 'noted', name: 'device.bound', row, details: {} } };
}

/** What is written if a refresh comes from another client. */
function clientNote({ sessionId, userId, type }: RefreshTokenClaims, client: Required<ClientInfo>): SessionNoted {
  const { userAgent = null, ipAddress = null, deviceName = null } = client;
  const row = { id: sessionId, userId: String(userId), type, userAgent, ipAddress, deviceName };
  return { kind: 'noted', name: 'session.client-changed', row, details: {} };
}
