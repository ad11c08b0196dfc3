import { Controller, HttpStatus, Inject, Req, Res, UseInterceptors } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { JWKS_MAX_AGE_SECONDS } from '../engine/timing.js';
import { SessionNotFoundError } from '../errors.js';
import type { IssuedSession } from '../session/new-session.js';
import type { RefreshedSession } from '../session/refreshed-session.js';
import { SessionPolicies } from '../session/policies.js';
import { OldSessionIds } from '../session/old-session-ids.js';
import type { SessionList } from '../session/lists.js';
import { SessionService } from '../session/service.js';
import type { SessionSummary } from '../session/session.js';
import type { SessionClaims } from '../token/access-token.js';
import { Keyring } from '../token/keyring.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { ValidBody } from './body.guard.js';
import { clientInfoOf } from './client-info.js';
import type { Handlers, SESSION_ROUTES } from './contract.js';
import { CookieAnswers } from './cookie-answers.js';
import { ProvenRefresh } from './proven-refresh.js';
import { CurrentSession } from './decorators.js';
import { DpopTransport } from './dpop-transport.js';
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

/** The system whose ids `list/` shows and `destroy/` takes besides our own. */
const OLD_SYSTEM = 'simplejwt-multisessions';

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
  @Inject(DpopTransport) private readonly dpop!: DpopTransport;
  @Inject(SessionPolicies) private readonly policies!: SessionPolicies;
  @Inject(ProvenRefresh) private readonly proven!: ProvenRefresh;
  @Inject(CookieAnswers) private readonly cookieAnswers!: CookieAnswers;
  @Inject(OldSessionIds) private readonly oldIds!: OldSessionIds;
  @Inject(LoginAnswerFormat) private readonly loginAnswerFormat!: LoginAnswerFormat;

  /** Starts a session with a user name and a password. */
  @SessionRoute('login')
  async login(@ValidBody() body: LoginDto, @Req() request: unknown): Promise<LoginAnswer> {
    const { username, password, session: type, info, persistent } = body;
    const delivery = this.transport.delivery(request, { persistent });
    const proof = this.dpop.atLogin(request, type);
    const options = { type, info, client: clientInfoOf(request), ...delivery, proof };
    return this.loginAnswer(request, await this.sessions.login({ username, password }, options, request));
  }

  /** Issues a new access token, and a new refresh token if the policy says so. */
  @SessionRoute('refresh')
  async refresh(@ValidBody() body: RefreshDto, @Req() request: unknown): Promise<RefreshAnswer> {
    const [tokens, options] = this.transport.presented(request, body.refresh);
    const proven = await this.proven.answerTo(request, tokens);
    if (proven) return this.cookieAnswers.of(proven);
    const given = { type: body.session, client: clientInfoOf(request), request, proof: this.dpop.atRefresh(request) };
    const refreshed = await this.sessions
      .refresh(tokens, { ...given, ...options })
      .catch((error: unknown) => this.proven.refuse(request, tokens, error));
    const handedOut = this.transport.handOutRefreshed(request, refreshed);
    if (!handedOut) return this.cookieAnswers.of(refreshed);
    // The service returns a permanent token again so that its cookie gets a new expiry. The body leaves it out.
    const isKnown = handedOut.refresh === body.refresh && this.policies.isPermanent(refreshed.session.type);
    const answer = isKnown ? { access: handedOut.access } : handedOut;
    return { ...answer, ...tokenTypeOf(refreshed) };
  }

  /** Lists the caller's active sessions, of one type or of all. */
  @SessionRoute('list')
  async list(@ValidBody() body: ListDto, @CurrentSession() current: SessionClaims): Promise<ListAnswer> {
    const lists = await this.sessions.list(current.userId, { type: body.session, brief: true });
    const all = lists.flatMap(({ sessions }) => sessions);
    const oldIds = await this.oldIds.oldIdsOf(OLD_SYSTEM, all, current.userId);
    return Object.fromEntries(lists.map((list) => [capitalized(list.type), sessionsOfType(list, oldIds)]));
  }

  /** Ends one of the caller's sessions. */
  @SessionRoute('destroy')
  async destroy(
    @ValidBody() body: DestroyDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<EmptyAnswer> {
    const { userId } = current;
    const sessionId = await this.oldIds.resolve(OLD_SYSTEM, body.session_id, userId);
    await this.sessions.destroy(sessionId, { userId });
    if (sessionId === current.sessionId) this.transport.clear(request);
    return {};
  }

  /** Ends the caller's other sessions, of one type or of all. */
  @SessionRoute('destroyAllOther')
  async destroyAllOther(
    @ValidBody() body: DestroyAllOtherDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<EmptyAnswer> {
    const [tokens] = this.transport.presented(request, body.refresh);
    await this.sessions.destroyOthersByToken(current, tokens, { type: body.session });
    return {};
  }

  /** Ends the session of a refresh token, or of any of the cookies. */
  @SessionRoute('logout')
  async logout(@ValidBody() body: LogoutDto, @Req() request: unknown): Promise<EmptyAnswer> {
    const named = this.transport.namedSessions(request);
    if (!named) {
      await this.sessions.logout(body.refresh);
      return {};
    }
    const ended = await this.endEach(named);
    // Clear the cookies only now: a session that has not been ended must not lose its only keys.
    if (this.transport.carriesCookies(request)) this.transport.clear(request);
    if (ended === 0) throw new SessionNotFoundError(HttpStatus.UNAUTHORIZED);
    return {};
  }

  /** Checks the caller's password again and replaces the session with a new one. */
  @SessionRoute('reauthenticate')
  async reauthenticate(
    @ValidBody() body: ReauthenticateDto,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
  ): Promise<LoginAnswer> {
    const proof = this.dpop.atReauthentication(request, current);
    const options = { client: clientInfoOf(request), ...this.transport.redelivery(request), proof };
    return this.loginAnswer(request, await this.sessions.reauthenticate(current, { ...body }, options, request));
  }

  /** Publishes the public keys of `jwt.keys` and `jwt.managed`, for services that verify access tokens (RFC 7517). */
  @SessionRoute('jwks')
  jwks(@Res() response: unknown): JwkSet {
    const { httpAdapter } = this.adapterHost;
    const keys = this.keyring.jwks();
    httpAdapter.setHeader(response, 'Cache-Control', `public, max-age=${JWKS_MAX_AGE_SECONDS}`);
    // Sent here, so that no interceptor of the application can wrap it: clients expect exactly this JSON.
    httpAdapter.reply(response, keys, 200);
    return keys;
  }

  /** Ends the sessions that are still active, and returns how many those were. */
  private async endEach(sessionIds: readonly string[]): Promise<number> {
    let ended = 0;
    for (const sessionId of sessionIds) {
      try {
        await this.sessions.destroy(sessionId, { reason: 'logout' });
        ended++;
      } catch (error) {
        if (!(error instanceof SessionNotFoundError)) throw error;
      }
    }
    return ended;
  }

  private loginAnswer(request: unknown, issued: IssuedSession): LoginAnswer {
    const tokens = this.transport.handOut(request, issued);
    if (!tokens) return this.cookieAnswers.of(issued);
    const answer = this.loginAnswerFormat.format(issued) ?? {
      refresh: issued.refresh,
      access: issued.access,
      session_id: issued.session.id,
    };
    return { ...answer, ...tokenTypeOf(issued) };
  }
}

/** Says that the access token in a body needs proofs. A session whose tokens travel in the body is bound by DPoP only. */
function tokenTypeOf({ session }: IssuedSession | RefreshedSession): { token_type?: 'DPoP' } {
  return session.bound ? { token_type: 'DPoP' } : {};
}

function sessionsOfType(
  { available, sessions }: SessionList<SessionSummary>,
  oldIds: ReadonlyMap<string, string>,
): SessionsOfType {
  return {
    'Available Sessions': Number.isFinite(available) ? String(available) : 'Unlimited',
    Sessions: sessions.map((session) => listedSession(session, oldIds.get(session.id))),
  };
}

function listedSession(session: SessionSummary, oldId: string | undefined): ListedSession {
  const { id, createdAt, lastUpdate, expiresAt, info } = session;
  return {
    session_id: oldId ?? id,
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
