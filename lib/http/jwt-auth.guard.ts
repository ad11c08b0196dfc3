import {
  type CanActivate,
  type ExecutionContext,
  Inject,
  Injectable,
  type OnModuleInit,
  Optional,
} from '@nestjs/common';
import { HttpAdapterHost, ModuleRef } from '@nestjs/core';
import {
  MultiSessionConfigurationError,
  MultiSessionError,
  NotAuthenticatedError,
  ReauthenticationRequiredError,
  SessionTypeNotAllowedError,
} from '../errors.js';
import { AccessVerifier } from '../session/access-verifier.js';
import { Telemetry } from '../telemetry/telemetry.js';
import type { SessionClaims } from '../token/access-token.js';
import { knownCallOf } from './access-call.js';
import { accessTokenOf, type CredentialsConfig, sessionOfCookies, sessionOfToken } from './bearer.js';
import { type Call, callOf, rememberCaller, verifiedCallerOf } from './callers.js';
import { credentialsCarrierOf, knowsTransport } from './credentials.js';
import { setErrorHeaders, setNonce } from './error-headers.js';
import { HTTP_CONFIG } from './options.js';
import type { CredentialsCarrier } from './request.js';
import { nameOfHandler, type RouteRules, rulesOf } from './route-rules.js';
import { transportErrorOf } from './transport-errors.js';

/** Marks a guard that takes the place of every `JwtAuthGuard` of an application, as `actingAs` does in tests. */
export const STANDS_IN = Symbol('stands in for JwtAuthGuard');

/**
 * Lets a call pass if it carries a valid access token, and remembers the session. Handlers read it with `@CurrentSession()`,
 * other guards with `sessionOf(context)`. In HTTP, it is also `request.user`, which the library never reads back.
 *
 * Bind it to single routes with `@UseGuards(JwtAuthGuard)`. Or bind it globally, and open routes with `@Public()` and
 * `@OptionalSession()`. By default, the check verifies a signature and reads a map. It does not query the database.
 *
 * - **GraphQL**: the guard reads the request from the context (`req`, as Nest's drivers provide it). Over `graphql-ws`, it
 *   reads `connectionParams` first: `{ authorization: 'Bearer …' }` or `{ token }`.
 * - **Microservices**: the guard reads the headers of a RabbitMQ message, or else `headers` in the payload.
 * - **Socket.IO**: for each message, the guard checks the token of the handshake: `io(url, { auth: { token } })`, or a header.
 * - **`ws`**: store the request that opened the socket in `handleConnection(client, request)`, because `ws` does not keep it:
 *   `client.request = request`.
 * - **Browsers** cannot set headers on a socket. Let the client send its token in a message to a `@Public()` handler, which
 *   stores it for the messages that follow: `client.auth = { token }` (Socket.IO: `client.handshake.auth.token = token`).
 * - **Other transports**: extend the guard and override `getRequest`. Otherwise, it refuses every call that is not `@Public()`.
 *
 * In a gateway, the guard refuses a message with a `WsException` that has the body of the HTTP answer, and in a microservice
 * with an `RpcException`.
 */
@Injectable()
export class JwtAuthGuard implements CanActivate, OnModuleInit {
  /** @internal */
  readonly [STANDS_IN]: boolean = false;
  @Optional() @Inject(Telemetry) private readonly telemetry?: Telemetry;
  @Optional() @Inject(ModuleRef) private readonly moduleRef?: ModuleRef;
  /** Undefined until the first call. Null if there is none. */
  private standIn?: JwtAuthGuard | null;

  // Optional, so that a test without MultiSessionModule can replace the guard. Without these parts, no call passes.
  constructor(
    @Optional() private verifier?: AccessVerifier,
    @Optional() private readonly adapterHost?: HttpAdapterHost,
    @Optional() @Inject(HTTP_CONFIG) private config?: CredentialsConfig,
  ) {}

  /**
   * Makes the start fail if the guard cannot work.
   * @internal
   */
  onModuleInit(): void {
    if (!this.findStandIn()) this.complete();
  }

