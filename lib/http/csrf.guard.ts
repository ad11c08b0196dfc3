import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { CsrfFailedError } from '../errors.js';
import type { CookieConfig } from './cookie.options.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** The header in which a client says how its tokens travel. A page elsewhere cannot send it without being allowed by CORS. */
export const TRANSPORT_HEADER = 'x-session-transport';

const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS'];

/**
 * Lets requests pass that show that no hostile page has sent them: `X-Session-Transport: cookie`, and an `Origin` or a
 * `Sec-Fetch-Site` that is ours. For routes of the application's own that set cookies with `SessionCookies`, such as a login:
 * a page that could log its visitor into another's account would be told their secrets.
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
 * A request that was let in by a cookie, or that asks for one, has been sent by a page that may.
 * @throws CsrfFailedError
 */
export function assertNotForged(carrier: CredentialsCarrier, cookies: CookieConfig | false): void {
  if (isHandshake(carrier) ? isFriendlyHandshake(carrier, cookies) : isFriendlyRequest(carrier, cookies)) return;
  throw new CsrfFailedError();
}

function isFriendlyRequest(carrier: CredentialsCarrier, cookies: CookieConfig | false): boolean {
  if (SAFE_METHODS.includes(carrier.method ?? '')) return true;
  // A browser that sends neither Origin nor Sec-Fetch-Site with such a request does not exist: since 2020 all of them send
  // Origin with every method but GET and HEAD. And this header makes a page elsewhere ask for leave first, as CORS has it.
  return headerOf(carrier, TRANSPORT_HEADER) === 'cookie' && isFriendlyOrigin(carrier, cookies);
}

/** The opening of a socket is a GET that takes cookies across sites, and a page cannot give it a header. */
function isHandshake({ method, headers }: CredentialsCarrier): boolean {
  // Socket.IO's own handshake has no method; a request of HTTP always has one.
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

/** HTTP/2 has it under another name. */
function hostOf(carrier: CredentialsCarrier): string | undefined {
  return (headerOf(carrier, 'host') ?? headerOf(carrier, ':authority'))?.toLowerCase();
}
