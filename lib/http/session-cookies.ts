import { Inject, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { stringifySetCookie } from 'cookie';
import { REGISTRATION_HEADER } from '../binding/dbsc-headers.js';
import { Clock } from '../database/clock.js';
import type { IssuedSession, TokenDelivery } from '../session/new-session.js';
import type { RefreshedSession, RotatedSession } from '../session/refreshed-session.js';
import type { Session } from '../session/session.js';
import { expiryOf } from '../token/access-token.js';
import { CookieEvidence } from './cookie-evidence.js';
import { COOKIE_KINDS, type CookieConfig, type CookieKind } from './cookie.options.js';
import { CookiePath } from './cookie-path.js';
import { MAX_COOKIE_BYTES } from './cookie-size.js';
import { DbscOffer } from './dbsc-offer.js';
import { isLoopbackRequest } from './loopback.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import type { CredentialsCarrier } from './request.js';

/**
 * How long before its token the access cookie of a bound session expires, in milliseconds. A request that is on its way when the
 * cookie expires still arrives with a valid token.
 */
const ACCESS_COOKIE_MARGIN = 10_000;

/**
 * How long the access cookie lives after a key was registered. Chromium sends a proof along with the next request if the cookie
 * has less than 120 s to live.
 */
const SECONDS_UNTIL_FIRST_PROOF = 60;

/** The response of Express or Fastify, from which its request can be reached. */
interface ResponseLike {
  readonly req?: CredentialsCarrier;
  readonly request?: CredentialsCarrier;
}

/**
 * Sets and clears the cookies of a session, on Express and Fastify. The library's routes use it, and so can a login of your
 * own:
 *
 * ```ts
 * const issued = await this.sessions.create(userId, { type: 'LONG', ...this.cookies.delivery(request) });
 * this.cookies.set(response, issued);
 * ```
 *
 * If the option `cookies` is false, `delivery` and `set` throw, and `clear` does nothing.
 */
@Injectable()
export class SessionCookies implements OnApplicationBootstrap {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly adapterHost: HttpAdapterHost,
    private readonly clock: Clock,
    private readonly path: CookiePath,
    private readonly evidence: CookieEvidence,
    private readonly offer: DbscOffer,
  ) {}

  /**
   * Returns the options of a session whose tokens will be set as cookies, for `SessionService.create` or `login`. The new
   * session accepts its refresh token in a cookie only. It replaces the session that the browser already has, unless
   * `cookies.replaceOnLogin` is false. If its tokens are too long for cookies, nothing is written.
   * @param request the framework's request, which must have passed the CSRF check: see `CsrfGuard`
   * @param options.persistent whether the cookies outlive the browser session. Default: the option `cookies.persistent`
   * @throws Error if the option `cookies` is false
   */
  delivery(request: unknown, { persistent }: { persistent?: boolean | undefined } = {}): TokenDelivery {
    const cookies = this.options();
    const carrier = request as CredentialsCarrier;
    return {
      transport: 'cookie',
      persistent: persistent ?? cookies.isPersistent,
      replaces: cookies.replaceOnLogin ? this.evidence.provenSessions(carrier) : [],
      checkTokens: ({ session, access, refresh }) => {
        this.write(carrier, 'access', access, session);
        this.writtenRefresh(carrier, { session, refresh });
      },
    };
  }

  /**
   * Sets the tokens as cookies that expire with the session, or with the browser session if the session is not persistent. The
   * access cookie outlives its token on purpose: the guard then reports an expired token instead of a missing one, and the
   * client refreshes. Only if the session is bound to its device, the cookie expires before its token, because the browser
   * proves its key when the cookie is missing.
   *
   * If the session is new and its policy binds sessions (option `binding`), also asks the browser to register a key.
   * @param response the response of the framework, from `@Res({ passthrough: true })`
   * @throws Error if the option `cookies` is false, or if a cookie would be longer than browsers accept. No cookie is then set
   */
  set(response: unknown, issued: IssuedSession | RefreshedSession): void {
    this.setRefreshed(response, issued);
    const { secure } = this.shapesFor(requestOf(response)).access.attributes;
    const registration = secure ? this.offer.registration(issued) : undefined;
    if (registration) this.adapterHost.httpAdapter.setHeader(response, REGISTRATION_HEADER, registration);
  }

  /**
   * Sets the tokens like `set`, but never asks the browser for a key.
   * @param provenAt when the browser has proved its key, in milliseconds since 1970. Default: it has not
   * @internal
   */
  setRefreshed(
    response: unknown,
    { session, access, refresh }: IssuedSession | RefreshedSession,
    provenAt?: number,
  ): void {
    const carrier = requestOf(response);
    const written = [this.write(carrier, 'access', access, session, this.lifeOf(access, session))];
    if (refresh !== undefined) written.push(...this.writtenRefresh(carrier, { session, refresh }, provenAt));
    else if (provenAt !== undefined) written.push(this.writtenProof(carrier, session, provenAt));
    this.append(response, written);
  }

  /**
   * Sets the tokens of a refresh for which the browser has just proved its key.
   * @internal
   */
  setProven(response: unknown, refreshed: RefreshedSession): void {
    this.setRefreshed(response, refreshed, this.clock.now());
  }

  /**
   * Lets the access cookie expire soon, so that a browser that has registered its key soon sends the first proof.
   * @param access the access token of the request. Without one, the browser sends the proof with its next request
   * @internal
   */
  setUntilFirstProof(response: unknown, access: string | undefined): void {
    if (access === undefined) return;
    const left = (expiryOf(access) - this.clock.now()) / 1000;
    const maxAge = Math.max(0, Math.floor(Math.min(left, SECONDS_UNTIL_FIRST_PROOF)));
    this.append(response, [this.written(requestOf(response), 'access', access, maxAge)]);
  }

  /**
   * Returns how the access cookie is named, and its attributes in the form of `Set-Cookie`.
   * @internal
   */
  accessCredential(carrier: CredentialsCarrier): { name: string; attributes: string } {
    const { name, attributes } = this.shapesFor(carrier).access;
    const [, ...texts] = stringifySetCookie({ name, value: '', ...attributes }).split('; ');
    return { name, attributes: texts.join('; ') };
  }

  /**
   * Makes the browser drop only the access cookie, so that it proves its key before its next request.
   * @internal
   */
  clearAccess(response: unknown): void {
    this.append(response, [this.write(requestOf(response), 'access', '')]);
  }

  /**
   * Sets only the refresh cookie and its proof, because no access token could be made.
   * @internal
   */
  setRefresh(response: unknown, issued: RotatedSession): void {
    this.append(response, this.writtenRefresh(requestOf(response), issued));
  }

  /**
   * Makes the browser drop the cookies.
   * @param response the response of the framework, from `@Res({ passthrough: true })`
   */
  clear(response: unknown): void {
    if (!this.config.cookies) return;
    const carrier = requestOf(response);
    this.append(
      response,
      COOKIE_KINDS.map((kind) => this.write(carrier, kind, '')),
    );
  }

  /**
   * Warns of cookies that are not secure.
   * @internal
   */
  onApplicationBootstrap(): void {
    if (this.config.cookies && this.config.cookies.loopback)
      new Logger('MultiSession').warn(
        "cookies.secure is 'auto': a request to a loopback address gets cookies that are not secure; remove the option in production",
      );
  }

  private writtenRefresh(
    carrier: CredentialsCarrier,
    { session, refresh }: RotatedSession,
    provenAt?: number,
  ): string[] {
    return [this.write(carrier, 'refresh', refresh, session), this.writtenProof(carrier, session, provenAt)];
  }

  private writtenProof(carrier: CredentialsCarrier, session: Session, provenAt: number | undefined): string {
    return this.write(carrier, 'proof', this.evidence.proofOf(session.id, provenAt), session);
  }

  /** Returns how long the access cookie of a bound session lives, in seconds; undefined if the session is not bound. */
  private lifeOf(access: string, session: Session): number | undefined {
    if (!session.bound) return undefined;
    return Math.max(0, Math.floor((expiryOf(access) - this.clock.now() - ACCESS_COOKIE_MARGIN) / 1000));
  }

  /**
   * Formats a cookie.
   * @param session the session that the cookie expires with. Default: the cookie is cleared
   * @param life how long the cookie lives, in seconds. Default: as long as the session, or as the browser session
   * @throws Error if the option `cookies` is false, or if the cookie would be longer than browsers accept
   */
  private write(
    carrier: CredentialsCarrier,
    kind: CookieKind,
    value: string,
    session?: Session,
    life?: number,
  ): string {
    if (life !== undefined) return this.written(carrier, kind, value, life);
    const isBrowserSession = session?.persistent === false;
    const maxAge = session ? Math.max(0, Math.ceil((session.expiresAt.getTime() - this.clock.now()) / 1000)) : 0;
    return this.written(carrier, kind, value, isBrowserSession ? undefined : maxAge);
  }

  private written(carrier: CredentialsCarrier, kind: CookieKind, value: string, maxAge: number | undefined): string {
    const { name, attributes } = this.shapesFor(carrier)[kind];
    const written = stringifySetCookie({
      name,
      value,
      ...(maxAge !== undefined && { maxAge }),
      ...attributes,
      path: attributes.path ?? this.path.value,
    });
    const length = Buffer.byteLength(written);
    if (length <= MAX_COOKIE_BYTES) return written;
    // A fault of the program, so that a transaction does not take it for one of the database.
    throw new RangeError(
      `The cookie ${name} would have ${length} bytes, and browsers drop cookies of more than ${MAX_COOKIE_BYTES}: give the session fewer or shorter claims`,
    );
  }

  private shapesFor(carrier: CredentialsCarrier): Pick<CookieConfig, CookieKind> {
    const cookies = this.options();
    return cookies.loopback && isLoopbackRequest(carrier) ? cookies.loopback : cookies;
  }

  private options(): CookieConfig {
    const { cookies } = this.config;
    if (cookies) return cookies;
    throw new Error('Tokens cannot be set as cookies, because the option cookies is false: set it to true');
  }

  private append(response: unknown, written: readonly string[]): void {
    for (const cookie of written) this.adapterHost.httpAdapter.appendHeader(response, 'Set-Cookie', cookie);
  }
}

function requestOf(response: unknown): CredentialsCarrier {
  const { req, request } = (response ?? {}) as ResponseLike;
  return req ?? request ?? {};
}
