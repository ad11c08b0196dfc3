import { Controller, Inject, Req, SetMetadata, UseInterceptors } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { DbscChallenges, isRecent } from '../binding/dbsc-challenge.js';
import {
  CHALLENGE_HEADER,
  PROOF_HEADER,
  readProofHeader,
  readSessionIdHeader,
  SESSION_ID_HEADER,
} from '../binding/dbsc-headers.js';
import { verifyRefreshProof, verifyRegistrationProof } from '../binding/dbsc-proof.js';
import { Clock } from '../database/clock.js';
import {
  DeviceChallengeError,
  DeviceProofRequiredError,
  SessionNotFoundError,
  TokenNotValidError,
  UnavailableError,
} from '../errors.js';
import { DeviceKeys, type RegisteredKey } from '../session/device-keys.js';
import { SessionPolicies } from '../session/policies.js';
import type { RefreshedSession, RefreshOptions } from '../session/refreshed-session.js';
import { SessionService } from '../session/service.js';
import type { SessionClaims } from '../token/access-token.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { clientInfoOf } from './client-info.js';
import type { Handlers } from './contract.js';
import { CookieEvidence, type RefreshCookie } from './cookie-evidence.js';
import { CookiePath } from './cookie-path.js';
import { assertSentByBrowser } from './csrf.guard.js';
import type { DBSC_ROUTES } from './dbsc-contract.js';
import type { DeviceSessionInstructions, DeviceSessionOver } from './dbsc.dto.js';
import { DbscOffer } from './dbsc-offer.js';
import { DbscRedirect } from './dbsc-redirect.js';
import { DbscRoute } from './dbsc-route.js';
import { CurrentSession } from './decorators.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { ResponseInterceptor, responseOf } from './response.interceptor.js';
import { SessionCookies } from './session-cookies.js';

/**
 * How much longer than the lifetime of an access token a challenge is good, in milliseconds. A browser proves its key when the
 * access cookie expires, with the challenge of the last answer. After a longer pause, it gets a new challenge.
 */
const CHALLENGE_MARGIN = 600_000;

/**
 * Whether a route is exempt from the throttler `default` of @nestjs/throttler. At 429, a browser would give up the session for
 * good. The key is that of the package, which the library does not import.
 */
const SKIP_THROTTLER_OF_NEST = 'THROTTLER:SKIPdefault';

/**
 * The routes of Device Bound Session Credentials. Browsers call them by themselves: after a login to register a key, and with a
 * proof of that key whenever the access cookie has expired. They are under the path of `SessionsController`.
 *
 * The status of an answer decides over the browser's session. It keeps it at 403 with a challenge and at 5xx, and deletes it for
 * good at any other 4xx, so that the user must log in again.
 */
@Controller()
@SetMetadata(SKIP_THROTTLER_OF_NEST, true)
@UseInterceptors(AnswerHeadersInterceptor, ResponseInterceptor)
export class DbscController implements Omit<Handlers<typeof DBSC_ROUTES>, 'refresh'> {
  @Inject(HTTP_CONFIG) private readonly config!: HttpConfig;
  @Inject(SessionService) private readonly sessions!: SessionService;
  @Inject(SessionPolicies) private readonly policies!: SessionPolicies;
  @Inject(DeviceKeys) private readonly keys!: DeviceKeys;
  @Inject(DbscChallenges) private readonly challenges!: DbscChallenges;
  @Inject(DbscOffer) private readonly offer!: DbscOffer;
  @Inject(DbscRedirect) private readonly redirect!: DbscRedirect;
  @Inject(CookieEvidence) private readonly evidence!: CookieEvidence;
  @Inject(CookiePath) private readonly path!: CookiePath;
  @Inject(SessionCookies) private readonly cookies!: SessionCookies;
  @Inject(Clock) private readonly clock!: Clock;
  @Inject(HttpAdapterHost) private readonly adapterHost!: HttpAdapterHost;

  /** Registers the key of a browser for the session of a login. The first proof at `dbsc/refresh` binds the session to it. */
  @DbscRoute('register')
  async register(@Req() request: CredentialsCarrier): Promise<DeviceSessionInstructions> {
    assertSentByBrowser(request, this.config.cookies);
    const jwt = readProofHeader(headerOf(request, PROOF_HEADER));
    const proof = jwt === undefined ? undefined : verifyRegistrationProof(jwt, this.expected('register'));
    const challenge = proof && this.challenges.read('register', proof.challenge);
    if (!proof || !challenge) throw new DeviceProofRequiredError();
    const { sessionId, generation } = challenge;
    // Whoever has only seen the challenge must not be able to register a key of his own.
    const isOwn = this.evidence.provenSessions(request).includes(sessionId);
    const token = isOwn ? this.evidence.refreshCookieOf(request, sessionId) : undefined;
    if (!token || !(await this.keys.register(sessionId, proof.key))) throw new DeviceProofRequiredError();
    this.cookies.setUntilFirstProof(responseOf(request), this.evidence.accessCookieOf(request, sessionId));
    this.setChallenge(request, sessionId, Math.max(generation, token.generation));
    return {
      session_identifier: sessionId,
      refresh_url: this.path.ofDbsc('refresh') ?? '',
      scope: { include_site: false },
      credentials: [{ type: 'cookie', ...this.cookies.accessCredential(request) }],
    };
  }

