import { Controller, Get, Inject, Req, Res, UseInterceptors } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { clientInfoOf } from '../session/client-info.js';
import type { SessionClaims } from '../token/access-token.js';
import type { Session } from '../session/session.js';
import { SessionPolicies } from '../session/policies.js';
import type { IssuedSession } from '../session/login.js';
import { type SessionList, SessionService } from '../session/service.js';
import { Keyring, type PublicJwk } from '../token/keyring.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { ValidBody } from './body.guard.js';
import { CurrentSession, Public } from './decorators.js';
import { RefreshTransport } from './refresh-transport.js';
import { SessionRoute } from './session-route.js';
import {
  DestroyAllOtherDto,
  DestroyDto,
  ListDto,
  type ListAnswer,
  type ListedSession,
  LoginDto,
  type LoginAnswer,
  LogoutDto,
  ReauthenticateDto,
  RefreshDto,
  type RefreshAnswer,
} from './sessions.dto.js';

/** For how long a client may keep the public keys, in seconds. */
export const JWKS_MAX_AGE = 300;

/**
 * The six routes of the HTTP contract, `reauthenticate/` and the public keys. Subclass it under your own `@Controller()` to change the path or, with
 * `@SessionRoute()`, a route.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor)
export class SessionsController {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(Keyring) private readonly keyring!: Keyring;
  @Inject(HttpAdapterHost) private readonly adapterHost!: HttpAdapterHost;
  @Inject(RefreshTransport) private readonly transport!: RefreshTransport;
  @Inject(SessionPolicies) private readonly policies!: SessionPolicies;

  /** Opens a session for a user name and a password. */
  @SessionRoute('login')
  async login(@ValidBody() body: LoginDto, @Req() request: unknown): Promise<LoginAnswer> {
    const { username, password, session: type, info } = body;
    const options = { type, info, client: clientInfoOf(request) };
    return this.loginAnswer(request, await this.sessions.login({ username, password }, options, request));
  }

  /** Gives a new access token, and a new refresh token where the policy hands one out. */
  @SessionRoute('refresh')
  async refresh(@ValidBody() body: RefreshDto, @Req() request: unknown): Promise<RefreshAnswer> {
    const tokens = this.transport.ownRefreshTokensOf(request, body.refresh);
    const refreshed = await this.sessions
      .refresh(tokens, { type: body.session, client: clientInfoOf(request) })
      .catch((error: unknown) => this.transport.refuse(request, error));
    const handedOut = this.transport.handOut(request, refreshed);
    if (!handedOut) return { session_id: refreshed.session.id };
    // A permanent token is handed out again for its cookie's sake alone.
    const isKnown = handedOut.refresh === body.refresh && this.isPermanent(refreshed.session);
    return isKnown ? { access: handedOut.access } : handedOut;
  }

  /** The caller's active sessions, of one type or of all. */
  @SessionRoute('list')
  async list(@ValidBody() body: ListDto, @CurrentSession() current: SessionClaims): Promise<ListAnswer> {
    const lists = await this.sessions.list(current.userId, { type: body.session });
    return Object.fromEntries(lists.map((list) => [capitalized(list.type), listed(list)]));
  }

  /** Ends one of the caller's sessions. */
  @SessionRoute('destroy')
  async destroy(
    @ValidBody() body: DestroyDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<object> {
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
  ): Promise<object> {
    const tokens = this.transport.refreshTokensOf(request, body.refresh);
    await this.sessions.destroyOthersByToken(current, tokens, { type: body.session });
    return {};
  }

  /** Ends the session of a refresh token. */
  @SessionRoute('logout')
  async logout(@ValidBody() body: LogoutDto, @Req() request: unknown): Promise<object> {
    const tokens = this.transport.refreshTokensOf(request, body.refresh);
    await this.sessions.logout(tokens).catch((error: unknown) => this.transport.refuse(request, error));
    this.transport.clear(request);
    return {};
  }

  /** Asks for the caller's password again, and puts a new session in the place of the one that asks. */
  @SessionRoute('reauthenticate')
  async reauthenticate(
    @ValidBody() body: ReauthenticateDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<LoginAnswer> {
    const options = { client: clientInfoOf(request) };
    return this.loginAnswer(request, await this.sessions.reauthenticate(current, { ...body }, options, request));
  }

  /** The public keys of `jwt.keys` and `jwt.managed`, for services that verify access tokens (RFC 7517). Never a secret. */
  @Public()
  @Get('jwks.json')
  jwks(@Res({ passthrough: true }) response: unknown): { keys: PublicJwk[] } {
    this.adapterHost.httpAdapter.setHeader(response, 'Cache-Control', `public, max-age=${JWKS_MAX_AGE}`);
    return this.keyring.jwks();
  }

  private isPermanent({ type }: Session): boolean {
    return this.policies.get(type)?.config.permanent === true;
  }

  private loginAnswer(request: unknown, issued: IssuedSession): LoginAnswer {
    const tokens = this.transport.handOut(request, issued);
    const { id } = issued.session;
    if (!tokens || !this.isPermanent(issued.session)) return { ...tokens, session_id: id };
    return { token: tokens.access, permanent_token: issued.refresh, device_id: id };
  }
}

function listed({ available, sessions }: SessionList): ListAnswer[string] {
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

/** A fraction is written where there is one to be written. */
function toIso(time: Date, precision: 'seconds' | 'milliseconds'): string {
  const text = time.toISOString();
  return precision === 'seconds' || text.endsWith('.000Z') ? `${text.slice(0, 19)}Z` : text;
}

function capitalized(type: string): string {
  return type.charAt(0).toUpperCase() + type.slice(1).toLowerCase();
}
