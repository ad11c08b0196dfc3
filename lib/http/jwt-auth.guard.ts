import { type CanActivate, type ExecutionContext, Inject, Injectable, Optional } from '@nestjs/common';
import { HttpAdapterHost, Reflector } from '@nestjs/core';
import {
  MultiSessionError,
  NotAuthenticatedError,
  ReauthenticationRequiredError,
  SessionTypeNotAllowedError,
} from '../errors.js';
import type { SessionClaims } from '../token/access-token.js';
import { SessionService } from '../session/service.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { accessTokenOf, sessionOfCookies } from './bearer.js';
import { ACCESS_RULE, type AccessRule, ALLOWED_TYPES, RECENT_LOGIN } from './decorators.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { type CredentialsCarrier, credentialsCarrierOf } from './request.js';
import { setErrorHeaders } from './error-headers.js';

/** What the decorators of one route say. */
interface RouteRules {
  readonly access: AccessRule;
  readonly types?: ReadonlySet<string>;
  /** How long ago the login may be, in milliseconds. */
  readonly recentLogin?: number;
}

/**
 * Lets requests with a valid access token pass and puts its session on the request as `user`: see `@CurrentSession()`.
 * For single routes with `@UseGuards(JwtAuthGuard)`, or globally with `@Public()` and `@OptionalSession()` for exceptions.
 *
 * The default check costs a signature and a map look-up, and asks no database. It answers without a promise where it can,
 * since each turn of the event loop is a good part of what a guarded request costs.
 *
 * In a GraphQL resolver it looks at the request in the context (`req`, where Nest's drivers have it). In a WebSocket gateway it
 * checks each message, by Socket.IO's handshake: `io(url, { auth: { token } })`, or the headers. `ws` shows the request that
 * opened a socket to `handleConnection(client, request)` alone, so the gateway keeps it there: `client.request = request`. A
 * browser cannot set its headers; it sends its token in a message to a `@Public()` handler, which keeps it, and each one after
 * it, with `client.auth = { token }` (Socket.IO: `client.handshake.auth.token = token`). Refusals are `WsException`s with the
 * body that an HTTP answer would have.
 */
@Injectable()
export class JwtAuthGuard implements CanActivate {
  @Optional() @Inject(Telemetry) private readonly telemetry?: Telemetry;
  /** What a route's decorators say never changes, and reading it costs more than the map. */
  private readonly rules = new WeakMap<object, WeakMap<object, RouteRules>>();

  constructor(
    private readonly sessions: SessionService,
    private readonly reflector: Reflector,
    private readonly adapterHost: HttpAdapterHost,
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const rules = this.rulesOf(context);
    if (rules.access === 'public') return true;
    try {
      const carrier = this.getRequest(context);
      const session = carrier && this.sessionOf(carrier);
      if (!(session instanceof Promise)) return this.admit(session, carrier, rules);
      return session
        .then((verified) => this.admit(verified, carrier, rules))
        .catch((error: unknown) => this.refuse(context, error));
    } catch (error) {
      return this.refuse(context, error);
    }
  }

  /** Where the credentials of a call are. Override it for a transport that keeps them elsewhere. */
  protected getRequest(context: ExecutionContext): CredentialsCarrier | undefined {
    return credentialsCarrierOf(context);
  }

  /**
   * Who calls; undefined for nobody.
   * @throws TokenNotValidError, BadAuthorizationHeaderError, CsrfFailedError, UnavailableError
   */
  protected sessionOf(carrier: CredentialsCarrier): SessionClaims | undefined | Promise<SessionClaims> {
    const token = accessTokenOf(carrier, this.config);
    if (token !== undefined) return this.sessions.verify(token);
    const { cookies } = this.config;
    return cookies ? sessionOfCookies(carrier, cookies, this.sessions) : undefined;
  }

  /** Whether the user logged in no longer ago than this, in milliseconds. */
  protected isRecentLogin(session: SessionClaims, maxAge: number): boolean {
    return this.sessions.isRecentLogin(session, maxAge);
  }

  private rulesOf(context: ExecutionContext): RouteRules {
    const [handler, controller] = [context.getHandler(), context.getClass()];
    let ofHandler = this.rules.get(handler);
    if (!ofHandler) this.rules.set(handler, (ofHandler = new WeakMap()));
    let rules = ofHandler.get(controller);
    if (!rules) {
      const targets = [handler, controller];
      const types = this.reflector.getAllAndOverride<string[] | undefined>(ALLOWED_TYPES, targets);
      const access = this.reflector.getAllAndOverride<AccessRule | undefined>(ACCESS_RULE, targets) ?? 'required';
      const recentLogin = this.reflector.getAllAndOverride<number | undefined>(RECENT_LOGIN, targets);
      ofHandler.set(controller, (rules = { access, types: types && new Set(types), recentLogin }));
    }
    return rules;
  }

  /** Nest's WebSocket layer tells a client nothing but `WsException`s; the package is there where there are sockets. */
  private refuse(context: ExecutionContext, error: unknown): never | Promise<never> {
    this.telemetry?.refused('JwtAuthGuard', error);
    if (context.getType<string>() === 'ws' && error instanceof MultiSessionError) {
      return import('@nestjs/websockets').then(({ WsException }) => {
        throw new WsException(error.getResponse());
      });
    }
    if (context.getType() === 'http') setErrorHeaders(this.adapterHost.httpAdapter, context, error);
    throw error;
  }

  private admit(
    session: SessionClaims | undefined,
    carrier: CredentialsCarrier | undefined,
    { access, types, recentLogin }: RouteRules,
  ): boolean {
    if (!session || !carrier) {
      if (access === 'optional') return true;
      throw new NotAuthenticatedError();
    }
    if (types && !types.has(session.sessionType.toUpperCase())) throw new SessionTypeNotAllowedError();
    if (recentLogin !== undefined && !this.isRecentLogin(session, recentLogin))
      throw new ReauthenticationRequiredError(Math.floor(recentLogin / 1000));
    carrier.user = session;
    return true;
  }
}
