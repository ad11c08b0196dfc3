import { Inject, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { stringifySetCookie } from 'cookie';
import { Clock } from '../database/clock.js';
import type { RefreshedSession } from '../session/refresh.js';
import type { IssuedSession } from '../session/login.js';
import type { CookieShape } from './cookie.options.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** What browsers keep of a cookie's name and value together, in bytes (RFC 6265bis, ASVS 3.3.5). More is dropped silently. */
const MAX_COOKIE_BYTES = 4096;

/**
 * Sets and clears the two cookies of a session, on Express and Fastify alike. The six routes do so by themselves; it is here
 * for a login of the application's own. Where the option `cookies` is false, `set` throws and `clear` does nothing.
 */
@Injectable()
export class SessionCookies {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly adapterHost: HttpAdapterHost,
    private readonly clock: Clock,
  ) {}

  /**
   * Puts the tokens into cookies, which live as long as the session: an access cookie that outlives its token is told as an
   * expired one, and the client refreshes.
   * @param response the framework's, as `@Res({ passthrough: true })` has it
   * @throws Error where a cookie would be longer than browsers keep
   */
  set(response: unknown, { session, access, refresh }: IssuedSession | RefreshedSession): void {
    const { cookies } = this.config;
    if (!cookies) throw new Error('The option cookies is false, so no token may be put into a cookie');
    const maxAge = Math.max(0, Math.ceil((session.expiresAt.getTime() - this.clock.now()) / 1000));
    const written = [write(cookies.access, access, maxAge)];
    if (refresh !== undefined) written.push(write(cookies.refresh, refresh, maxAge));
    this.append(response, written);
  }

  /** Tells the browser to drop both cookies. @param response the framework's, as `@Res({ passthrough: true })` has it */
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
      `The cookie ${name} would have ${length} bytes, and browsers drop one of more than ${MAX_COOKIE_BYTES}: give the session fewer or shorter claims`,
    );
  return stringifySetCookie({ name, value, maxAge, ...attributes });
}

/**
 * The values of all cookies of this name, each once, in the order of the header. There are several where a sibling subdomain
 * or another path has set one of the same name; which of them is ours, nothing in the header tells.
 */
export function cookieValues(carrier: CredentialsCarrier, { name }: CookieShape): string[] {
  const values = (headerOf(carrier, 'cookie') ?? '').split(';').flatMap((pair) => {
    const at = pair.indexOf('=');
    return at !== -1 && pair.slice(0, at).trim() === name ? [pair.slice(at + 1).trim()] : [];
  });
  return [...new Set(values)].filter((value) => value !== '');
}
