import { Inject, Injectable } from '@nestjs/common';
import type { IssuedSession, TokenDelivery } from '../session/new-session.js';
import type { RefreshedSession, RefreshOptions } from '../session/refreshed-session.js';
import { CookieEvidence } from './cookie-evidence.js';
import { cookieValues } from './cookie-header.js';
import { COOKIE_KINDS } from './cookie.options.js';
import { assertNotForged } from './csrf.guard.js';
import { TRANSPORT_HEADER } from './forgery.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { responseOf } from './response.interceptor.js';
import { SessionCookies } from './session-cookies.js';

/**
 * Determines how the tokens of a request travel. The header `X-Session-Transport` decides. If it is absent, the option
 * `cookies` does.
 * @returns undefined if the header names a transport that is not supported
 */
export function transportOf(carrier: CredentialsCarrier, { cookies }: HttpConfig): 'body' | 'cookie' | undefined {
  const requested = headerOf(carrier, TRANSPORT_HEADER);
  if (requested === undefined) return cookies && cookies.isDefault ? 'cookie' : 'body';
  return requested === 'body' || (requested === 'cookie' && cookies) ? requested : undefined;
}

/** Reads the refresh token of a request from the body or a cookie, and writes new tokens to the same place. */
@Injectable()
export class RefreshTransport {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly cookies: SessionCookies,
    private readonly evidence: CookieEvidence,
  ) {}

  /**
   * Returns the options of a new session whose tokens are delivered to the caller, for a login.
   * @param options.persistent whether the cookies outlive the browser session; ignored if the tokens travel in the body
   */
  delivery(request: unknown, options?: { persistent?: boolean | undefined }): TokenDelivery {
    return this.isInCookies(request) ? this.cookies.delivery(request, options) : { transport: 'body' };
  }

  /**
   * Returns the options of a session that replaces the caller's own, for a reauthentication. Its cookies live as long as those
   * of the old session.
   */
  redelivery(request: unknown): TokenDelivery {
    if (!this.isInCookies(request)) return { transport: 'body' };
    const { transport, checkTokens } = this.cookies.delivery(request);
    return { transport, checkTokens };
  }

  /**
   * Reads the refresh tokens of a request. Of the cookies, only those count that this host has set, as far as
   * the request can prove it.
   * @returns the token in the body, or the cookies to try, and the options that say how they travelled
   * @throws CsrfFailedError if the tokens travel in cookies and the request may be forged
   */
  presented(request: unknown, inBody: string): [tokens: string | readonly string[], options: RefreshOptions] {
    if (!this.isInCookies(request)) return [inBody, { transport: 'body' }];
    assertNotForged(request, this.config.cookies);
    const { tokens, areProven } = this.evidence.refreshCookies(request);
    return [
      tokens,
      {
        transport: 'cookie',
        isProven: areProven,
        // Set the refresh cookie again, so that the cookies belong to one session. Not if it might arrive too late: see `hold`.
        withRefreshToken: true,
        // The session may have rotated, so this is the only chance to deliver its new token.
        salvage: (rotated) => this.cookies.setRefresh(responseOf(request), rotated),
      },
    ];
  }

  /**
   * Reads the refresh tokens that a backend passes on, for a renewal. The same cookies count as at a refresh. The backend's key
   * takes the place of the CSRF check: no page knows it.
   */
  passedOn(
    request: unknown,
    inBody: string,
  ): [tokens: string | readonly string[], options: Pick<RefreshOptions, 'transport' | 'isProven'>] {
    if (!this.isInCookies(request)) return [inBody, { transport: 'body' }];
    const { tokens, areProven } = this.evidence.refreshCookies(request);
    return [tokens, { transport: 'cookie', isProven: areProven }];
  }

  /**
   * Returns the ids of all sessions that the cookies of a logout name, or undefined if the token travels in the body.
   * @throws CsrfFailedError if the tokens travel in cookies and the request may be forged
   */
  namedSessions(request: unknown): readonly string[] | undefined {
    if (!this.isInCookies(request)) return undefined;
    assertNotForged(request, this.config.cookies);
    return this.evidence.namedSessions(request);
  }

  /**
   * Delivers new tokens to the caller, in the body or as cookies.
   * @returns the tokens for the body of the answer, or undefined if they have been set as cookies
   */
  handOut(
    request: unknown,
    issued: IssuedSession | RefreshedSession,
  ): { refresh?: string; access: string } | undefined {
    const { refresh, access } = issued;
    if (!this.isInCookies(request)) return refresh === undefined ? { access } : { refresh, access };
    this.cookies.set(responseOf(request), issued);
    return undefined;
  }

  /**
   * Delivers the tokens of a refresh like `handOut`. If the access token is too long for a cookie, still sets the refresh
   * cookie: its token may be the only one that the session accepts from now on.
   */
  handOutRefreshed(request: unknown, refreshed: RefreshedSession): { refresh?: string; access: string } | undefined {
    if (!this.isInCookies(request)) return this.handOut(request, refreshed);
    try {
      this.cookies.setRefreshed(responseOf(request), refreshed);
      return undefined;
    } catch (error) {
      const { session, refresh } = refreshed;
      if (refresh !== undefined) this.cookies.setRefresh(responseOf(request), { session, refresh });
      throw error;
    }
  }

  /** Clears the cookies if the tokens travel in them. */
  clear(request: unknown): void {
    if (this.isInCookies(request)) this.cookies.clear(responseOf(request));
  }

  /** Whether the tokens travel in cookies and the request carries one of ours, valid or not. */
  carriesCookies(request: unknown): boolean {
    const { cookies } = this.config;
    if (!cookies || !this.isInCookies(request)) return false;
    return COOKIE_KINDS.some((kind) => cookieValues(request, cookies, kind).length > 0);
  }

  private isInCookies(request: unknown): request is CredentialsCarrier {
    return this.config.cookies !== false && transportOf(request as CredentialsCarrier, this.config) === 'cookie';
  }
}