  // Avoids a promise if it can, because each one measurably slows down a guarded request.
  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    const rules = rulesOf(context);
    if (rules.contradiction !== undefined) throw new MultiSessionConfigurationError([rules.contradiction], 'runtime');
    if (rules.access === 'public') return true;
    const standIn = this.findStandIn();
    if (standIn) return standIn.canActivate(context);
    const call = callOf(context);
    try {
      const session = this.callerOf(context, call, rules);
      if (!(session instanceof Promise)) return this.admit(context, call, rules, session);
      return session
        .then((verified) => this.admit(context, call, rules, verified))
        .catch((error: unknown) => this.refuse(context, call, rules, error));
    } catch (error) {
      return this.refuse(context, call, rules, error);
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
   * @throws {@link DeviceProofRequiredError} if the access token is bound to a key, and the call does not prove it
   * @throws {@link InvalidDpopProofError} if the DPoP proof of the call is not valid
   * @throws {@link UseDpopNonceError} if the DPoP proof of the call has no recent nonce
   * @throws {@link BadAuthorizationHeaderError} if the authorization header is malformed
   * @throws {@link CsrfFailedError} if the session comes from a cookie and the request may be forged
   * @throws {@link UnavailableError} if the check needs the database and cannot reach it
   */
  protected sessionOf(carrier: CredentialsCarrier): SessionClaims | undefined | Promise<SessionClaims> {
    const { verifier, config } = this.complete();
    const token = accessTokenOf(carrier, config);
    if (token !== undefined) return sessionOfToken(token, carrier, config, verifier);
    const { cookies } = config;
    return cookies ? sessionOfCookies(carrier, cookies, verifier) : undefined;
  }

  private callerOf(
    context: ExecutionContext,
    call: Call,
    rules: RouteRules,
  ): SessionClaims | undefined | Promise<SessionClaims> {
    const carrier = this.getRequest(context);
    const knowsRequest = this.getRequest !== JwtAuthGuard.prototype.getRequest;
    const mayBeAnonymous = carrier !== undefined || knowsRequest || knowsTransport(context);
    if (!mayBeAnonymous || !call.holder) throw unknownTransport(context);
    // A subclass may demand more than the guard that ran before it.
    const isUnchanged = !knowsRequest && this.sessionOf === JwtAuthGuard.prototype.sessionOf;
    const known = isUnchanged ? verifiedCallerOf(call, rules) : undefined;
    return known ?? (carrier && this.sessionOf(carrier));
  }

  private admit(context: ExecutionContext, call: Call, rules: RouteRules, session: SessionClaims | undefined): boolean {
    const { access, types, recentLogin } = rules;
    if (!session) {
      if (access !== 'optional') throw new NotAuthenticatedError(this.complete().config.challenge);
      rememberCaller(call, rules, null);
      return true;
    }
    if (types && !types.has(session.sessionType.toUpperCase())) throw new SessionTypeNotAllowedError();
    if (recentLogin !== undefined && !this.isRecentLogin(session, recentLogin))
      throw new ReauthenticationRequiredError(Math.floor(recentLogin / 1000));
    rememberCaller(call, rules, session);
    if (context.getType() === 'http') {
      setUser(context.getArgByIndex<HttpRequest>(0), session);
      if (session.confirmation !== undefined) this.passNonceOn(context);
    }
    return true;
  }

  /** Gives the client a newer nonce for its next proof, so that it need not be refused first. */
  private passNonceOn(context: ExecutionContext): void {
    const carrier = this.getRequest(context);
    const nonce = carrier && knownCallOf(carrier)?.nextNonce;
    const response = context.switchToHttp().getResponse<object | undefined>();
    if (nonce !== undefined && response && this.adapterHost) setNonce(this.adapterHost.httpAdapter, response, nonce);
  }

  private isRecentLogin({ authenticatedAt }: SessionClaims, maxAge: number): boolean {
    return authenticatedAt !== undefined && this.complete().verifier.now() <= authenticatedAt * 1000 + maxAge;
  }

  private refuse(context: ExecutionContext, call: Call, rules: RouteRules, error: unknown): never | Promise<never> {
    rememberCaller(call, rules, null);
    this.telemetry?.refused('JwtAuthGuard', error);
    if (error instanceof MultiSessionError) {
      const converted = transportErrorOf(context.getType<string>(), error);
      if (converted) return converted.then((exception) => Promise.reject(exception));
    }
    if (context.getType() === 'http' && this.adapterHost) setErrorHeaders(this.adapterHost.httpAdapter, context, error);
    throw error;
  }

  /** Finds the guard of the test that replaces this one, wherever the test has bound it. */
  private findStandIn(): JwtAuthGuard | null {
    if (this.standIn !== undefined) return this.standIn;
    return (this.standIn =
      this.instances<JwtAuthGuard | undefined>(JwtAuthGuard).find((guard) => guard?.[STANDS_IN]) ?? null);
  }

  /**
   * Returns the parts that the guard works with. If the module of the guard does not provide them, those of
   * `MultiSessionModule` are used, which may not be global.
   */
  private complete(): { verifier: AccessVerifier; config: CredentialsConfig } {
    this.verifier ??= this.instances<AccessVerifier>(AccessVerifier)[0];
    this.config ??= this.instances<CredentialsConfig>(HTTP_CONFIG)[0];
    const { verifier, config } = this;
    if (verifier && config) return { verifier, config };
    throw new MultiSessionConfigurationError(['JwtAuthGuard needs MultiSessionModule; import it into the application']);
  }

  private instances<T>(token: Parameters<ModuleRef['get']>[0]): T[] {
    try {
      return this.moduleRef?.get<unknown, T>(token, { strict: false, each: true }) ?? [];
    } catch {
      return [];
    }
  }
}

interface HttpRequest {
  readonly headers?: object;
  user?: unknown;
}

/** Sets `request.user`, as guards in HTTP do by convention. Some libraries call handlers as HTTP with other objects. */
function setUser(request: HttpRequest, session: SessionClaims): void {
  if (request.headers) request.user = session;
}

function unknownTransport(context: ExecutionContext): MultiSessionConfigurationError {
  return new MultiSessionConfigurationError(
    [
      `${nameOfHandler(context.getHandler(), context.getClass())}: JwtAuthGuard does not know where calls of the type ` +
        `'${context.getType<string>()}' carry a token; extend JwtAuthGuard and override getRequest, or mark the handler @Public()`,
    ],
    'runtime',
  );
}
