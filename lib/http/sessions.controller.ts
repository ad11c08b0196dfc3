import { Controller, Inject, Req, Res, UseInterceptors } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { JWKS_MAX_AGE_SECONDS } from '../engine/timing.js';
import type { IssuedSession } from '../session/login.js';
import { SessionPolicies } from '../session/policies.js';
import { type SessionList, SessionService } from '../session/service.js';
import type { Session } from '../session/session.js';
import type { SessionClaims } from '../token/access-token.js';
import { Keyring } from '../token/keyring.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { ValidBody } from './body.guard.js';
import { clientInfoOf } from './client-info.js';
import type { Handlers, SESSION_ROUTES } from './contract.js';
import { CurrentSession } from './decorators.js';
import { LoginAnswerFormat } from './login-answer-format.js';
import { RefreshTransport } from './refresh-transport.js';
import { ResponseInterceptor } from './response.interceptor.js';
import { SessionRoute } from './session-route.js';
import {
  DestroyAllOtherDto,
  DestroyDto,
  type EmptyAnswer,
  type JwkSet,
  ListDto,
  type ListAnswer,
  type ListedSession,
  LoginDto,
  type LoginAnswer,
  LogoutDto,
  ReauthenticateDto,
  RefreshDto,
  type RefreshAnswer,
  type SessionsOfType,
} from './sessions.dto.js';

/**
 * The six routes of simplejwt_multisessions, `reauthenticate/` and `jwks.json`. To serve them under another path, extend this
 * class with your own `@Controller()`. To change a route, override its method and repeat `@SessionRoute()`.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor, ResponseInterceptor)
export class SessionsController implements Handlers<typeof SESSION_ROUTES> {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(Keyring) private readonly keyring!: Keyring;
  @Inject(HttpAdapterHost) private readonly adapterHost!: HttpAdapterHost;
  @Inject(RefreshTransport) private readonly transport!: RefreshTransport;
  @Inject(SessionPolicies) private readonly policies!: SessionPolicies;
  @Inject(LoginAnswerFormat) private readonly loginAnswerFormat!: LoginAnswerFormat;

  /** Starts a session with a user name and a password. */
  @SessionRoute('login')
  async login(@ValidBody() body: LoginDto, @Req() request: unknown): Promise<LoginAnswer> {
    const { username, password, session: type, info } = body;
    const options = { type, info, client: clientInfoOf(request) };
    return this.loginAnswer(request, await this.sessions.login({ username, password }, options, request));
  }

  /** Issues a new access token, and a new refresh token if the policy says so. */
  @SessionRoute('refresh')
  async refresh(@ValidBody() body: RefreshDto, @Req() request: unknown): Promise<RefreshAnswer> {
    const tokens = this.transport.ownRefreshTokensOf(request, body.refresh);
    const refreshed = await this.sessions
      .refresh(tokens, { type: body.session, client: clientInfoOf(request) })
      .catch((error: unknown) => this.transport.refuse(request, error));
    const handedOut = this.transport.handOut(request, refreshed);
    if (!handedOut) return { session_id: refreshed.session.id };
    // The service returns a permanent token again so that its cookie gets a new expiry. The body leaves it out.
    const isKnown = handedOut.refresh === body.refresh && this.policies.isPermanent(refreshed.session.type);
    return isKnown ? { access: handedOut.access } : handedOut;
  }

  /** Lists the caller's active sessions, of one type or of all. */
  @SessionRoute('list')
  async list(@ValidBody() body: ListDto, @CurrentSession() current: SessionClaims): Promise<ListAnswer> {
    const lists = await this.sessions.list(current.userId, { type: body.session });
    return Object.fromEntries(lists.map((list) => [capitalized(list.type), sessionsOfType(list)]));
  }

  /** Ends one of the caller's sessions. */
  @SessionRoute('destroy')
  async destroy(
    @ValidBody() body: DestroyDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<EmptyAnswer> {
    await this.sessions.destroy(body.session_id, { userId: current.userId });
    if (body.session_id === current.sessionId) this.transport.clear(request);
    return {};
  }

  /** Ends the caller's other sessions, of one type or of all. */
  @SessionRoute('destroyAllOther')
  async destroyAllOther(
    @ValidBody() body: DestroyAllOtherDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<EmptyAnswer> {
    const tokens = this.transport.refreshTokensOf(request, body.refresh);
    await this.sessions.destroyOthersByToken(current, tokens, { type: body.session });
    return {};
  }

  /** Ends the session of a refresh token. */
  @SessionRoute('logout')
  async logout(@ValidBody() body: LogoutDto, @Req() request: unknown): Promise<EmptyAnswer> {
    const tokens = this.transport.refreshTokensOf(request, body.refresh);
    await this.sessions.logout(tokens).catch((error: unknown) => this.transport.refuse(request, error));
    this.transport.clear(request);
    return {};
  }

  /** Checks the caller's password again and replaces the session with a new one. */
  @SessionRoute('reauthenticate')
  async reauthenticate(
    @ValidBody() body: ReauthenticateDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<LoginAnswer> {
    const options = { client: clientInfoOf(request) };
    return this.loginAnswer(request, await this.sessions.reauthenticate(current, { ...body }, options, request));
  }

  /** Publishes the public keys of `jwt.keys` and `jwt.managed`, for services that verify access tokens (RFC 7517). */
  @SessionRoute('jwks')
  jwks(@Res({ passthrough: true }) response: unknown): JwkSet {
    this.adapterHost.httpAdapter.setHeader(response, 'Cache-Control', `public, max-age=${JWKS_MAX_AGE_SECONDS}`);
    return this.keyring.jwks();
  }

  private loginAnswer(request: unknown, issued: IssuedSession): LoginAnswer {
    const tokens = this.transport.handOut(request, issued);
    if (!tokens) return { session_id: issued.session.id };
    return (
      this.loginAnswerFormat.format(issued) ?? {
        refresh: issued.refresh,
        access: issued.access,
        session_id: issued.session.id,
      }
    );
  }
}

function sessionsOfType({ available, sessions }: SessionList): SessionsOfType {
  return {
    'Available Sessions': Number.isFinite(available) ? String(available) : 'Unlimited',
    Sessions: sessions.map(listedSession),
  };
}

function listedSession({ id, createdAt, lastUpdate, expiresAt, info }: Session): ListedSession {
  return {
    session_id: id,
    created_at: toIso(createdAt, 'seconds'),
    last_update: toIso(lastUpdate, 'milliseconds'),
    expires_at: toIso(expiresAt, 'seconds'),
    session_info: info,
  };
}

/** Formats a time in ISO 8601 as Django does, which omits a fraction of zero. */
function toIso(time: Date, precision: 'seconds' | 'milliseconds'): string {
  const text = time.toISOString();
  return precision === 'seconds' || text.endsWith('.000Z') ? `${text.slice(0, 19)}Z` : text;
}

function capitalized(type: string): string {
  return type.charAt(0).toUpperCase() + type.slice(1).toLowerCase();
}
