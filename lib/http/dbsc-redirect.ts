import { Injectable } from '@nestjs/common';
import { Clock } from '../database/clock.js';
import { DeviceProofRedirect } from '../errors.js';
import { CookieEvidence } from './cookie-evidence.js';
import { DeviceProofs } from './device-proofs.js';
import type { CredentialsCarrier } from './request.js';
import { responseOf } from './response.interceptor.js';
import { SessionCookies } from './session-cookies.js';

/** The parameter of the query that marks the second request, so that no browser is redirected for ever. */
const RETURNED = 'proven';

/** How old a proof may be when the redirected request arrives, in milliseconds. It must outlast a slow network. */
const RETURN_WITHIN = 30_000;

/** How old a proof may be that needs not be made again, in milliseconds: several tabs may refresh at once. */
const JUST_NOW = 5000;

/**
 * Makes a browser prove its key before it goes on. The answer deletes the access cookie and redirects to the same route. The
 * browser then lacks the cookie that it may renew with a proof, and does so before it follows the redirect.
 */
@Injectable()
export class DbscRedirect extends DeviceProofs {
  constructor(
    private readonly clock: Clock,
    private readonly evidence: CookieEvidence,
    private readonly cookies: SessionCookies,
  ) {
    super();
  }

  /** Returns the redirect as an exception, after it has deleted the access cookie. */
  start(request: CredentialsCarrier): DeviceProofRedirect {
    this.cookies.clearAccess(responseOf(request));
    return new DeviceProofRedirect(`?${RETURNED}`);
  }

  /** Whether the request follows a redirect of `start`. */
  hasReturned({ url = '' }: CredentialsCarrier & { readonly url?: string }): boolean {
    return new URLSearchParams(url.split('?')[1]).has(RETURNED);
  }

  /** Whether the browser has just proved the key of a session: a moment ago, or before it followed a redirect of `start`. */
  isProvenNow(request: CredentialsCarrier, sessionId: string): boolean {
    return this.isProvenWithin(request, sessionId, this.hasReturned(request) ? RETURN_WITHIN : JUST_NOW);
  }

  /** Whether the browser has proved the key of a session within this time, in milliseconds. */
  isProvenWithin(request: CredentialsCarrier, sessionId: string, maxAge: number): boolean {
    const provenAt = this.evidence.provenAt(request, sessionId);
    return provenAt !== undefined && this.clock.now() <= provenAt + maxAge;
  }
}
