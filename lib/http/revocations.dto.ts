import type { FeedAnswer } from '../feed/feed-answer.js';
import { EXAMPLES } from './examples.js';
import type { Parameter } from './query.js';
import { Field, ObjectSchema } from './schema.js';

const NOW = 1795508130000;
const EXPIRIES = { [EXAMPLES.sessionId]: NOW + 365_000 };

/** The epoch of the database in the answer of `revocations/`. */
@ObjectSchema('FeedEpoch')
export class FeedEpochAnswer {
  @Field({ type: 'string', description: 'Epoch of tokens that are valid', example: '3f6b1c2d4e5f7a51' })
  current!: string;

  @Field({ type: 'string', description: 'Epoch of tokens that state none', example: '3f6b1c2d4e5f7a51' })
  first!: string;
}

/** How to read an access token, in the answer of `revocations/`. */
@ObjectSchema('FeedTokens')
export class FeedTokensAnswer {
  @Field({ type: 'string', description: 'Claim `iss`; null if tokens have none', nullable: true, example: 'app' })
  issuer!: string | null;

  @Field({ type: 'string', description: 'Claim that holds the user id', example: 'sub' })
  user_id_claim!: string;

  @Field({ type: 'string', description: 'Type of user ids', enum: ['string', 'number'], example: 'number' })
  user_id_type!: 'string' | 'number';

  @Field({ type: 'string', description: 'Claim that holds the kind of token', example: 'token_type' })
  token_type_claim!: string;

  @Field({ type: 'string', description: 'Claim that holds the token id', example: 'jti' })
  jti_claim!: string;

  @Field({ type: 'integer', description: 'Clock skew that is allowed, in milliseconds', minimum: 0, example: 0 })
  clock_tolerance!: number;
}

/** The policy of a session type in the answer of `revocations/`. */
@ObjectSchema('FeedType')
export class FeedTypeAnswer {
  @Field({ type: 'integer', description: 'Longest age of an access token, in milliseconds', example: 300_000 })
  access_token_lifetime!: number;

  @Field({
    type: 'string',
    description: 'How to check that the session has not ended',
    enum: ['signature', 'blacklist', 'session'],
    example: 'blacklist',
  })
  access_check!: 'signature' | 'blacklist' | 'session';
}

/** The answer of `revocations/`. */
@ObjectSchema('Revocations')
export class RevocationsAnswer implements FeedAnswer {
  @Field({ type: 'integer', description: "Database's time, in milliseconds since 1970", example: NOW })
  now!: number;

  @Field({ type: 'integer', description: 'Begin of the last poll, in milliseconds since 1970', example: NOW - 400 })
  polled_at!: number;

  @Field({ type: 'integer', description: 'Milliseconds that the process has waited for news', example: 0 })
  waited!: number;

  @Field({ type: 'string', description: 'Next value of `after`', example: `${NOW}.3f6b1c2d4e5f.42` })
  cursor!: string;

  @Field({ type: 'boolean', description: 'Whether the process knows all ended sessions', example: true })
  complete!: boolean;

  @Field({ type: 'boolean', description: 'Whether you must read all pages', example: false })
  full!: boolean;

  @Field({
    type: 'object',
    description: 'Ended sessions, and the expiry of their last access token in milliseconds since 1970',
    additionalProperties: { type: 'integer' },
    example: EXPIRIES,
  })
  ended!: Record<string, number>;

  @Field({
    type: 'object',
    description: 'The same for sessions that only a push has announced',
    additionalProperties: { type: 'integer' },
    example: {},
  })
  announced!: Record<string, number>;

  @Field({
    type: 'integer',
    description: 'With `page`: the next page; null if there is none',
    nullable: true,
    example: 12,
  })
  next_page!: number | null;

  @Field({ type: 'integer', description: 'Ended sessions on all pages', minimum: 0, example: 42 })
  size!: number;

  @Field({ ref: FeedEpochAnswer })
  epoch!: FeedEpochAnswer;

  @Field({ ref: FeedTokensAnswer })
  tokens!: FeedTokensAnswer;

  @Field({
    type: 'object',
    description: 'Session types by name',
    additionalProperties: { ref: FeedTypeAnswer },
    example: { LONG: { access_token_lifetime: 300_000, access_check: 'blacklist' } },
  })
  types!: Record<string, FeedTypeAnswer>;
}

/** Maximum of `wait`, in seconds. The process waits no longer than half of `revocation.maxStaleness` anyway. */
const MAX_WAIT = 60;

/** The parameters of `revocations/`. */
export const FEED_QUERY = {
  after: {
    schema: { type: 'string', description: 'Cursor of the last answer. Without it you must read all pages' },
    read: (given) => given,
    fault: '',
  } satisfies Parameter<string>,
  wait: {
    schema: { type: 'integer', description: 'Seconds to wait for news', minimum: 0, maximum: MAX_WAIT, default: 0 },
    read: (given) => (/^\d{1,2}(\.\d{1,3})?$/.test(given) && Number(given) <= MAX_WAIT ? Number(given) : undefined),
    fault: `Must be a number of seconds, at most ${MAX_WAIT}.`,
  } satisfies Parameter<number>,
  page: {
    schema: { type: 'integer', description: 'Page of all ended sessions, from 0', minimum: 0 },
    read: (given) => (/^\d{1,3}$/.test(given) ? Number(given) : undefined),
    fault: 'Must be a number of a page.',
  } satisfies Parameter<number>,
};
