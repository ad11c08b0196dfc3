import { Controller, Inject, Param, Req, UseInterceptors } from '@nestjs/common';
import { SessionService } from '../session/service.js';
import type { Session } from '../session/session.js';
import type { SessionClaims } from '../token/access-token.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { ValidBody } from './body.guard.js';
import type { Handlers, MANAGEMENT_ROUTES } from './contract.js';
import { CurrentSession } from './decorators.js';
import { describeSession } from './described-session.js';
import { RefreshTransport } from './refresh-transport.js';
import { ResponseInterceptor } from './response.interceptor.js';
import {
  DeleteListDto,
  type EndedAnswer,
  type IntrospectionAnswer,
  type ManagedSession,
  VerifyDto,
} from './session-management.dto.js';
import { ManagementRoute } from './session-route.js';

/**
 * The routes for a "Your devices" page, and `verify/` for other services. They are the routes of django-token-manager, under
 * the path of `SessionsController`.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor, ResponseInterceptor)
export class SessionManagementController implements Handlers<typeof MANAGEMENT_ROUTES> {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(RefreshTransport) private readonly transport!: RefreshTransport;

  /** Lists the caller's active sessions: the current one first, then by last refresh. */
  @ManagementRoute('list')
  async list(@CurrentSession() current: SessionClaims): Promise<ManagedSession[]> {
    const lists = await this.sessions.list(current.userId);
    const rank = ({ id, lastUpdate }: Session) => (id === current.sessionId ? Infinity : lastUpdate.getTime());
    return lists
      .flatMap(({ sessions }) => sessions)
      .sort((a, b) => rank(b) - rank(a))
      .map((session) => ({ ...describeSession(session), current: session.id === current.sessionId }));
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
    if (id === current.sessionId) this.transport.clear(request);
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
      ...(use === 'access' && { token_type: 'Bearer' }),
      token_use: use,
      sub: String(session.userId),
      sid: session.id,
      session_type: session.type,
      exp: expiresAt,
      iat: issuedAt,
      jti: tokenId,
    };
  }
}
