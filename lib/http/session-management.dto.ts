import { REFRESH_IN_BODY, SECRET_KEY_IN_BODY, Text, TextList } from './body-fields.js';
import { DescribedSession } from './described-session.js';
import { EXAMPLES } from './examples.js';
import { Field, ObjectSchema } from './schema.js';

/** Maximum number of ids in `sessions/delete-list`. */
export const MAX_LISTED_IDS = 100;

/** The body of `sessions/delete-list`. */
@ObjectSchema('DeleteListRequest')
export class DeleteListDto {
  @TextList({
    description: 'Session ids',
    maxItems: MAX_LISTED_IDS,
    items: { type: 'string', format: 'uuid' },
    example: [EXAMPLES.sessionId, EXAMPLES.otherSessionId],
  })
  ids!: string[];
}

/** The body of `verify/`. */
@ObjectSchema('VerifyRequest')
export class VerifyDto {
  @Text({ description: 'Access or refresh token', example: EXAMPLES.accessToken })
  token!: string;

  @Text({
    description: 'Secret key. Leave it out if you send it in the header `X-Secret-Key`.',
    example: 'a-long-random-string',
    groups: [SECRET_KEY_IN_BODY],
  })
  secret_key?: string;
}

/** The body of `renew/`. */
@ObjectSchema('RenewRequest')
export class RenewDto {
  @Text({
    description: "The client's refresh token. Leave it out if you pass the client's cookies on.",
    example: EXAMPLES.refreshToken,
    groups: [REFRESH_IN_BODY],
  })
  refresh!: string;

  @Text({
    description: 'Backend key. Leave it out if you send it in the header `X-Secret-Key`.',
    example: 'a-long-random-string',
    groups: [SECRET_KEY_IN_BODY],
  })
  secret_key?: string;
}

/** The answer of `renew/`. */
@ObjectSchema('RenewedToken')
export class RenewedToken {
  @Field({ type: 'string', description: 'Access token', example: EXAMPLES.accessToken })
  access!: string;

  @Field({ type: 'integer', description: 'Seconds until the access token expires', minimum: 0, example: 300 })
  expires_in!: number;
}

/** One session in the answer of `GET sessions`. */
@ObjectSchema('ManagedSession')
export class ManagedSession extends DescribedSession {
  @Field({ type: 'boolean', description: "Whether this is the caller's session", example: true })
  current!: boolean;
}

/** How many sessions a request has ended. */
@ObjectSchema('EndedAnswer')
export class EndedAnswer {
  @Field({ type: 'integer', description: 'How many sessions have ended', minimum: 0, example: 3 })
  ended!: number;
}

/** The answer of `verify/` for a token that is not valid now. It omits the reason (RFC 7662 section 2.2). */
@ObjectSchema('InactiveToken')
export class InactiveToken {
  @Field({ type: 'boolean', description: 'Always false', example: false })
  active!: false;
}

/** The answer of `verify/` for a valid token (RFC 7662 section 2.2). */
@ObjectSchema('ActiveToken', { additionalProperties: true })
export class ActiveToken {
  @Field({ type: 'boolean', description: 'Always true', example: true })
  active!: true;

  /** Absent for a refresh token (RFC 6749 section 5.1). */
  @Field(
    { type: 'string', description: 'Only for access tokens', enum: ['Bearer', 'DPoP'], example: 'Bearer' },
    { optional: true },
  )
  token_type?: 'Bearer' | 'DPoP';

  @Field({ type: 'string', description: 'Kind of token', enum: ['access', 'refresh'], example: 'access' })
  token_use!: 'access' | 'refresh';

  @Field({ type: 'string', description: 'User id', example: '42' })
  sub!: string;

  @Field({ type: 'string', description: 'Session id', format: 'uuid', example: EXAMPLES.sessionId })
  sid!: string;

  @Field({ type: 'string', description: 'Session type', example: 'LONG' })
  session_type!: string;

  /** Seconds since 1970. */
  @Field({ type: 'integer', description: 'Expiry, in seconds since 1970', example: 1795508430 })
  exp!: number;

  /** Seconds since 1970. */
  @Field({ type: 'integer', description: 'Time of issue, in seconds since 1970', example: 1795508130 })
  iat!: number;

  @Field({ type: 'string', description: 'Token id', example: EXAMPLES.tokenId })
  jti!: string;

  /** Further claims of an access token, including the application's own. */
  [claim: string]: unknown;
}

/** The answer of `verify/`: the claims of a valid token, or only `active: false`. */
export type IntrospectionAnswer = InactiveToken | ActiveToken;
