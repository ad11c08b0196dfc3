import { type CanActivate, type ExecutionContext, Inject, Injectable, Optional } from '@nestjs/common';
import { HttpAdapterHost, Reflector } from '@nestjs/core';
import {
  MultiSessionError,
  NotAuthenticatedError,
  ReauthenticationRequiredError,
  SessionTypeNotAllowedError,
} from '../errors.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { Telemetry } from '../telemetry/telemetry.js';
import type { SessionClaims } from '../token/access-token.js';
import { accessTokenOf, type CredentialsConfig, sessionOfCookies } from './bearer.js';
import { ACCESS_RULE, type AccessRule, ALLOWED_TYPES, RECENT_LOGIN } from './decorators.js';
import { setErrorHeaders } from './error-headers.js';
import { HTTP_CONFIG } from './options.js';
import { type CredentialsCarrier, credentialsCarrierOf } from './request.js';

/** The rules that the decorators of one route set. */
interface RouteRules {
  readonly access: AccessRule;
  /** Session types that may pass, in capitals. Default: every type may pass. */
  readonly types?: ReadonlySet<string>;
  /** Maximum age of the login, in milliseconds. Default: no maximum. */
  readonly recentLogin?: number;
}

/**
 * Lets a call pass if it carries a valid access token, and stores the session on the request as `user`. Handlers read it with
 * `@CurrentSession()`.
 *
 * Bind it to single routes with `@UseGuards(JwtAuthGuard)`. Or bind it globally, and open routes with `@Public()` and
 * `@OptionalSession()`. By default, the check verifies a signature and reads a map. It does not query the database.
 *
 * - **GraphQL**: the guard reads the request from the context (`req`, as Nest's drivers provide it).
 * - **Socket.IO**: for each message, the guard checks the token of the handshake: `io(url, { auth: { token } })`, or a header.
 * - **`ws`**: store the request that opened the socket in `handleConnection(client, request)`, because `ws` does not keep it:
 *   `client.request = request`.
 * - **Browsers** cannot set headers on a socket. Let the client send its token in a message to a `@Public()` handler, which
 *   stores it for the messages that follow: `client.auth = { token }` (Socket.IO: `client.handshake.auth.token = token`).
 *
 * In a gateway, the guard refuses a message with a `WsException` that has the body of the HTTP answer.
 */
@Injectable()
export class JwtAuthGuard implements CanActivate {
  @Optional() @Inject(Telemetry) private readonly telemetry?: Telemetry;
  // A cache: decorators never change after start, and reading metadata costs more than reading a map.
  private readonly rules = new WeakMap<object, WeakMap<object, RouteRules>>();

  constructor(
    private readonly verifier: AccessVerifier,
    private readonly reflector: Reflector,
    private readonly adapterHost: HttpAdapterHost,
    @Inject(HTTP_CONFIG) private readonly config: CredentialsConfig,
  ) {}

  // Avoids a promise if it can, because each one measurably slows down a guarded request.
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

  /**
   * Finds the object that carries the credentials of a call. Override it if your transport keeps them elsewhere.
   *
   * @returns the object, or undefined if the call has none
   */
  protected getRequest(context: ExecutionContext): CredentialsCarrier | undefined {
    return credentialsCarrierOf(context);
  }

  /**
   * Identifies the caller.
   *
   * @returns the session, or undefined if the call carries no credentials
   * @throws {@link TokenNotValidError} if the access token is not valid
   * @throws {@link BadAuthorizationHeaderError} if the authorization header is malformed
   * @throws {@link CsrfFailedError} if the session comes from a cookie and the request may be forged
   * @throws {@link UnavailableError} if the check needs the database and cannot reach it
   */
  protected sessionOf(carrier: CredentialsCarrier): SessionClaims | undefined | Promise<SessionClaims> {
    const token = accessTokenOf(carrier, this.config);
    if (token !== undefined) return this.verifier.verify(token);
    const { cookies } = this.config;
    return cookies ? sessionOfCookies(carrier, cookies, this.verifier) : undefined;
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

  private refuse(context: ExecutionContext, error: unknown): never | Promise<never> {
    this.telemetry?.refused('JwtAuthGuard', error);
    if (context.getType<string>() === 'ws' && error instanceof MultiSessionError) {
      // Nest hides every error from a socket's client unless it is a WsException. The package is an optional peer dependency,
      // so load it only when a socket needs it.
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

  private isRecentLogin({ authenticatedAt }: SessionClaims, maxAge: number): boolean {
    return authenticatedAt !== undefined && this.verifier.now() <= authenticatedAt * 1000 + maxAge;
  }
}
