import type { AccessCall, AccessSenders } from '../binding/access-sender.js';
import type { RemoteClock } from '../database/remote-clock.js';
import { feedTimeout } from '../engine/timing.js';
import type { RevokedSessions } from '../revocation/revoked-sessions.js';
import { AccessTokenReader, type SessionClaims } from '../token/access-token.js';
import type { FeedReceiver } from './feed-receiver.js';
import type { IssuerApi } from './issuer-api.js';
import type { IssuerKeys } from '../token/issuer-keys.js';
import type { IssuerState, KnownType } from './issuer-state.js';
import type { VerifierConfig } from './options.js';
import { RefusedError } from './refused-error.js';
import { SenderRefusedError } from './sender-refused-error.js';

/** How long a token of a newer epoch waits for the feed to tell of it, in milliseconds. */
const MAX_EPOCH_WAIT = 2000;

/**
 * Decides whether an access token is accepted, from the keys and the feed of the issuer. The same rules as in the issuer hold,
 * with one difference: where the issuer reads the session's row, this asks the issuer. If it cannot know, it refuses with 503.
 */
export class RemoteAccess {
  private reader?: AccessTokenReader;
  /** The state for which `reader` was made. */
  private readerText?: string;

  constructor(
    private readonly config: Pick<VerifierConfig, 'maxStaleness'>,
    private readonly api: Pick<IssuerApi, 'isActive'>,
    private readonly keys: IssuerKeys,
    private readonly feed: Pick<FeedReceiver, 'state' | 'hasPolledAfter'>,
    private readonly revoked: RevokedSessions,
    private readonly clock: RemoteClock,
    private readonly senders: AccessSenders,
  ) {}

  /**
   * Verifies an access token. It answers synchronously if memory is enough.
   * @param call the request, for a token that is bound to a key. Several checks of one request must give the same object, because
   * a proof is accepted once. Default: the token must be a bearer token
   * @throws RefusedError with the code `token_not_valid` if the token is forged or expired, or its session has ended
   * @throws RefusedError with the code `device_proof_required`, `invalid_dpop_proof` or `use_dpop_nonce` if the token is bound to a
   * key, and the call does not prove that it comes from the holder
   * @throws RefusedError with the code `unavailable` if it cannot know now
   */
  verify(token: string, call?: AccessCall): SessionClaims | Promise<SessionClaims> {
    const state = this.knownState();
    const claims = this.readerFor(state).verify(token);
    if (claims) return this.admit(token, claims, state, call);
    if (this.keys.isUnknown(token)) return this.verifyWithNewKeys(token, call);
    throw new RefusedError('token_not_valid');
  }

  /**
   * Checks whether a session whose token was verified earlier is still live. If there are more ended sessions than
   * `maxEntries`, it cannot know, because it has no token to show to the issuer.
   * @throws RefusedError as `verify` does
   */
  check(session: SessionClaims): void {
    const state = this.knownState();
    if (!this.revoked.isComplete) unavailable('there are more ended sessions than maxEntries');
    if (!isOfEpoch(session, state) || this.revoked.has(session.sessionId)) throw new RefusedError('token_not_valid');
  }

  /** Returns the issuer's time in milliseconds since 1970. */
  now(): number {
    return this.clock.read() ?? unavailable('the issuer has not answered yet');
  }

  /** Whether tokens can be verified now. */
  get isReady(): boolean {
    return this.keys.isUsable && this.revoked.isUpToDate() && this.feed.state !== undefined;
  }

  private knownState(): IssuerState {
    const { state } = this.feed;
    if (!state || !this.revoked.isUpToDate()) return unavailable('the issuer has not answered for too long');
    if (!this.keys.isUsable) return unavailable('the public keys of the issuer could not be loaded');
    return state;
  }

