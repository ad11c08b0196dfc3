import {
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Query,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { DailyCounts, type SessionStatistics } from './statistics/daily-counts.js';
import { AnswerHeadersInterceptor } from '../http/answer-headers.interceptor.js';
import { AcceptsBody, BodyGuard } from '../http/body.guard.js';
import { describeSession } from '../http/session-management.controller.js';
import type { EndedAnswer } from '../http/session-management.dto.js';
import { SessionAdministration } from '../session/administration.js';
import { SessionService } from '../session/service.js';
import { AdminGuards } from './admin.guards.js';
import {
  type AdminSessionPage,
  EndAllDto,
  type Query as QueryFields,
  readStatisticsQuery,
  readListQuery,
} from './admin-sessions.dto.js';

/** Everybody's sessions, for those whom the guards of the option `admin` let pass. There are no such routes without that option. */
@Controller('admin')
@UseInterceptors(AnswerHeadersInterceptor)
@UseGuards(AdminGuards)
export class AdminSessionsController {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(SessionAdministration) protected readonly administration!: SessionAdministration;
  @Inject(DailyCounts) private readonly counts!: DailyCounts;

  /** Active sessions, the latest begun first, a page at a time. */
  @Get('sessions')
  async list(@Query() query: QueryFields): Promise<AdminSessionPage> {
    const { sessions, next } = await this.administration.list(readListQuery(query));
    return { sessions: sessions.map((session) => ({ user_id: session.userId, ...describeSession(session) })), next };
  }

  /** Ends one session, whoever's it is. */
  @Delete('sessions/:id')
  @HttpCode(204)
  async end(@Param('id') id: string): Promise<void> {
    await this.sessions.destroy(id, { reason: 'admin' });
  }

  /** Ends all sessions of a user: after a theft, or when the account is disabled. */
  @Delete('users/:userId/sessions')
  async endOfUser(@Param('userId') userId: string): Promise<EndedAnswer> {
    return { ended: await this.sessions.destroyAll(userId, { reason: 'admin' }) };
  }

  /** Ends everybody's sessions, that of whoever asks among them. It answers when all are ended. */
  @Post('sessions/end-all')
  @HttpCode(200)
  @AcceptsBody(EndAllDto)
  @UseGuards(BodyGuard)
  async endAll(): Promise<EndedAnswer> {
    return { ended: await this.administration.endAll() };
  }

  /** Active sessions by type, and the logins and endings of each day. */
  @Get('statistics')
  async statistics(@Query() query: QueryFields): Promise<SessionStatistics> {
    return this.counts.statistics(readStatisticsQuery(query));
  }
}
