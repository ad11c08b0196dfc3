import { ValidationFailedError } from '../errors.js';
import type { DurableEvent } from '../outbox/durable-event.js';
import type { HistoryPage, SessionHistory } from '../outbox/session-history.js';
import { describeUserAgent } from '../session/user-agent.js';
import type { UserId } from '../token/options.js';
import { Software } from './described-session.js';
import { EXAMPLES } from './examples.js';
import { type Parameter, type Query, readQuery, wholeNumber } from './query.js';
import { Field, ObjectSchema } from './schema.js';

/** One event in the answer of `GET history`. */
@ObjectSchema('PastEvent')
export class PastEvent {
  @Field({ type: 'string', description: 'Event id', format: 'uuid', example: EXAMPLES.otherSessionId })
  id!: string;

  @Field({
    type: 'string',
    description: 'What happened',
    enum: [
      'session.created',
      'session.ended',
      'session.client-changed',
      'user.revoked',
      'refresh.reused',
      'login.new-device',
    ],
    example: 'session.ended',
  })
  event!: string;

  @Field({ type: 'string', description: 'When it happened, in UTC', format: 'date-time', example: EXAMPLES.lastUpdate })
  at!: string;

  @Field({
    type: 'string',
    description: 'Session id; null if all sessions were ended',
    format: 'uuid',
    nullable: true,
    example: EXAMPLES.sessionId,
  })
  session_id!: string | null;

  @Field({ type: 'string', description: 'Session type', nullable: true, example: 'LONG' })
  session_type!: string | null;

  @Field({ type: 'string', description: 'Why the session ended', nullable: true, example: 'evicted' })
  reason!: string | null;

  @Field({
    type: 'string',
    description: 'Who caused it: the user, an administrator, a rule such as a limit, or time',
    enum: ['user', 'admin', 'policy', 'system'],
    example: 'policy',
  })
  by!: string;

  @Field({ type: 'string', description: 'Device name, as the client gave it', nullable: true, example: 'Pixel 9' })
  device!: string | null;

  @Field({ ref: Software, description: 'Browser, read from the user agent', nullable: true })
  browser!: Software | null;

  @Field({ ref: Software, description: 'Operating system, read from the user agent', nullable: true })
  os!: Software | null;

  @Field({ type: 'string', description: 'IP address', nullable: true, example: '203.0.113.7' })
  ip_address!: string | null;
}

/** The answer of `GET history`. */
@ObjectSchema('SessionHistory')
export class SessionHistoryPage {
  @Field({ type: 'array', items: { ref: PastEvent }, description: 'The latest first' })
  events!: PastEvent[];

  @Field({
    type: 'string',
    description: 'The parameter `before` of the next page, or null on the last page',
    nullable: true,
    example: `1795363200000.${EXAMPLES.otherSessionId}`,
  })
  next!: string | null;
}

/** The parameters of `GET history`. */
export const HISTORY_QUERY = {
  before: {
    schema: {
      type: 'string',
      description: '`next` of the previous page',
      example: `1795363200000.${EXAMPLES.sessionId}`,
    },
    read: (text) => text,
    fault: '',
  } satisfies Parameter<string>,
  limit: wholeNumber({ description: 'Page size', maximum: 100, default: 20, example: 20 }),
};

/**
 * Reads the page of a user's history that a query asks for.
 * @throws ValidationFailedError if the query is not valid
 */
export async function historyOf(history: SessionHistory, userId: UserId, query: Query): Promise<HistoryPage> {
  const page = await history.list(userId, readQuery(query, HISTORY_QUERY));
  if (!page) throw new ValidationFailedError({ before: ['Not the `next` of a page.'] });
  return page;
}

/** Converts an event to the form that a page shows to the user, who must not learn the ids of administrators. */
export function describePastEvent(event: DurableEvent): PastEvent {
  const { id, name, at, sessionId, sessionType, reason, initiator, client } = event;
  const { browser, os } = describeUserAgent(client?.user_agent ?? null);
  return {
    ...{
      id,
      event: name,
      at: at.toISOString(),
      session_id: sessionId,
      session_type: sessionType,
      reason,
      by: initiator,
    },
    ...{ device: client?.device_name ?? null, browser, os, ip_address: client?.ip_address ?? null },
  };
}
