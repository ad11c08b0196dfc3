import { Controller, Inject, Param, Query, Req, UseInterceptors } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Clock } from '../database/clock.js';
import type { FeedAnswer } from '../feed/feed-answer.js';
import { SessionFeed } from '../feed/session-feed.js';
import { SessionHistory } from '../outbox/session-history.js';
import { canonicalSessionId } from '../session/id.js';
import { SessionService } from '../session/service.js';
import type { SessionSummary } from '../session/session.js';
import type { SessionClaims } from '../token/access-token.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { GatewayAuthorization } from './authorize.js';
import { ValidBody } from './body.guard.js';
import { clientInfoOf } from './client-info.js';
import type { Handlers, MANAGEMENT_ROUTES } from './contract.js';
import { secondsUntil } from './cookie-answers.js';
import { CurrentSession } from './decorators.js';
import { describeSession } from './described-session.js';
import { type Query as QueryParameters, readQuery } from './query.js';
import { RefreshTransport } from './refresh-transport.js';
import type { CredentialsCarrier } from './request.js';
import { ResponseInterceptor, responseOf } from './response.interceptor.js';
import { FEED_QUERY } from './revocations.dto.js';
import {
  DeleteListDto,
  type EndedAnswer,
  type IntrospectionAnswer,
  type ManagedSession,
  RenewDto,
  type RenewedToken,
  VerifyDto,
} from './session-management.dto.js';
import { describePastEvent, historyOf, type SessionHistoryPage } from './session-history.dto.js';
import { ManagementRoute } from './session-route.js';

/**
 * The routes for a "Your devices" page, which are those of django-token-manager, under the path of `SessionsController`. Also
 * `verify/`, `revocations/` and `authorize/` for other services and gateways, and `renew/` for servers that render pages.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor, ResponseInterceptor)
export class SessionManagementController implements Handlers<typeof MANAGEMENT_ROUTES> {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(SessionHistory) private readonly past!: SessionHistory;
  @Inject(RefreshTransport) private readonly transport!: RefreshTransport;
  @Inject(Clock) private readonly clock!: Clock;
  @Inject(SessionFeed) private readonly feed!: SessionFeed;
  @Inject(GatewayAuthorization) private readonly gateways!: GatewayAuthorization;
  @Inject(HttpAdapterHost) private readonly adapterHost!: HttpAdapterHost;

  /** Lists the caller's active sessions: the current one first, then by last refresh. */
  @ManagementRoute('list')
  async list(@CurrentSession() current: SessionClaims): Promise<ManagedSession[]> {
    const lists = await this.sessions.list(current.userId, { brief: true });
    const rank = ({ id, lastUpdate }: SessionSummary) => (id === current.sessionId ? Infinity : lastUpdate.getTime());
    return lists
      .flatMap(({ sessions }) => sessions)
      .sort((a, b) => rank(b) - rank(a))
      .map((session) => ({ ...describeSession(session), current: session.id === current.sessionId }));
  }

  /** Lists logins, endings and warnings of the caller. Empty unless the option `events` is set. */
  @ManagementRoute('history')
  async history(
    @Query() query: QueryParameters,
    @CurrentSession() current: SessionClaims,
  ): Promise<SessionHistoryPage> {
    const { events, next } = await historyOf(this.past, current.userId, query);
    return { events: events.map(describePastEvent), next };
  }

  /** Ends all of the caller's sessions except the current one. */
  @ManagementRoute('endOthers')
  async endOthers(@CurrentSession() current: SessionClaims): Promise<EndedAnswer> {
    return { ended: await this.sessions.destroyOthers(current.userId, current.sessionId) };
  }

  /** Ends one of the caller's sessions. */
  @ManagementRoute('end')
  async end(@Param('id') id: string, @CurrentSession() current: SessionClaims, @Req() request: unknown): Promise<void> {
    await this.sessions.destroy(id, { userId: current.userId });
    if (canonicalSessionId(id) === current.sessionId) this.transport.clear(request);
  }

  /** Ends several of the caller's sessions, all or none. The current session is skipped. */
  @ManagementRoute('endList')
  async endList(@ValidBody() body: DeleteListDto, @CurrentSession() current: SessionClaims): Promise<EndedAnswer> {
    return { ended: await this.sessions.destroyMany(current.userId, body.ids, { except: current.sessionId }) };
  }

  /** Tells a backend whether a token is valid now, and returns its claims (RFC 7662). */
  @ManagementRoute('verify')
  async verify(@ValidBody() body: VerifyDto): Promise<IntrospectionAnswer> {
    const token = await this.sessions.introspect(body.token);
    if (!token) return { active: false };
    const { use, session, tokenId, issuedAt, expiresAt, claims } = token;
    return {
      ...claims,
      active: true,
      ...(use === 'access' && { token_type: claims.cnf === undefined ? 'Bearer' : 'DPoP' }),
      token_use: use,
      sub: String(session.userId),
      sid: session.id,
      session_type: session.type,
      exp: expiresAt,
      iat: issuedAt,
      jti: tokenId,
    };
  }

  /** Issues an access token to a server that renders a page for the client. The session and its refresh token stay as they are. */
  @ManagementRoute('renew')
  async renew(@ValidBody() body: RenewDto, @Req() request: unknown): Promise<RenewedToken> {
    const [tokens, options] = this.transport.passedOn(request, body.refresh);
    const client = clientInfoOf(request);
    const { access, expiresAt } = await this.sessions.renew(tokens, { ...options, client, request });
    return { access, expires_in: secondsUntil(expiresAt.getTime(), this.clock.now()) };
  }

  /** Tells another service which sessions have ended, and waits for more if there is nothing new. */
  @ManagementRoute('revocations')
  async revocations(@Query() query: QueryParameters, @Req() request: unknown): Promise<FeedAnswer> {
    const { after, wait, page } = readQuery(query, FEED_QUERY);
    const answer = await this.feed.answer({ after, page, ...(wait !== undefined && { wait: wait * 1000 }) });
    // A receiver asks again at once. On the same connection, that would keep the server from closing.
    if (this.feed.isClosing) this.adapterHost.httpAdapter.setHeader(responseOf(request), 'Connection', 'close');
    return answer;
  }

  /** Tells a gateway whether a request may pass, and in headers who the caller is. */
  @ManagementRoute('authorize')
  async authorize(@Req() request: unknown): Promise<void> {
    const headers = await this.gateways.authorize(request as CredentialsCarrier);
    for (const [name, value] of Object.entries(headers))
      this.adapterHost.httpAdapter.setHeader(responseOf(request), name, value);
  }
}
