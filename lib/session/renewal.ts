import { HttpStatus } from '@nestjs/common';
import {
  DeviceProofRequiredError,
  RenewalNotAllowedError,
  SessionNotFoundError,
  SessionProofRequiredError,
  TokenNotValidError,
} from '../errors.js';
import type { SetAttributes, Telemetry } from '../telemetry/telemetry.js';
import { expiryOf } from '../token/access-token.js';
import type { TokenConfig } from '../token/options.js';
import type { RefreshTokenClaims, RefreshTokens } from '../token/refresh-token.js';
import { findActiveUser, type Users } from './authenticator.js';
import { demandOf } from './binding.js';
import type { ApplicationClaims } from './claims.js';
import type { ClientInfo } from './client-info.js';
import type { SessionEvents } from './events.js';
import type { SessionPolicies } from './policies.js';
import { assertTransport, contradicts, isRefusal, isRefused } from './refusals.js';
import type { JudgedRow } from './refresh-sql.js';
import type { RefreshStore } from './refresh-store.js';
import type { SeenGenerations } from './seen-generations.js';
import { handedOutAt } from './session.entity.js';
import { type Session, type TokenTransport, toSession } from './session.js';
import { supersededEvent } from './superseded-token.js';
import type { SessionTokens } from './tokens.js';

/** How a refresh token reached the server that asks for a renewal. */
export interface RenewOptions {
  /** How the client's token travelled. A session accepts its refresh token in one transport only. Default: it does not matter. */
  transport?: TokenTransport | undefined;
  /** Whether the request proves that its client was given the token. Without a proof, it is refused. Default: true. */
  isProven?: boolean | undefined;
  /** The client that presented the token, for the event `renewal.reused`. The session does not record it. */
  client?: ClientInfo | undefined;
  /** The framework's request, for `findActive` and `buildClaims`. The library's route passes it. */
  request?: unknown;
}

/** The result of a renewal. */
export interface RenewedAccess {
  readonly session: Session;
  readonly access: string;
  /** When the access token expires. */
  readonly expiresAt: Date;
}

/**
 * Renews access tokens for servers that render pages and cannot hand a new refresh token to the browser.
 *
 * A renewal only reads. It does not rotate, extend or end the session, and records no client: the renderer is not the client.
 *
 * - **Generation.** The access token states the generation of the *presented* token, also if the session has a later one. The
 *   holder of the presented token has shown that it has this generation, and no more. So when the access token is seen in use,
 *   it confirms nothing that is not true: after a renewal with the parent, a lost successor can still be recovered.
 * - **Lifetime.** The access token lives no longer than the row covers (`accessLifetime`), even if the policy has been
 *   lengthened since. So no statement must raise the row, and the entry of an ending outlives the token, whenever that ending
 *   commits. The time of issue is that at which the row was read.
 * - **Verdict.** A token that a refresh would treat as reused is refused, and the session goes on: pages are also rendered for
 *   slow requests with old cookies. Theft is detected by the refreshes, which decide as if there were no renewals.
 */
export class SessionRenewal {
  /**
   * @param users returns the application's users, or null if it has none
   * @param assumedAccessSeconds for a row that records no lifetime of its access tokens
   * @param hasEnded whether this process knows that a session has ended
   */
  constructor(
    private readonly refreshStore: RefreshStore,
    private readonly policies: SessionPolicies,
    private readonly refreshTokens: RefreshTokens,
    private readonly tokens: SessionTokens,
    private readonly claims: ApplicationClaims,
    private readonly users: Users,
    private readonly seen: SeenGenerations,
    private readonly events: SessionEvents,
    private readonly telemetry: Telemetry,
    private readonly config: TokenConfig,
    private readonly assumedAccessSeconds: number,
    private readonly hasEnded: (sessionId: string) => boolean,
  ) {}

  /** See `SessionService.renew`. */
  async renew(refreshToken: string | readonly string[], options: RenewOptions = {}): Promise<RenewedAccess> {
    let refusal: unknown;
    for (const token of [refreshToken].flat()) {
      try {
        return await this.telemetry.measure('renew', (setAttributes) => this.renewOne(token, options, setAttributes));
      } catch (error) {
        if (!isRefusal(error) && !(error instanceof RenewalNotAllowedError)) throw error;
        refusal ??= error;
      }
    }
    throw (refusal as Error | undefined) ?? new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
  }

  private async renewOne(
    refreshToken: string,
    { transport, isProven = true, client, request }: RenewOptions,
    setAttributes: SetAttributes,
  ): Promise<RenewedAccess> {
    const token = await this.refreshTokens.verifyCurrent(refreshToken);
    if (!token) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    const policy = this.policies.get(token.type);
    if (!policy) throw new TokenNotValidError('refresh');
    if (!isProven) throw new SessionProofRequiredError();
    if (policy.config.renewalWithin === 0) throw new RenewalNotAllowedError();
    const user = await findActiveUser(this.users, token.userId, request);
    if (!user) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);

    const row = this.hasEnded(token.sessionId) ? null : await this.refreshStore.findToJudge(token.sessionId);
    if (!row || contradicts(token, row)) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    assertTransport(row, transport);
    // A renderer cannot prove the key of a browser, which refreshes before it navigates.
    const demand = demandOf(row, policy, undefined, row.askedAt);
    if (demand === 'proof-required') throw new DeviceProofRequiredError();
    if (demand === 'too-late') throw new TokenNotValidError('refresh');
    const verdict = policy.judge(row, token, row.askedAt, this.seen.confirmedIn(row));
    setAttributes({ 'multisession.refresh.verdict': verdict.kind });
    if (verdict.kind === 'reuse')
      this.events.emit('renewal.reused', {
        ...supersededEvent(row, token, client, this.config),
        reuse: verdict.reuse,
      });
    // Only a refresh may adopt a token whose generation the database has lost.
    if (verdict.kind === 'adopt') throw new RenewalNotAllowedError();
    if (isRefused(verdict.kind)) throw new TokenNotValidError('refresh');
    if (row.askedAt - lastRefreshOf(row, token) > policy.config.renewalWithin) throw new RenewalNotAllowedError();
    this.seen.note(row.id, token.generation);

    const presented: JudgedRow = Object.assign(row, { generation: token.generation });
    const covered = row.accessLifetime ?? this.assumedAccessSeconds;
    const built = await this.claims.build(row, user, request);
    const access = this.tokens.access(presented, policy, row.askedAt, built, row.askedAt + covered * 1000);
    return { session: toSession(row, this.config), access, expiresAt: new Date(expiryOf(access)) };
  }
}

/** Returns when the holder of the token last refreshed, as far as the row and the token show it. */
function lastRefreshOf(row: JudgedRow, { jti, issuedAt }: RefreshTokenClaims): number {
  return jti === row.refreshJti ? Math.max(row.lastUpdate.getTime(), handedOutAt(row)) : issuedAt * 1000;
}