  /** Refreshes a session with a proof of its key. The answer has no body, unless the session is over. */
  @DbscRoute('refresh')
  async refresh(@Req() request: CredentialsCarrier): Promise<DeviceSessionOver | undefined> {
    const sessionId = readSessionIdHeader(headerOf(request, SESSION_ID_HEADER));
    // Scripts cannot set this header, so the browser itself asks.
    if (sessionId === undefined) throw new DeviceProofRequiredError();
    const key = await this.keys.keyOf(sessionId);
    const token = key && this.evidence.refreshCookieOf(request, sessionId);
    if (!key || (!token && this.evidence.carriesRefreshToken(request))) return over(sessionId);
    // Without any cookie, the request may come from a page of another site. That must not end the session.
    if (!token || !this.policies.get(token.type)) throw new UnavailableError();
    const jwt = headerOf(request, PROOF_HEADER);
    if (jwt === undefined) throw this.newChallenge(token);
    const proof = verifyRefreshProof(readProofHeader(jwt) ?? '', key.jwk, this.expected('refresh'));
    if (!proof) return this.refuse(request, token, key);
    if (!this.isTimely(token, proof.challenge)) throw this.newChallenge(token);
    try {
      const bound = { kind: 'dbsc', thumbprint: key.thumbprint } as const;
      this.handOut(request, token, await this.sessions.refresh(token.text, { ...this.options(request), proof: bound }));
    } catch (error) {
      if (error instanceof TokenNotValidError || error instanceof SessionNotFoundError) return over(sessionId);
      throw error;
    }
  }

  /**
   * Lets the browser prove its key now: redirects it to the same route without its access cookie, so that it asks
   * `dbsc/refresh` for a new one first. The second request is answered 204.
   */
  @DbscRoute('stepUp')
  stepUp(@CurrentSession() current: SessionClaims, @Req() request: CredentialsCarrier): void {
    // With DPoP, the guard has verified a proof of this very request.
    if (current.confirmation !== undefined) return;
    if (this.evidence.provenAt(request, current.sessionId) === undefined) throw new DeviceProofRequiredError();
    if (!this.redirect.hasReturned(request)) throw this.redirect.start(request);
    if (!this.redirect.isProvenNow(request, current.sessionId)) throw new DeviceProofRequiredError();
  }

  /** Refuses a proof that is not valid. If the session is bound, the service counts and reports it. */
  private async refuse(request: CredentialsCarrier, token: RefreshCookie, key: RegisteredKey): Promise<never> {
    if (key.isBound) await this.sessions.refresh(token.text, { ...this.options(request), proof: null });
    throw new DeviceProofRequiredError();
  }

  /** Whether a proof answers the challenge that the browser got together with this refresh token, and not too late. */
  private isTimely({ sessionId, generation, type }: RefreshCookie, text: string): boolean {
    const challenge = this.challenges.read('refresh', text);
    const life = (this.policies.get(type)?.config.accessTokenLifetime ?? 0) + CHALLENGE_MARGIN;
    return (
      challenge?.sessionId === sessionId &&
      challenge.generation === generation &&
      isRecent(challenge, this.clock.now(), life)
    );
  }

  private handOut(request: CredentialsCarrier, token: RefreshCookie, refreshed: RefreshedSession): void {
    this.cookies.setProven(responseOf(request), refreshed);
    const { generation } = (refreshed.refresh && this.evidence.contentOf(refreshed.refresh)) || token;
    this.setChallenge(request, token.sessionId, generation);
  }

  private options(request: CredentialsCarrier): RefreshOptions {
    return {
      transport: 'cookie',
      withRefreshToken: true,
      salvage: (rotated) => this.cookies.setRefresh(responseOf(request), rotated),
      client: clientInfoOf(request),
      request,
    };
  }

  private newChallenge({ sessionId, generation }: RefreshCookie): DeviceChallengeError {
    return new DeviceChallengeError({ [CHALLENGE_HEADER]: this.offer.challenge(sessionId, generation) });
  }

  private setChallenge(request: CredentialsCarrier, sessionId: string, generation: number): void {
    const value = this.offer.challenge(sessionId, generation);
    this.adapterHost.httpAdapter.setHeader(responseOf(request), CHALLENGE_HEADER, value);
  }

  private expected(route: 'register' | 'refresh') {
    return { audience: `https://host${this.path.ofDbsc(route) ?? ''}` };
  }
}

function over(sessionId: string): DeviceSessionOver {
  return { session_identifier: sessionId, continue: false };
}
