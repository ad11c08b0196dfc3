import { Expose } from 'class-transformer';
import { Equals } from 'class-validator';
import { DescribedSession } from '../http/described-session.js';
import { EXAMPLES } from '../http/examples.js';
import { Field, ObjectSchema } from '../http/schema.js';
import { PastEvent, type SessionHistoryPage } from '../http/session-history.dto.js';
import type { AdminAction } from '../session/change-log.js';
import type { EndAllProgress } from '../session/end-all.js';
import type { EndReason } from '../session/events.js';
import { canonicalSessionId, isSessionId } from '../session/id.js';
import type { KeyState } from '../keys/managed-keys.js';
import type { UserId } from '../token/options.js';
import { type Parameter, shortText, wholeNumber } from '../http/query.js';
import type { DayStatistics, SessionStatistics } from './statistics/daily-counts.js';

/** The required value of the field `confirm` of `admin/sessions/end-all`. */
const END_ALL = 'END ALL SESSIONS';

/** The body of `admin/sessions/end-all`. */
@ObjectSchema('EndAllRequest')
export class EndAllDto {
  @Field({
    type: 'string',
    description: 'Confirms that you want to end all sessions',
    enum: [END_ALL],
    example: END_ALL,
  })
  @Expose()
  @Equals(END_ALL, { always: true, message: `Must be "${END_ALL}".` })
  confirm!: string;
}

const USER_ID = { oneOf: [{ type: 'string' }, { type: 'integer' }], nullable: true } as const;
const NAME = { type: 'string', description: 'User name, as `describeUsers` gives it', nullable: true } as const;
const TIME_OF_JOB = { type: 'string', format: 'date-time', nullable: true } as const;

/** The answer of `admin/sessions/end-all`. */
@ObjectSchema('EndAllProgress')
export class EndAllAnswer {
  @Field({
    type: 'string',
    description:
      '`none`: never started. `running`: sessions are being ended. `waiting`: all have ended, and a second pass for logins ' +
      'that were in progress is still to come. `done`: the second pass has ended',
    enum: ['none', 'running', 'waiting', 'done'],
    example: 'running',
  })
  status!: EndAllProgress['status'] | 'none';

  @Field({ type: 'integer', description: 'Sessions that have ended so far', example: 1200 })
  ended!: number;

  @Field({
    ...TIME_OF_JOB,
    description: 'Sessions that began before this time end',
    example: '2026-11-24T08:00:00.000Z',
  })
  started_at!: string | null;

  @Field({ ...TIME_OF_JOB, description: 'Start of the second pass', example: '2026-11-24T08:10:20.000Z' })
  second_pass_at!: string | null;

  @Field({ ...TIME_OF_JOB, description: 'End of the second pass', example: '2026-11-24T08:10:21.000Z' })
  finished_at!: string | null;
}

/** One session in the answer of `GET admin/sessions`. */
@ObjectSchema('AdminSession')
export class AdminSession extends DescribedSession {
  @Field({
    oneOf: [{ type: 'string' }, { type: 'integer' }],
    description: 'User id: a string or a number, depending on the option `userIdType`',
    example: '42',
  })
  user_id!: UserId;

  @Field({ ...NAME, example: 'alice' })
  user_name!: string | null;
}

/** The id with which the next page begins. */
const NEXT = {
  type: 'string',
  description: 'The parameter `after` of the next page, or null on the last page',
  format: 'uuid',
  nullable: true,
  example: EXAMPLES.otherSessionId,
} as const;

/** The answer of `GET admin/sessions`. */
@ObjectSchema('AdminSessionPage')
export class AdminSessionPage {
  @Field({ type: 'array', items: { ref: AdminSession }, description: 'The newest session first' })
  sessions!: AdminSession[];

  @Field(NEXT)
  next!: string | null;

  @Field({ type: 'boolean', description: 'Whether the parameter `user_name` is supported', example: true })
  can_search_users!: boolean;
}

/** One event in the answer of `GET admin/users/:userId/history`. */
@ObjectSchema('AdminPastEvent')
export class AdminPastEvent extends PastEvent {
  @Field({ ...USER_ID, description: 'Administrator who ended it', example: '7' })
  by_user_id!: UserId | null;

  @Field({ ...NAME, example: 'carol' })
  by_user_name!: string | null;
}

/** The answer of `GET admin/users/:userId/history`. */
@ObjectSchema('AdminSessionHistory')
export class AdminHistoryPage implements SessionHistoryPage {
  @Field({ type: 'array', items: { ref: AdminPastEvent }, description: 'The latest first' })
  events!: AdminPastEvent[];

  @Field({
    type: 'string',
    description: 'The parameter `before` of the next page, or null on the last page',
    nullable: true,
    example: `1795363200000.${EXAMPLES.otherSessionId}`,
  })
  next!: string | null;
}

const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

/** The error message for a time that is not valid. */
export const NOT_A_TIME = 'Not a time, such as 2026-11-24 or 2026-11-24T08:00:00Z.';

const time = (description: string): Parameter<Date> => ({
  schema: { type: 'string', description, example: '2026-11-24T08:00:00Z' },
  read: readTime,
  fault: NOT_A_TIME,
});

