import { Injectable } from '@nestjs/common';
import { DeviceProofRequiredError } from '../errors.js';
import { SessionService } from '../session/service.js';
import type { RefreshedSession } from '../session/refreshed-session.js';
import { CookieEvidence } from './cookie-evidence.js';
import { DbscRedirect } from './dbsc-redirect.js';
import { assertNotSkipped } from './dbsc-skipped.js';
import type { CredentialsCarrier } from './request.js';

/**
 * Answers `refresh/` for sessions whose browser proves their key by itself. The page need not know of it: its refresh is
 * redirected, the browser sends the proof to `dbsc/refresh` first, and the redirected request finds the new tokens.
 *
 * A copy of the cookies is redirected too, and then refused, because its holder cannot prove the key.
 */
@Injectable()
export class ProvenRefresh {
  constructor(
    private readonly sessions: SessionService,
    private readonly evidence: CookieEvidence,
    private readonly redirect: DbscRedirect,
  ) {}

  /**
   * Returns the session as the browser has just refreshed it.
   * @param tokens what `RefreshTransport.presented` has returned
   * @returns undefined if the session is not bound to a browser, as far as its cookies say, or if the browser has sent no proof.
   * The service decides then
   * @throws DeviceProofRedirect if the browser can still send a proof
   * @throws UnavailableError if the browser says that it could not send one
   */
  async answerTo(
    request: unknown,
    tokens: string | readonly string[],
  ): Promise<Pick<RefreshedSession, 'session' | 'access'> | undefined> {
    if (typeof tokens === 'string') return undefined;
    const carrier = request as CredentialsCarrier;
    const sessionIds = tokens.flatMap((token) => this.evidence.contentOf(token)?.sessionId ?? []);
    const sessionId = sessionIds.find((id) => this.evidence.provenAt(carrier, id) !== undefined);
    if (sessionId === undefined) return undefined;
    const access = this.evidence.accessCookieOf(carrier, sessionId);
    const isProven = access !== undefined && this.redirect.isProvenNow(carrier, sessionId);
    if (!isProven) {
      this.askForProof(carrier);
      return undefined;
    }
    await this.sessions.verify(access);
    const session = await this.sessions.get(sessionId);
    return session ? { session, access } : undefined;
  }

  /**
   * Refuses a refresh that the service has refused. If the answer to the first proof was lost, the session is bound and its
   * cookies do not say so. The browser can prove its key nevertheless.
   * @param error what the service has thrown
   * @throws DeviceProofRedirect if the browser can still send a proof
   * @throws UnavailableError if the browser says that it could not send one
   * @throws the error in all other cases
   */
  refuse(request: unknown, tokens: string | readonly string[], error: unknown): never {
    if (error instanceof DeviceProofRequiredError && typeof tokens !== 'string')
      this.askForProof(request as CredentialsCarrier);
    throw error;
  }

  /** Redirects a browser that has not been redirected before. */
  private askForProof(carrier: CredentialsCarrier): void {
    assertNotSkipped(carrier);
    if (!this.redirect.hasReturned(carrier)) throw this.redirect.start(carrier);
  }
}