  private readerFor({ tokens, text }: IssuerState): AccessTokenReader {
    if (!this.reader || this.readerText !== text) {
      const config = {
        userIdClaim: tokens.user_id_claim,
        userIdType: tokens.user_id_type,
        tokenTypeClaim: tokens.token_type_claim,
        jtiClaim: tokens.jti_claim,
        clockTolerance: tokens.clock_tolerance,
      };
      this.reader = new AccessTokenReader(this.keys, config, () => this.now());
      this.readerText = text;
    }
    return this.reader;
  }

  private async verifyWithNewKeys(token: string, call?: AccessCall): Promise<SessionClaims> {
    await this.keys.reload().catch((error: unknown) => unavailable('the public keys could not be loaded', error));
    const state = this.knownState();
    const claims = this.readerFor(state).verify(token);
    if (!claims) throw new RefusedError('token_not_valid');
    return this.admit(token, claims, state, call);
  }

  private admit(
    token: string,
    claims: SessionClaims,
    state: IssuerState,
    call?: AccessCall,
  ): SessionClaims | Promise<SessionClaims> {
    const type = state.types.get(claims.sessionType) ?? state.types.get(claims.sessionType.trim().toUpperCase());
    // Fail closed if the issuer no longer has the type.
    if (!type || this.isOutlived(claims, type, state)) throw new RefusedError('token_not_valid');
    if (call !== undefined || claims.confirmation !== undefined) this.assertSender(token, claims, call);
    return isOfEpoch(claims, state) ? this.admitByType(token, claims, type) : this.admitByEpoch(token, claims, type);
  }

  private assertSender(token: string, { confirmation }: SessionClaims, call?: AccessCall): void {
    const refusal = this.senders.refusalOf(token, confirmation, call);
    if (refusal) throw new SenderRefusedError(refusal);
  }

  /** A token may state a newer epoch than the last answer. Its issuer has then polled later than the one that answered. */
  private async admitByEpoch(token: string, claims: SessionClaims, type: KnownType): Promise<SessionClaims> {
    const issuedBefore = (claims.issuedAt + 1) * 1000;
    if (!(await this.feed.hasPolledAfter(issuedBefore, MAX_EPOCH_WAIT)))
      unavailable('the token may be of a newer epoch than the last answer of the issuer');
    if (isOfEpoch(claims, this.knownState())) return this.admitByType(token, claims, type);
    throw new RefusedError('token_not_valid');
  }

  private admitByType(token: string, claims: SessionClaims, type: KnownType): SessionClaims | Promise<SessionClaims> {
    const { accessCheck, name } = type;
    const admitted = claims.sessionType === name ? claims : { ...claims, sessionType: name };
    if (accessCheck === 'session' || (accessCheck === 'blacklist' && !this.revoked.isComplete))
      return this.admitByIssuer(token, admitted);
    if (accessCheck === 'blacklist' && this.revoked.has(claims.sessionId)) throw new RefusedError('token_not_valid');
    return admitted;
  }

  private async admitByIssuer(token: string, claims: SessionClaims): Promise<SessionClaims> {
    const isActive = await this.api
      .isActive(token, feedTimeout(this.config.maxStaleness))
      .catch((error: unknown) => unavailable('the issuer could not be asked about a token', error));
    if (isActive) return claims;
    throw new RefusedError('token_not_valid');
  }

  /** A shorter lifetime reaches tokens that were issued before. */
  private isOutlived(
    { issuedAt }: SessionClaims,
    { accessTokenLifetime }: KnownType,
    { tokens }: IssuerState,
  ): boolean {
    return this.now() >= issuedAt * 1000 + accessTokenLifetime + tokens.clock_tolerance;
  }
}

function isOfEpoch({ claims: { ep } }: SessionClaims, { epoch }: IssuerState): boolean {
  return (ep ?? epoch.first) === epoch.current;
}

function unavailable(reason: string, cause?: unknown): never {
  throw new RefusedError('unavailable', new Error(reason, { cause }));
}