/** The parameters of `GET admin/sessions`. */
export const LIST_QUERY = {
  user: shortText('Only sessions of this user', '42', 'Not a user id.'),
  user_name: shortText('Only sessions of users whom `searchUsers` finds by this part of their name', 'ali'),
  ip_address: shortText(
    'Only sessions from this IP address, or from addresses that begin with it if it ends with . or :',
    '203.0.113.',
  ),
  device: shortText('Only sessions with this in their device name, user agent or `info`, case-insensitive', 'firefox'),
  type: shortText('Only sessions of this type, case-insensitive', 'LONG'),
  since: time('Only sessions that started then or later'),
  after: {
    schema: { type: 'string', description: '`next` of the previous page', format: 'uuid', example: EXAMPLES.sessionId },
    read: (text) => (isSessionId(canonicalSessionId(text)) ? canonicalSessionId(text) : undefined),
    fault: 'Not the `next` of a page.',
  } satisfies Parameter<string>,
  limit: wholeNumber({ description: 'Page size', maximum: 200, default: 50, example: 50 }),
};

/** One action in the answer of `GET admin/actions`. */
@ObjectSchema('AdminAction')
export class AdminActionAnswer {
  @Field({ type: 'string', description: 'Id of the record', format: 'uuid', example: EXAMPLES.otherSessionId })
  id!: string;

  @Field({ type: 'string', format: 'date-time', description: 'When it happened, in UTC', example: EXAMPLES.lastUpdate })
  at!: string;

  @Field({
    type: 'string',
    description: 'What was done',
    enum: ['end-session', 'end-user', 'end-all', 'replay-events'] satisfies AdminAction['action'][],
    example: 'end-session',
  })
  action!: AdminAction['action'];

  @Field({
    ...USER_ID,
    description: 'Administrator; null if a guard of the application let the caller pass',
    example: '7',
  })
  by_user_id!: UserId | null;

  @Field({ ...NAME, example: 'carol' })
  by_user_name!: string | null;

  @Field({ ...USER_ID, description: 'User whose sessions were ended', example: '42' })
  user_id!: UserId | null;

  @Field({ ...NAME, example: 'alice' })
  user_name!: string | null;

  @Field({
    type: 'string',
    description: 'Session that was ended, if it was a single one',
    format: 'uuid',
    nullable: true,
    example: EXAMPLES.sessionId,
  })
  session_id!: string | null;

  @Field({
    type: 'integer',
    description: 'Sessions that were ended; null while `end-all` is in progress, and for `replay-events`',
    nullable: true,
    example: 1,
  })
  ended!: number | null;

  @Field({
    type: 'object',
    additionalProperties: true,
    description: 'Further details, by action',
    example: { session_type: 'LONG' },
  })
  details!: Readonly<Record<string, unknown>>;
}

/** The answer of `GET admin/actions`. */
@ObjectSchema('AdminActionPage')
export class AdminActionPageAnswer {
  @Field({ type: 'array', items: { ref: AdminActionAnswer }, description: 'The latest first' })
  actions!: AdminActionAnswer[];

  @Field(NEXT)
  next!: string | null;
}

/** The parameters of `GET admin/actions`. */
export const ACTIONS_QUERY = {
  by: shortText('Only what this administrator did', '7', 'Not a user id.'),
  since: time('Only actions at this time or later'),
  until: time('Only actions before this time'),
  after: LIST_QUERY.after,
  limit: LIST_QUERY.limit,
};

/** The parameters of `GET admin/statistics`. */
export const STATISTICS_QUERY = {
  days: wholeNumber({ description: 'Days to go back, including today', maximum: 366, default: 30, example: 30 }),
};

const COUNTS = { type: 'object', additionalProperties: { type: 'integer' } } as const;

/** One day in the answer of `GET admin/statistics`. */
@ObjectSchema('DayStatistics')
export class DayStatisticsAnswer implements DayStatistics {
  @Field({ type: 'string', description: 'Day, in UTC', format: 'date', example: '2026-11-24' })
  day!: string;

  @Field({ ...COUNTS, description: 'Started sessions, by type', example: { LONG: 120, SHORT: 48 } })
  logins!: Readonly<Record<string, number>>;

  @Field({ ...COUNTS, description: 'Ended sessions, by reason', example: { logout: 75, expired: 31 } })
  endings!: Readonly<Partial<Record<EndReason, number>>>;
}

/** The answer of `GET admin/statistics`. */
@ObjectSchema('SessionStatistics')
export class SessionStatisticsAnswer implements SessionStatistics {
  @Field({ ...COUNTS, description: 'Active sessions, by type', example: { LONG: 2310, SHORT: 95 } })
  active!: Readonly<Record<string, number>>;

  @Field({
    type: 'array',
    items: { ref: DayStatisticsAnswer },
    description: 'Days on which sessions started or ended, the latest first',
  })
  days!: readonly DayStatisticsAnswer[];
}

/** One key in the answer of `GET admin/keys`. */
@ObjectSchema('SigningKey')
export class SigningKeyAnswer {
  @Field({ type: 'string', description: 'Key id', example: 'Yk4PcFXvQ7s' })
  kid!: string;

  @Field({ type: 'string', description: 'Algorithm', example: 'ES256' })
  algorithm!: string;

  @Field({
    type: 'string',
    description: '`pending`: does not sign yet. `active`: signs. `replaced`: verifies tokens that it has signed',
    enum: ['pending', 'active', 'replaced'] satisfies KeyState[],
    example: 'active',
  })
  state!: KeyState;

  @Field({ type: 'string', format: 'date-time', description: 'When it was created', example: EXAMPLES.createdAt })
  created_at!: string;

  @Field({ ...TIME_OF_JOB, description: 'When it starts to sign', example: EXAMPLES.lastUpdate })
  active_at!: string | null;
}

/** Reads a time in a query or a body. Returns undefined if it is not valid. */
export function readTime(text: string): Date | undefined {
  const time = new Date(text);
  return TIME.test(text) && !Number.isNaN(time.getTime()) ? time : undefined;
}
