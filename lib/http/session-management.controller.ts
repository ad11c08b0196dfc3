import {
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Req,
  Res,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import type { SessionClaims } from '../token/access-token.js';
import type { Session } from '../session/session.js';
import { SessionService } from '../session/service.js';
import { describeUserAgent } from '../session/user-agent.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { AcceptsBody, BodyGuard, ValidBody } from './body.guard.js';
import { CurrentSession, Public, RequireSession } from './decorators.js';
import { JwtAuthGuard } from './jwt-auth.guard.js';
import { RefreshTransport } from './refresh-transport.js';
import { RequiredSecretKeyGuard } from './secret-key.guard.js';
import {
  DeleteListDto,
  type DescribedSession,
  type EndedAnswer,
  type IntrospectionAnswer,
  type ManagedSession,
  VerifyDto,
} from './session-management.dto.js';

/**
 * What a user sees and does on a page of «your devices», and `verify/` for other services: the routes of django-token-manager.
 * They stand beside those of `SessionsController`.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor)
export class SessionManagementController {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(RefreshTransport) private readonly transport!: RefreshTransport;

  /** The caller's active sessions: the one that asks first, then the last used first. */
  @Get('sessions')
  @RequireSession()
  @UseGuards(JwtAuthGuard)
  async list(@CurrentSession() current: SessionClaims): Promise<ManagedSession[]> {
    const lists = await this.sessions.list(current.userId);
    const rank = ({ id, lastUpdate }: Session) => (id === current.sessionId ? Infinity : lastUpdate.getTime());
    return lists
      .flatMap(({ sessions }) => sessions)
      .sort((a, b) => rank(b) - rank(a))
      .map((session) => ({ ...describeSession(session), current: session.id === current.sessionId }));
  }

  /** Ends all of the caller's sessions but the one that asks. */
  @Delete('sessions')
  @RequireSession()
  @UseGuards(JwtAuthGuard)
  async endOthers(@CurrentSession() current: SessionClaims): Promise<EndedAnswer> {
    return { ended: await this.sessions.destroyOthers(current.userId, current.sessionId) };
  }

  /** Ends one of the caller's sessions. */
  @Delete('sessions/:id')
  @HttpCode(204)
  @RequireSession()
  @UseGuards(JwtAuthGuard)
  async end(
    @Param('id') id: string,
    @CurrentSession() current: SessionClaims,
    @Req() request: unknown,
    @Res({ passthrough: true }) response: unknown,
  ): Promise<void> {
    await this.sessions.destroy(id, { userId: current.userId });
    if (id === current.sessionId) this.transport.clear(request, response);
  }

  /** Ends those of the caller's sessions that are named, all or none; the one that asks is left out. */
  @Post('sessions/delete-list')
  @HttpCode(200)
  @RequireSession()
  @AcceptsBody(DeleteListDto)
  @UseGuards(JwtAuthGuard, BodyGuard)
  async endList(@ValidBody() body: DeleteListDto, @CurrentSession() current: SessionClaims): Promise<EndedAnswer> {
    return { ended: await this.sessions.destroyMany(current.userId, body.ids, { except: current.sessionId }) };
  }

  /** Says what a token is worth, to whoever knows the secret key (RFC 7662). */
  @Post('verify')
  @HttpCode(200)
  @Public()
  @AcceptsBody(VerifyDto)
  @UseGuards(BodyGuard, RequiredSecretKeyGuard)
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

/** What a person wants to see of a session. */
export function describeSession(session: Session): DescribedSession {
  return {
    id: session.id,
    type: session.type,
    device: session.deviceName,
    ...describeUserAgent(session.userAgent),
    ip_address: session.ipAddress,
    info: session.info,
    created_at: session.createdAt.toISOString(),
    last_update: session.lastUpdate.toISOString(),
    expires_at: session.expiresAt.toISOString(),
  };
}
