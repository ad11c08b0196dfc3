import { Expose } from 'class-transformer';
import { Equals } from 'class-validator';
import { DescribedSession } from '../http/described-session.js';
import { EXAMPLES } from '../http/examples.js';
import { Field, ObjectSchema } from '../http/schema.js';
import type { EndReason } from '../session/events.js';
import { isSessionId } from '../session/id.js';
import type { UserId } from '../token/options.js';
import { type Parameter, wholeNumber } from './query.js';
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

/** One session in the answer of `GET admin/sessions`. */
@ObjectSchema('AdminSession')
export class AdminSession extends DescribedSession {
  @Field({
    oneOf: [{ type: 'string' }, { type: 'integer' }],
    description: 'User id: a string or a number, depending on the option `userIdType`',
    example: '42',
  })
  user_id!: UserId;
}

/** The answer of `GET admin/sessions`. */
@ObjectSchema('AdminSessionPage')
export class AdminSessionPage {
  @Field({ type: 'array', items: { ref: AdminSession }, description: 'The newest session first' })
  sessions!: AdminSession[];

  @Field({
    type: 'string',
    description: 'The parameter `after` of the next page, or null on the last page',
    format: 'uuid',
    nullable: true,
    example: EXAMPLES.otherSessionId,
  })
  next!: string | null;
}

const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

/** The parameters of `GET admin/sessions`. */
export const LIST_QUERY = {
  user: {
    schema: { type: 'string', description: 'Only sessions of this user', example: '42' },
    read: (text) => (text === '' || text.length > 255 || text.includes('\0') ? undefined : text),
    fault: 'Not a user id.',
  } satisfies Parameter<string>,
  type: {
    schema: { type: 'string', description: 'Only sessions of this type, case-insensitive', example: 'LONG' },
    read: (text) => text,
    fault: '',
  } satisfies Parameter<string>,
  since: {
    schema: {
      type: 'string',
      description: 'Only sessions that started then or later',
      example: '2026-11-24T08:00:00Z',
    },
    read: readTime,
    fault: 'Not a time, such as 2026-11-24 or 2026-11-24T08:00:00Z.',
  } satisfies Parameter<Date>,
  after: {
    schema: { type: 'string', description: '`next` of the previous page', format: 'uuid', example: EXAMPLES.sessionId },
    read: (text) => (isSessionId(text) ? text : undefined),
    fault: 'Not the `next` of a page.',
  } satisfies Parameter<string>,
  limit: wholeNumber({ description: 'Page size', maximum: 200, default: 50, example: 50 }),
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

function readTime(text: string): Date | undefined {
  const time = new Date(text);
  return TIME.test(text) && !Number.isNaN(time.getTime()) ? time : undefined;
}
