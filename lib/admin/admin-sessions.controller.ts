import { Controller, Inject, Param, Query, UseGuards, UseInterceptors } from '@nestjs/common';
import { AnswerHeadersInterceptor } from '../http/answer-headers.interceptor.js';
import type { Handlers } from '../http/contract.js';
import { describeSession } from '../http/described-session.js';
import type { EndedAnswer } from '../http/session-management.dto.js';
import { SessionAdministration } from '../session/administration.js';
import { SessionService } from '../session/service.js';
import { AdminRoute } from './admin-route.js';
import {
  type AdminSessionPage,
  LIST_QUERY,
  type SessionStatisticsAnswer,
  STATISTICS_QUERY,
} from './admin-sessions.dto.js';
import { AdminGuards } from './admin.guards.js';
import type { ADMIN_ROUTES } from './contract.js';
import { type Query as QueryParameters, readQuery } from './query.js';
import { DailyCounts } from './statistics/daily-counts.js';

/**
 * Lets administrators see and end everybody's sessions. The guards of the option `admin` decide who is an administrator.
 * Without that option, the routes do not exist.
 */
@Controller('admin')
@UseInterceptors(AnswerHeadersInterceptor)
@UseGuards(AdminGuards)
export class AdminSessionsController implements Handlers<typeof ADMIN_ROUTES> {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(SessionAdministration) protected readonly administration!: SessionAdministration;
  @Inject(DailyCounts) private readonly counts!: DailyCounts;

  /** Lists active sessions page by page, the newest first. */
  @AdminRoute('list')
  async list(@Query() query: QueryParameters): Promise<AdminSessionPage> {
    const { user, ...filter } = readQuery(query, LIST_QUERY);
    const { sessions, next } = await this.administration.list({ ...filter, userId: user });
    return { sessions: sessions.map((session) => ({ user_id: session.userId, ...describeSession(session) })), next };
  }

  /** Ends one session of any user. */
  @AdminRoute('end')
  async end(@Param('id') id: string): Promise<void> {
    await this.sessions.destroy(id, { reason: 'admin' });
  }

  /** Ends all sessions of a user, for example after a theft or when the account is disabled. */
  @AdminRoute('endOfUser')
  async endOfUser(@Param('userId') userId: string): Promise<EndedAnswer> {
    return { ended: await this.sessions.destroyAll(userId, { reason: 'admin' }) };
  }

  /** Ends everybody's sessions, including the caller's. The answer is sent when all of them have ended. */
  @AdminRoute('endAll')
  async endAll(): Promise<EndedAnswer> {
    return { ended: await this.administration.endAll() };
  }

  /** Counts active sessions by type, and the logins and endings of each day. */
  @AdminRoute('statistics')
  async statistics(@Query() query: QueryParameters): Promise<SessionStatisticsAnswer> {
    return this.counts.statistics(readQuery(query, STATISTICS_QUERY));
  }
}
