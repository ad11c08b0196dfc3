import { Inject, Injectable } from '@nestjs/common';
import { SessionNotFoundError, TokenNotValidError } from '../errors.js';
import type { RefreshedSession } from '../session/refresh.js';
import type { IssuedSession } from '../session/login.js';
import { Keyring } from '../token/keyring.js';
import { assertNotForged, TRANSPORT_HEADER } from './csrf.guard.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { responseOf } from './response.interceptor.js';
import { cookieValues, SessionCookies } from './session-cookies.js';

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
    private readonly keyring: Keyring,
  ) {}

  /**
   * Reads the refresh token from the place where the request carries it.
   * @returns the token in the body, or all values of the refresh cookie
   * @throws CsrfFailedError if the tokens travel in cookies and the request may be forged
   */
  refreshTokensOf(request: unknown, inBody: string): string | readonly string[] {
    const { cookies } = this.config;
    if (!cookies || !this.isInCookies(request)) return inBody;
    // If the access token came in a header, no guard has run the CSRF check yet.
    assertNotForged(request, cookies);
    return cookieValues(request, cookies.refresh);
  }

  /**
   * Reads the refresh token like `refreshTokensOf`, but keeps only cookies of the same session as the access cookie.
   *
   * A sibling subdomain can plant a refresh cookie that would switch the user to the attacker's account. It cannot plant an
   * access cookie whose name starts with `__Host-`. So the access cookie identifies the browser's own session, even after
   * its token has expired. Without a genuine access cookie, all refresh cookies are kept.
   * @throws CsrfFailedError if the tokens travel in cookies and the request may be forged
   */
  ownRefreshTokensOf(request: unknown, inBody: string): string | readonly string[] {
    const tokens = this.refreshTokensOf(request, inBody);
    const { cookies } = this.config;
    if (typeof tokens === 'string' || !cookies) return tokens;
    const sessionIdOf = (token: string) => this.keyring.verify(token)?.sid;
    const own = new Set(cookieValues(request as CredentialsCarrier, cookies.access).map(sessionIdOf));
    own.delete(undefined);
    return own.size === 0 ? tokens : tokens.filter((token) => own.has(sessionIdOf(token)));
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

  /** Clears the cookies if the tokens travel in them. */
  clear(request: unknown): void {
    if (this.isInCookies(request)) this.cookies.clear(responseOf(request));
  }

  /**
   * Rethrows an error, and first clears the cookies if the session is gone for good. Other errors may be temporary.
   * @throws the given error
   */
  refuse(request: unknown, error: unknown): never {
    if (error instanceof TokenNotValidError || error instanceof SessionNotFoundError) this.clear(request);
    throw error;
  }

  private isInCookies(request: unknown): request is CredentialsCarrier {
    return this.config.cookies !== false && transportOf(request as CredentialsCarrier, this.config) === 'cookie';
  }
}
