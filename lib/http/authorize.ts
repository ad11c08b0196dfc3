import { Inject, Injectable, Logger } from '@nestjs/common';
import { NotAuthenticatedError } from '../errors.js';
import { AccessVerifier } from '../session/access-verifier.js';
import type { SessionClaims } from '../token/access-token.js';
import { DPOP_HEADER, knownCallOf } from './access-call.js';
import { accessTokenOf, sessionOfCookies, sessionOfToken } from './bearer.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { namesTarget, originalOf } from './original-request.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/**
 * Decides for a gateway whether a request may pass. The gateway forwards the headers of the request, and states its method and
 * its URL.
 */
@Injectable()
export class GatewayAuthorization {
  private readonly logger = new Logger('MultiSession');
  /** `HttpConfig` for the original requests. Gateways state a path as the client sees it, so no origin has one. */
  private readonly config: HttpConfig;
  private hasWarned = false;

  constructor(
    private readonly verifier: AccessVerifier,
    @Inject(HTTP_CONFIG) config: HttpConfig,
  ) {
    this.config = { ...config, publicOrigins: config.publicOrigins.map((origin) => new URL(origin).origin) };
  }

  /**
   * Identifies the caller by the access token or the access cookie of the request that the gateway asks about.
   * @returns the headers of the answer: who the caller is, and the nonce for the client's next DPoP proof if there is a newer one
   * @throws NotAuthenticatedError if it has neither
   * @throws TokenNotValidError if the token is not valid
   * @throws DeviceProofRequiredError if the token is bound to a key, and the request does not prove it, or the gateway does not
   * state its method and URL
   * @throws InvalidDpopProofError if the DPoP proof of the request is not valid
   * @throws UseDpopNonceError if the DPoP proof of the request has no recent nonce
   * @throws BadAuthorizationHeaderError if the authorization header is malformed
   * @throws CsrfFailedError if the session comes from a cookie and the request may be forged. Without a stated method, every
   * request may be
   * @throws UnavailableError if the check needs the database and cannot reach it
   */
  async authorize(request: CredentialsCarrier): Promise<Record<string, string>> {
    const original = originalOf(request);
    const { config, verifier } = this;
    if (headerOf(request, DPOP_HEADER) !== undefined && !namesTarget(original)) this.warnOnce();
    const token = accessTokenOf(original, config);
    const session = await (token === undefined
      ? config.cookies && sessionOfCookies(original, config.cookies, verifier)
      : sessionOfToken(token, original, config, verifier));
    if (!session) throw new NotAuthenticatedError(config.challenge);
    const nonce = knownCallOf(original)?.nextNonce;
    return { ...identityHeaders(session), ...(nonce !== undefined && { 'DPoP-Nonce': nonce }) };
  }

  private warnOnce(): void {
    if (this.hasWarned) return;
    this.hasWarned = true;
    this.logger.warn(
      'a gateway asked about a request with a DPoP proof, and did not state its method and URL, or contradicted itself; ' +
        'let it set X-Original-Method and X-Original-URI, and overwrite X-Forwarded-Host',
    );
  }
}

/** Returns the headers that tell a service behind the gateway who the caller is. All of them are always there. */
function identityHeaders({
  userId,
  sessionId,
  sessionType,
  authenticatedAt,
  expiresAt,
}: SessionClaims): Record<string, string> {
  return {
    'X-Session-User': headerSafe(String(userId)),
    'X-Session-Id': headerSafe(sessionId),
    'X-Session-Type': headerSafe(sessionType),
    'X-Session-Authenticated-At': authenticatedAt === undefined ? '' : String(authenticatedAt),
    'X-Session-Expires-At': String(expiresAt),
  };
}

/** Encodes characters that a header cannot hold, and `%`, so that no two values look the same. */
function headerSafe(text: string): string {
  return text.replace(/[^\x21-\x24\x26-\x7e]/gu, (character) => encodeURIComponent(character.toWellFormed()));
}
