import { Controller, Inject, Param, Query, Req, UseGuards, UseInterceptors } from '@nestjs/common';
import { ValidationFailedError } from '../errors.js';
import { AnswerHeadersInterceptor, NoStoreGuard } from '../http/answer-headers.interceptor.js';
import { REQUIRED } from '../http/body-fields.js';
import { ValidBody } from '../http/body.guard.js';
import type { Handlers } from '../http/contract.js';
import { describeSession } from '../http/described-session.js';
import { describePastEvent, historyOf } from '../http/session-history.dto.js';
import type { EndedAnswer } from '../http/session-management.dto.js';
import { ManagedKeys } from '../keys/managed-keys.js';
import { EventAdministration, type ReplayFilter } from '../outbox/event-administration.js';
import { SessionHistory } from '../outbox/session-history.js';
import type { UserDirectory } from '../session/authenticator.js';
import { SessionAdministration } from '../session/administration.js';
import type { EndAllProgress } from '../session/end-all.js';
import { SessionService } from '../session/service.js';
import type { UserId } from '../token/options.js';
import { Administrator } from './administrator.js';
import { AdminRoute } from './admin-route.js';
import {
  DEAD_LETTERS_QUERY,
  type DeadLetterAnswer,
  type EventStatusAnswer,
  type ReplayedEventsAnswer,
  ReplayEventsDto,
} from './admin-events.dto.js';
import {
  ACTIONS_QUERY,
  type AdminActionPageAnswer,
  type AdminHistoryPage,
  type AdminSessionPage,
  type EndAllAnswer,
  LIST_QUERY,
  NOT_A_TIME,
  readTime,
  type SessionStatisticsAnswer,
  type SigningKeyAnswer,
  STATISTICS_QUERY,
} from './admin-sessions.dto.js';
import { AdminGuards } from './admin.guards.js';
import type { ADMIN_ROUTES } from './contract.js';
import { type Query as QueryParameters, readQuery } from '../http/query.js';
import { DailyCounts } from './statistics/daily-counts.js';

/** Maximum number of users whom a search by name may find. Each of them takes a statement. */
const MAX_FOUND = 20;

/**
 * Lets administrators see and end everybody's sessions. The guards of the option `admin` decide who is an administrator.
 * Without that option, the routes do not exist.
 */
@Controller('admin')
@UseInterceptors(AnswerHeadersInterceptor)
@UseGuards(NoStoreGuard, AdminGuards)
export class AdminSessionsController implements Handlers<typeof ADMIN_ROUTES> {
  @Inject(SessionService) protected readonly sessions!: SessionService;
  @Inject(SessionAdministration) protected readonly administration!: SessionAdministration;
  @Inject(DailyCounts) private readonly counts!: DailyCounts;
  @Inject(SessionHistory) private readonly history!: SessionHistory;
  @Inject(ManagedKeys) private readonly managedKeys!: ManagedKeys;
  @Inject(EventAdministration) private readonly events!: EventAdministration;

  /** Lists active sessions page by page, the newest first. */
  @AdminRoute('list')
  async list(@Query() query: QueryParameters, @Req() request: unknown): Promise<AdminSessionPage> {
    const { user, user_name: name, ip_address: ipAddress, ...filter } = readQuery(query, LIST_QUERY);
    const users = await this.administration.users(request);
    const found =
      name === undefined
        ? user
        : (await usersNamed(name, users, request)).filter((id) => user === undefined || String(id) === user);
    const { sessions, next } = await this.administration.list({ ...filter, userId: found, ipAddress });
    const names = await namesOf(
      sessions.map(({ userId }) => userId),
      users,
      request,
    );
    return {
      sessions: sessions.map((session) => ({
        user_id: session.userId,
        user_name: names?.get(session.userId) ?? null,
        ...describeSession(session),
      })),
      next,
      can_search_users: users?.searchUsers !== undefined,
    };
  }

  /** Ends one session of any user. */
  @AdminRoute('end')
  async end(@Param('id') id: string, @Administrator() by?: UserId): Promise<void> {
    await this.sessions.destroy(id, { reason: 'admin', by });
  }

  /** Ends all sessions of a user, for example after a theft or when the account is disabled. */
  @AdminRoute('endOfUser')
  async endOfUser(@Param('userId') userId: string, @Administrator() by?: UserId): Promise<EndedAnswer> {
    return { ended: await this.sessions.destroyAll(userId, { reason: 'admin', by }) };
  }

  /** Lists logins, endings and warnings of a user. Empty unless the option `events` is set. */
  @AdminRoute('historyOfUser')
  async historyOfUser(
    @Param('userId') userId: string,
    @Query() query: QueryParameters,
    @Req() request: unknown,
  ): Promise<AdminHistoryPage> {
    const { events, next } = await historyOf(this.history, userId, query);
    const initiators = events.flatMap(({ initiatorId }) => initiatorId ?? []);
    const names = await namesOf(initiators, await this.administration.users(request), request);
    return {
      events: events.map((event) => ({
        ...describePastEvent(event),
        by_user_id: event.initiatorId,
        by_user_name: (event.initiatorId !== null && names?.get(event.initiatorId)) || null,
      })),
      next,
    };
  }

  /** Starts to end everybody's sessions, including the caller's, in the background. `AdminRoute` has checked the body. */
  @AdminRoute('endAll')
  async endAll(_?: unknown, @Administrator() by?: UserId): Promise<EndAllAnswer> {
    return describeProgress(await this.administration.endAll({ by }));
  }

  /** Shows the progress of the last `endAll`. */
  @AdminRoute('endAllProgress')
  async endAllProgress(): Promise<EndAllAnswer> {
    return describeProgress(await this.administration.endAllProgress());
  }

