import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { SessionNotFoundError, TokenNotValidError } from '../errors.js';
import type { RefreshedSession } from '../session/refresh.js';
import type { IssuedSession } from '../session/login.js';
import { Keyring } from '../token/keyring.js';
import { assertNotForged, TRANSPORT_HEADER } from './csrf.guard.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';
import { SecretKeyGuard } from './secret-key.guard.js';
import { cookieValues, SessionCookies } from './session-cookies.js';

const RESPONSE = Symbol('multi-session:response');

/** A request with the response that cookies are set on: Fastify has no way from the one to the other. */
interface AnsweredRequest extends CredentialsCarrier {
  [RESPONSE]?: unknown;
}

/** Keeps the response for `RefreshTransport`, which is asked with the request alone. */
export function keepResponse(context: ExecutionContext): void {
  const http = context.switchToHttp();
  http.getRequest<AnsweredRequest>()[RESPONSE] = http.getResponse();
}

/**
 * Where the tokens of this request travel. `X-Session-Transport` says it, and where it is absent, the options.
 * @returns undefined where the header asks for what there is not
 */
export function transportOf(carrier: CredentialsCarrier, { cookies }: HttpConfig): 'body' | 'cookie' | undefined {
  const asked = headerOf(carrier, TRANSPORT_HEADER);
  if (asked === undefined) return cookies && cookies.isDefault ? 'cookie' : 'body';
  return asked === 'body' || (asked === 'cookie' && cookies) ? asked : undefined;
}

/**
 * Lets callers of login, refresh and logout pass: in the body's transport those who know the secret key, and in that of cookies,
 * where no browser could keep one, those who show that no hostile page sent the request.
 */
@Injectable()
export class CallerGuard implements CanActivate {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly secretKey: SecretKeyGuard,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<CredentialsCarrier>();
    if (transportOf(request, this.config) !== 'cookie') return this.secretKey.canActivate(context);
    assertNotForged(request, this.config.cookies);
    return true;
  }
}

/** Takes the refresh token of a request from where it travels, and puts new tokens there. */
@Injectable()
export class RefreshTransport {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly cookies: SessionCookies,
    private readonly keyring: Keyring,
  ) {}

  /**
   * The refresh token in the body, or those in cookies; none, where there is no cookie.
   * @throws CsrfFailedError
   */
  refreshTokensOf(request: unknown, inBody: string): string | readonly string[] {
    const { cookies } = this.config;
    if (!cookies || !this.isInCookies(request)) return inBody;
    // Who shows an access token in a header has not been asked yet.
    assertNotForged(request, cookies);
    return cookieValues(request, cookies.refresh);
  }

  /**
   * The same without the cookies of other sessions than the access cookie's. A sibling subdomain can toss a refresh cookie here,
   * so that this user would go on in an account that is not theirs; the access cookie under `__Host-` is out of its reach, and
   * tells whose session this browser has, expired or not.
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

  /** Gives new tokens to the caller. @returns what the answer's body has of them: nothing, where they travel in cookies */
  handOut(
    request: unknown,
    issued: IssuedSession | RefreshedSession,
  ): { refresh?: string; access: string } | undefined {
    const { refresh, access } = issued;
    if (!this.isInCookies(request)) return refresh === undefined ? { access } : { refresh, access };
    this.cookies.set(request[RESPONSE], issued);
    return undefined;
  }

  /** Clears the cookies, where the tokens travel in them. @param response default: what `BodyGuard` has kept */
  clear(request: unknown, response?: unknown): void {
    if (this.isInCookies(request)) this.cookies.clear(response ?? request[RESPONSE]);
  }

  /** Clears the cookies where the session is gone for good; never for what may be well again. @throws the error itself */
  refuse(request: unknown, error: unknown): never {
    if (error instanceof TokenNotValidError || error instanceof SessionNotFoundError) this.clear(request);
    throw error;
  }

  private isInCookies(request: unknown): request is AnsweredRequest {
    return this.config.cookies !== false && transportOf(request as AnsweredRequest, this.config) === 'cookie';
  }
}
