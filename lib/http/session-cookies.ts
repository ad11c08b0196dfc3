import { Inject, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { stringifySetCookie } from 'cookie';
import { Clock } from '../database/clock.js';
import type { RefreshedSession } from '../session/refresh.js';
import type { IssuedSession } from '../session/login.js';
import type { CookieShape } from './cookie.options.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** Maximum bytes of name plus value (RFC 6265bis section 5.5). Browsers silently drop longer cookies. */
const MAX_COOKIE_BYTES = 4096;

/**
 * Sets and clears the two cookies of a session, on Express and Fastify. The library's routes use it, and so can a login of
 * your own. If the option `cookies` is false, `set` throws and `clear` does nothing.
 */
@Injectable()
export class SessionCookies {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly adapterHost: HttpAdapterHost,
    private readonly clock: Clock,
  ) {}

  /**
   * Sets the tokens as cookies that expire with the session. The access cookie outlives its token on purpose: the guard then
   * reports an expired token instead of a missing one, and the client refreshes.
   * @param response the response of the framework, from `@Res({ passthrough: true })`
   * @throws Error if the option `cookies` is false, or if a cookie would be longer than browsers accept
   */
  set(response: unknown, { session, access, refresh }: IssuedSession | RefreshedSession): void {
    const { cookies } = this.config;
    if (!cookies)
      throw new Error('Tokens cannot be set as cookies, because the option cookies is false: set it to true');
    const maxAge = Math.max(0, Math.ceil((session.expiresAt.getTime() - this.clock.now()) / 1000));
    const written = [write(cookies.access, access, maxAge)];
    if (refresh !== undefined) written.push(write(cookies.refresh, refresh, maxAge));
    this.append(response, written);
  }

  /**
   * Makes the browser drop both cookies.
   * @param response the response of the framework, from `@Res({ passthrough: true })`
   */
  clear(response: unknown): void {
    const { cookies } = this.config;
    if (cookies) this.append(response, [write(cookies.access, '', 0), write(cookies.refresh, '', 0)]);
  }

  private append(response: unknown, written: readonly string[]): void {
    for (const cookie of written) this.adapterHost.httpAdapter.appendHeader(response, 'Set-Cookie', cookie);
  }
}

function write({ name, attributes }: CookieShape, value: string, maxAge: number): string {
  const length = Buffer.byteLength(name) + Buffer.byteLength(value);
  if (length > MAX_COOKIE_BYTES)
    throw new Error(
      `The cookie ${name} would have ${length} bytes, and browsers drop cookies of more than ${MAX_COOKIE_BYTES}: give the session fewer or shorter claims`,
    );
  return stringifySetCookie({ name, value, maxAge, ...attributes });
}

/**
 * Reads the values of all cookies with this name, without duplicates, in the order of the header. There can be several, if a
 * sibling subdomain or another path has set a cookie of the same name. The header does not say which one is ours.
 */
export function cookieValues(carrier: CredentialsCarrier, { name }: CookieShape): string[] {
  const values = (headerOf(carrier, 'cookie') ?? '').split(';').flatMap((pair) => {
    const at = pair.indexOf('=');
    return at !== -1 && pair.slice(0, at).trim() === name ? [pair.slice(at + 1).trim()] : [];
  });
  return [...new Set(values)].filter((value) => value !== '');
}
