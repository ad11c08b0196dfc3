import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { CsrfFailedError } from '../errors.js';
import type { CookieConfig } from './cookie.options.js';
import { logCsrfFault } from './csrf-log.js';
import { forgeryFault, originFault } from './forgery.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

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
 * Asserts that a request that uses or sets cookies comes from an allowed page. Logs which check failed, and the origin.
 *
 * @param cookies the options, or false if the application does not use cookies
 * @throws {@link CsrfFailedError} if the request may come from a hostile page
 */
export function assertNotForged(carrier: CredentialsCarrier, cookies: CookieConfig | false): void {
  const fault = forgeryFault(carrier, cookies);
  if (fault === undefined) return;
  logCsrfFault(fault, headerOf(carrier, 'origin'));
  throw new CsrfFailedError();
}

/**
 * Asserts that a browser has sent the request by itself, for a page of an allowed origin. It adds no header of ours to such a
 * request, but it always says which site has caused it.
 *
 * @throws {@link CsrfFailedError} if the request may come from a hostile page
 */
export function assertSentByBrowser(carrier: CredentialsCarrier, cookies: CookieConfig | false): void {
  const site = headerOf(carrier, 'sec-fetch-site');
  const fault = site === undefined ? 'the header Sec-Fetch-Site is missing' : originFault(carrier, cookies);
  if (fault === undefined) return;
  logCsrfFault(fault, headerOf(carrier, 'origin'));
  throw new CsrfFailedError();
}