  /** Lists what administrators did, whosever sessions it concerned. */
  @AdminRoute('actions')
  async actions(@Query() query: QueryParameters, @Req() request: unknown): Promise<AdminActionPageAnswer> {
    const { actions, next } = await this.administration.actions(readQuery(query, ACTIONS_QUERY));
    const users = actions.flatMap(({ by, userId }) => [by ?? [], userId ?? []].flat());
    const names = await namesOf(users, await this.administration.users(request), request);
    const nameOf = (id: UserId | null) => (id !== null && names?.get(id)) || null;
    return {
      actions: actions.map(({ id, at, action, by, userId, sessionId, ended, details }) => ({
        ...{ id, at: at.toISOString(), action },
        ...{ by_user_id: by, by_user_name: nameOf(by) },
        ...{ user_id: userId, user_name: nameOf(userId), session_id: sessionId },
        ...{ ended, details },
      })),
      next,
    };
  }

  /** Lists the signing keys without their key material. Empty unless the option `jwt.managed` is set. */
  @AdminRoute('keys')
  async keys(): Promise<SigningKeyAnswer[]> {
    const keys = await this.managedKeys.list();
    return keys.map(({ kid, algorithm, state, createdAt, activeAt }) => ({
      kid,
      algorithm,
      state,
      created_at: createdAt.toISOString(),
      active_at: activeAt?.toISOString() ?? null,
    }));
  }

  /** Shows how many durable events wait, how long, and for what. */
  @AdminRoute('eventStatus')
  async eventStatus(): Promise<EventStatusAnswer> {
    const { undistributed, lag, destinations } = await this.events.status();
    return {
      undistributed,
      lag_ms: lag,
      destinations: destinations.map(({ name, waiting, deadLetters, lag: own, pausedUntil, goneAt }) => ({
        ...{ name, waiting, dead_letters: deadLetters, lag_ms: own },
        paused_until: pausedUntil?.toISOString() ?? null,
        gone_at: goneAt?.toISOString() ?? null,
      })),
    };
  }

  /** Lists the events that a destination has refused ten times. */
  @AdminRoute('deadLetters')
  async deadLetters(@Query() query: QueryParameters): Promise<DeadLetterAnswer[]> {
    const { destination, ...page } = readQuery(query, DEAD_LETTERS_QUERY);
    if (destination === undefined) throw new ValidationFailedError({ destination: [REQUIRED] });
    const letters = await this.events.deadLetters(destination, page);
    return letters.map(({ eventId, event, at, failedAt, error }) => ({
      ...{ event_id: eventId, event, error },
      ...{ at: at.toISOString(), failed_at: failedAt.toISOString() },
    }));
  }

  /** Delivers one event, or those of a time, to a destination again. */
  @AdminRoute('replay')
  async replay(
    @ValidBody() { destination, ...filter }: ReplayEventsDto,
    @Administrator() by?: UserId,
  ): Promise<ReplayedEventsAnswer> {
    const replayed = await this.events.replay(destination, replayFilterOf(filter), { by });
    if (replayed === undefined) throw new ValidationFailedError({ destination: ['Not a destination.'] });
    return { replayed };
  }

  /** Counts active sessions by type, and the logins and endings of each day. */
  @AdminRoute('statistics')
  async statistics(@Query() query: QueryParameters): Promise<SessionStatisticsAnswer> {
    return this.counts.statistics(readQuery(query, STATISTICS_QUERY));
  }
}

/** Names users, if the application can. */
async function namesOf(
  userIds: readonly UserId[],
  users: UserDirectory | null,
  request: unknown,
): Promise<ReadonlyMap<UserId, string> | undefined> {
  return userIds.length > 0 ? users?.describeUsers?.([...new Set(userIds)], request) : undefined;
}

/**
 * Finds users by a part of their name.
 * @throws ValidationFailedError if the application has no `searchUsers`, or if it finds too many
 */
async function usersNamed(name: string, users: UserDirectory | null, request: unknown): Promise<readonly UserId[]> {
  const refuse = (fault: string) => new ValidationFailedError({ user_name: [fault] });
  const found = await users?.searchUsers?.(name, MAX_FOUND + 1, request);
  if (!found) throw refuse('Needs the method `searchUsers` of the authenticator.');
  if (found.length > MAX_FOUND) throw refuse(`More than ${MAX_FOUND} users have this name. Give more of it.`);
  return found;
}

/**
 * Reads which events to deliver again.
 * @throws ValidationFailedError if it is neither an event nor a time
 */
function replayFilterOf({ event_id: eventId, since, until }: Omit<ReplayEventsDto, 'destination'>): ReplayFilter {
  if (eventId !== undefined) return { eventId: eventId.toLowerCase() };
  if (since === undefined) throw new ValidationFailedError({ since: [REQUIRED] });
  const times = { since: readTime(since), ...(until !== undefined && { until: readTime(until) }) };
  const errors = Object.entries(times).flatMap(([name, time]) => (time ? [] : [[name, [NOT_A_TIME]] as const]));
  if (errors.length > 0) throw new ValidationFailedError(Object.fromEntries(errors));
  return times as ReplayFilter;
}

function describeProgress(progress: EndAllProgress | null): EndAllAnswer {
  return {
    status: progress?.status ?? 'none',
    ended: progress?.ended ?? 0,
    started_at: progress?.startedAt.toISOString() ?? null,
    second_pass_at: progress?.secondPassAt.toISOString() ?? null,
    finished_at: progress?.finishedAt?.toISOString() ?? null,
  };
}
