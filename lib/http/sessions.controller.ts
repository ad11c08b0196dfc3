import { Controller, Inject, Req, UseInterceptors } from '@nestjs/common';
import { clientInfoOf } from '../session/client-info.js';
import type { CurrentSession as CurrentSessionClaims, Session } from '../session/session.js';
import { type SessionList, SessionService } from '../session/session.service.js';
import { AnswerHeadersInterceptor } from './answer-headers.interceptor.js';
import { ValidBody } from './body.guard.js';
import { CurrentSession } from './decorators.js';
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
  RefreshDto,
  type RefreshAnswer,
} from './sessions.dto.js';

/**
 * The six routes of the HTTP contract. Subclass it under your own `@Controller()` to change the path or, with
 * `@SessionRoute()`, a route.
 */
@Controller()
@UseInterceptors(AnswerHeadersInterceptor)
export class SessionsController {
  @Inject(SessionService) protected readonly sessions!: SessionService;

  /** Opens a session for a user name and a password. */
  @SessionRoute('login')
  async login(@ValidBody() body: LoginDto, @Req() request: unknown): Promise<LoginAnswer> {
    const { username, password, session: type, info } = body;
    const options = { type, info, client: clientInfoOf(request) };
    const { refresh, access, session } = await this.sessions.login({ username, password }, options, request);
    return { refresh, access, session_id: session.id };
  }

  /** Gives a new access token, and a new refresh token where the policy hands one out. */
  @SessionRoute('refresh')
  async refresh(@ValidBody() body: RefreshDto, @Req() request: unknown): Promise<RefreshAnswer> {
    const { refresh, access } = await this.sessions.refresh(body.refresh, {
      type: body.session,
      client: clientInfoOf(request),
    });
    return refresh === undefined ? { access } : { refresh, access };
  }

  /** The caller's active sessions, of one type or of all. */
  @SessionRoute('list')
  async list(@ValidBody() body: ListDto, @CurrentSession() current: CurrentSessionClaims): Promise<ListAnswer> {
    const lists = await this.sessions.list(current.userId, { type: body.session });
    return Object.fromEntries(lists.map((list) => [capitalized(list.type), listed(list)]));
  }

  /** Ends one of the caller's sessions. */
  @SessionRoute('destroy')
  async destroy(@ValidBody() body: DestroyDto, @CurrentSession() current: CurrentSessionClaims): Promise<object> {
    await this.sessions.destroy(body.session_id, { userId: current.userId });
    return {};
  }

  /** Ends the caller's other sessions, of one type or of all. */
  @SessionRoute('destroyAllOther')
  async destroyAllOther(
    @ValidBody() body: DestroyAllOtherDto,
    @CurrentSession() current: CurrentSessionClaims,
  ): Promise<object> {
    await this.sessions.destroyOthersByToken(current, body.refresh, { type: body.session });
    return {};
  }

  /** Ends the session of a refresh token. */
  @SessionRoute('logout')
  async logout(@ValidBody() body: LogoutDto): Promise<object> {
    await this.sessions.logout(body.refresh);
    return {};
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
