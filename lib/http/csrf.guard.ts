import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { CsrfFailedError } from '../errors.js';
import type { CookieConfig } from './cookie.options.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** The header that selects the token transport. A page of another origin cannot send it unless CORS allows it. */
export const TRANSPORT_HEADER = 'x-session-transport';

const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS'];

/**
 * Refuses requests that a hostile page may have sent. A request passes if it has `X-Session-Transport: cookie` and comes from
 * an allowed origin, according to `Origin` and `Sec-Fetch-Site`. GET, HEAD and OPTIONS always pass, unless they open a socket.
 *
 * Bind it to your own routes that set cookies with `SessionCookies`, such as a login. Otherwise, a hostile page could log its
 * visitor into the attacker's account and collect the data that the visitor enters.
 */
@Injectable()
export class CsrfGuard implements CanActivate {
  constructor(@Inject(HTTP_CONFIG) private readonly config: HttpConfig) {}

  canActivate(context: ExecutionContext): boolean {
    assertNotForged(context.switchToHttp().getRequest<CredentialsCarrier>(), this.config.cookies);
    return true;
  }
}

/**
 * Asserts that a request that uses or sets cookies comes from an allowed page.
 *
 * @param cookies the options, or false if the application does not use cookies
 * @throws {@link CsrfFailedError} if the request may come from a hostile page
 */
export function assertNotForged(carrier: CredentialsCarrier, cookies: CookieConfig | false): void {
  if (isHandshake(carrier) ? isFriendlyHandshake(carrier, cookies) : isFriendlyRequest(carrier, cookies)) return;
  throw new CsrfFailedError();
}

function isFriendlyRequest(carrier: CredentialsCarrier, cookies: CookieConfig | false): boolean {
  if (SAFE_METHODS.includes(carrier.method ?? '')) return true;
  // The custom header forces a CORS preflight for pages of other origins. Since 2020, all browsers send Origin with every
  // method except GET and HEAD. So a request without Origin and Sec-Fetch-Site does not come from a browser.
  return headerOf(carrier, TRANSPORT_HEADER) === 'cookie' && isFriendlyOrigin(carrier, cookies);
}

/** Whether a request opens a socket. It is a GET that may carry cookies across sites, and a page cannot add headers to it. */
function isHandshake({ method, headers }: CredentialsCarrier): boolean {
  // Socket.IO's own handshake has no method. An HTTP request always has one.
  return method === undefined || String(headers?.upgrade).toLowerCase() === 'websocket';
}

function isFriendlyHandshake(carrier: CredentialsCarrier, cookies: CookieConfig | false): boolean {
  return headerOf(carrier, 'origin') !== undefined && isFriendlyOrigin(carrier, cookies);
}

function isFriendlyOrigin(carrier: CredentialsCarrier, cookies: CookieConfig | false): boolean {
  const origin = headerOf(carrier, 'origin');
  const site = headerOf(carrier, 'sec-fetch-site');
  if (origin === 'null') return false;
  if (site === 'same-origin' || site === 'none') return true;
  if (origin === undefined) return site === undefined;
  if (cookies && cookies.origins.has(origin)) return true;
  return site === undefined && URL.canParse(origin) && new URL(origin).host === hostOf(carrier);
}

/** Reads the host. HTTP/2 sends it as `:authority`. */
function hostOf(carrier: CredentialsCarrier): string | undefined {
  return (headerOf(carrier, 'host') ?? headerOf(carrier, ':authority'))?.toLowerCase();
}
