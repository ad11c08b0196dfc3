import { Text } from '../http/body-fields.js';
import { EXAMPLES } from '../http/examples.js';
import { type Parameter, wholeNumber } from '../http/query.js';
import { Field, ObjectSchema } from '../http/schema.js';

const TIME = { type: 'string', format: 'date-time' } as const;
const DESTINATION = 'webhook:billing';

/** One destination in the answer of `GET admin/events`. */
@ObjectSchema('EventDestination')
export class EventDestinationAnswer {
  @Field({ type: 'string', description: 'Webhook or handler', example: DESTINATION })
  name!: string;

  @Field({ type: 'integer', description: 'Events that it has not accepted yet', example: 0 })
  waiting!: number;

  @Field({ type: 'integer', description: 'Events that it has refused ten times', example: 0 })
  dead_letters!: number;

  @Field({ type: 'integer', description: 'Age of the oldest waiting event in milliseconds', example: 0 })
  lag_ms!: number;

  @Field({ ...TIME, description: 'Until when it is left alone, because it is down', nullable: true, example: null })
  paused_until!: string | null;

  @Field({ ...TIME, description: 'When it answered 410 and was switched off', nullable: true, example: null })
  gone_at!: string | null;
}

/** The answer of `GET admin/events`. */
@ObjectSchema('EventStatus')
export class EventStatusAnswer {
  @Field({ type: 'integer', description: 'Events that were not handed to their destinations yet', example: 0 })
  undistributed!: number;

  @Field({
    type: 'integer',
    description: 'Age of the oldest event that waits for anything in milliseconds',
    example: 0,
  })
  lag_ms!: number;

  @Field({ type: 'array', items: { ref: EventDestinationAnswer }, description: 'Webhooks and handlers' })
  destinations!: EventDestinationAnswer[];
}

/** One dead letter in the answer of `GET admin/events/dead-letters`. */
@ObjectSchema('DeadLetter')
export class DeadLetterAnswer {
  @Field({ type: 'string', description: 'Event id', format: 'uuid', example: EXAMPLES.otherSessionId })
  event_id!: string;

  @Field({ type: 'string', description: 'Event', example: 'session.ended' })
  event!: string;

  @Field({ ...TIME, description: 'When it happened', example: EXAMPLES.createdAt })
  at!: string;

  @Field({ ...TIME, description: 'When the last try failed', example: EXAMPLES.lastUpdate })
  failed_at!: string;

  @Field({ type: 'string', description: 'What went wrong', nullable: true, example: 'answered 500' })
  error!: string | null;
}

/** The parameters of `GET admin/events/dead-letters`. */
export const DEAD_LETTERS_QUERY = {
  destination: {
    schema: { type: 'string', description: 'Webhook or handler', example: DESTINATION },
    read: (text) => (text === '' || text.length > 128 || text.includes('\0') ? undefined : text),
    fault: 'Not a destination.',
  } satisfies Parameter<string>,
  after: {
    schema: {
      type: 'string',
      description: '`event_id` of the last one on the previous page',
      format: 'uuid',
      example: EXAMPLES.sessionId,
    },
    read: (text) => (/^[0-9a-f-]{36}$/.test(text) ? text : undefined),
    fault: 'Not the id of an event.',
  } satisfies Parameter<string>,
  limit: wholeNumber({ description: 'Page size', maximum: 200, default: 50, example: 50 }),
};

/** The body of `admin/events/replay`. */
@ObjectSchema('ReplayEventsRequest')
export class ReplayEventsDto {
  @Text({ description: 'Webhook or handler', isName: true, example: DESTINATION })
  destination!: string;

  @Text({ description: 'Id of one event', format: 'uuid', optional: true, example: EXAMPLES.otherSessionId })
  event_id?: string;

  @Text({
    description: 'Only events from then on. Without `event_id`, it is required',
    format: 'date-time',
    optional: true,
    example: EXAMPLES.createdAt,
  })
  since?: string;

  @Text({
    description: 'Only events before then. Default: now',
    format: 'date-time',
    optional: true,
    example: EXAMPLES.lastUpdate,
  })
  until?: string;
}

/** The answer of `admin/events/replay`. */
@ObjectSchema('ReplayedEvents')
export class ReplayedEventsAnswer {
  @Field({ type: 'integer', description: 'Events that will be delivered again', example: 12 })
  replayed!: number;
}
