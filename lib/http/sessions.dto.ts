import type { PublicJwk } from '../token/keyring.js';
import { Flag, REFRESH_IN_BODY, SECRET_KEY_IN_BODY, Text, Trim } from './body-fields.js';
import { EXAMPLES } from './examples.js';
import { Field, ObjectSchema } from './schema.js';

const USER_NAME = { description: 'User name', example: EXAMPLES.userName } as const;
const PASSWORD = { description: 'Password', format: 'password', example: 'correct horse battery staple' } as const;
const SECRET_KEY = {
  description: 'Secret key. Leave it out if you send it in the header `X-Secret-Key`.',
  example: 'a-long-random-string',
} as const;
const SESSION_TYPE = { description: 'Session type, case-insensitive', example: 'LONG' } as const;
const SESSION_TYPE_OR_ALL = { description: 'Session type, case-insensitive, or `ALL`', example: 'ALL' } as const;
const SESSION_ID = { description: 'Session id', format: 'uuid', example: EXAMPLES.sessionId } as const;
const ACCESS_TOKEN = { type: 'string', description: 'Access token', example: EXAMPLES.accessToken } as const;
const REFRESH_TOKEN = { type: 'string', description: 'Refresh token', example: EXAMPLES.refreshToken } as const;

/** The body of `login/`. The option `usernameField` renames the field `username`. */
@ObjectSchema('LoginRequest')
export class LoginDto {
  @Text({ ...USER_NAME, isName: true })
  username!: string;

  @Text(PASSWORD)
  password!: string;

  @Text({ ...SECRET_KEY, groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ ...SESSION_TYPE, isName: true })
  @Trim()
  session!: string;

  @Text({
    description: 'Description of the client. Default: the header `X-Device-Model`, or else the user agent.',
    example: 'Firefox on Linux',
    optional: true,
  })
  @Trim()
  info?: string;

  @Flag({
    description: 'Whether the cookies outlive the browser session. Only for the cookie transport. Default: true.',
    example: false,
  })
  persistent?: boolean;
}

/** The body of `refresh/`. */
@ObjectSchema('RefreshRequest')
export class RefreshDto {
  @Text({ ...REFRESH_TOKEN, groups: [REFRESH_IN_BODY] })
  refresh!: string;

  @Text({ ...SECRET_KEY, groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({
    description:
      'Type of the session, case-insensitive. If the session has another type, it is ended. Default: the type in the token.',
    example: 'LONG',
    isName: true,
    optional: true,
  })
  @Trim()
  session?: string;
}

/** The body of `logout/`. */
@ObjectSchema('LogoutRequest')
export class LogoutDto {
  @Text({ ...SECRET_KEY, groups: [SECRET_KEY_IN_BODY] })
  secret_key?: string;

  @Text({ ...REFRESH_TOKEN, groups: [REFRESH_IN_BODY] })
  refresh!: string;
}

/** The body of `reauthenticate/`. The option `usernameField` renames the field `username`. */
@ObjectSchema('ReauthenticateRequest')
export class ReauthenticateDto {
  @Text({ ...USER_NAME, isName: true })
  username!: string;

  @Text(PASSWORD)
  password!: string;
}

/** The body of `list/`. */
@ObjectSchema('ListRequest')
export class ListDto {
  @Text({ ...SESSION_TYPE_OR_ALL, isName: true })
  @Trim()
  session!: string;
}

/** The body of `destroy/`. */
@ObjectSchema('DestroyRequest')
export class DestroyDto {
  @Text({ ...SESSION_ID, isName: true })
  session_id!: string;
}

/** The body of `destroyAllOther/`. */
@ObjectSchema('DestroyAllOtherRequest')
export class DestroyAllOtherDto {
  @Text({ ...SESSION_TYPE_OR_ALL, isName: true })
  @Trim()
  session!: string;

  @Text({
    description: "A refresh token of the caller's own session",
    example: EXAMPLES.refreshToken,
    groups: [REFRESH_IN_BODY],
  })
  refresh!: string;
}

/** The answer of a login if the tokens travel in the body. */
@ObjectSchema('LoginAnswer')
export class LoginTokens {
  @Field(REFRESH_TOKEN)
  refresh!: string;

  @Field(ACCESS_TOKEN)
  access!: string;

  @Field({ type: 'string', ...SESSION_ID })
  session_id!: string;

  /** Absent for a bearer token. */
  @Field(
    { type: 'string', description: 'Only if the access token needs DPoP proofs', enum: ['DPoP'], example: 'DPoP' },
    { optional: true },
  )
  token_type?: 'DPoP';
}

/**
 * The answer of a login or a refresh if the tokens travel in cookies. A page cannot read the cookies, so the answer says what it
 * must know of them. The spans are relative, so that a wrong clock of the client does not matter.
 */
@ObjectSchema('CookieAnswer')
export class CookieAnswer {
  @Field({ type: 'string', ...SESSION_ID })
  session_id!: string;

  @Field({ type: 'string', description: 'Session type', example: 'LONG' })
  session_type!: string;

  @Field({ type: 'integer', description: 'Seconds until the access token expires', minimum: 0, example: 300 })
  expires_in!: number;

  @Field({
    type: 'integer',
    description: 'Seconds until the session expires if it is not refreshed any more',
    minimum: 0,
    example: 2592000,
  })
  session_expires_in!: number;
}

/** The answer of a login if the session type has its own format. See `LoginAnswerFormat`. */
export type FormattedLogin = Readonly<Record<string, string>>;

/**
 * The answer of `login/` and `reauthenticate/`: the tokens, or their expiry if they travel in cookies. If the
 * session type is permanent, the answer has the format of drf-jwt-devices: `{ token, permanent_token, device_id }`.
 */
export type LoginAnswer = LoginTokens | CookieAnswer | FormattedLogin;

/** The answer of `refresh/` if the tokens travel in the body. */
@ObjectSchema('RefreshAnswer')
export class RefreshedTokens {
  @Field(
    {
      ...REFRESH_TOKEN,
      description: 'New refresh token. Absent if the refresh token of the request stays valid.',
    },
    { optional: true },
  )
  refresh?: string;

  @Field(ACCESS_TOKEN)
  access!: string;

  /** Absent for a bearer token. */
  @Field(
    { type: 'string', description: 'Only if the access token needs DPoP proofs', enum: ['DPoP'], example: 'DPoP' },
    { optional: true },
  )
  token_type?: 'DPoP';
}

/** The answer of `refresh/`: the new tokens, or their expiry if they travel in cookies. */
export type RefreshAnswer = RefreshedTokens | CookieAnswer;

/** The answer of a route that only reports success: `{}`. */
@ObjectSchema('EmptyAnswer')
export class EmptyAnswer {}

/** One session in the answer of `list/`. Times are ISO 8601 in UTC. */
@ObjectSchema('ListedSession')
export class ListedSession {
  @Field({ type: 'string', ...SESSION_ID })
  session_id!: string;

  @Field({ type: 'string', description: 'Login, in UTC', format: 'date-time', example: '2026-11-24T08:15:30Z' })
  created_at!: string;

  @Field({ type: 'string', description: 'Last refresh, in UTC', format: 'date-time', example: EXAMPLES.lastUpdate })
  last_update!: string;

  @Field({ type: 'string', description: 'Expiry, in UTC', format: 'date-time', example: '2026-12-24T08:15:30Z' })
  expires_at!: string;

  @Field({ type: 'string', description: '`info` of the login', example: 'Firefox on Linux' })
  session_info!: string;
}

/** The sessions of one type in the answer of `list/`. */
@ObjectSchema('SessionsOfType')
export class SessionsOfType {
  @Field({ type: 'string', description: 'How many more sessions the limit allows, or `Unlimited`', example: '4' })
  'Available Sessions'!: string;

  @Field({ type: 'array', items: { ref: ListedSession } })
  Sessions!: ListedSession[];
}

/** The answer of `list/`: one member for each requested type. Its name is the type with a capital first letter. */
@ObjectSchema('ListAnswer', {
  description: 'One member for each requested type. Its name is the type with a capital first letter.',
  additionalProperties: { ref: SessionsOfType },
})
export class ListAnswer {
  [type: string]: SessionsOfType;
}

/** The answer of `jwks.json`: a JWK Set (RFC 7517 section 5). */
@ObjectSchema('JwkSet', { description: 'A JWK Set (RFC 7517)' })
export class JwkSet {
  @Field({
    type: 'array',
    items: { type: 'object', additionalProperties: true },
    description: 'Public keys that verify access tokens',
    example: [
      {
        kty: 'OKP',
        crv: 'Ed25519',
        x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
        kid: '2026-11',
        use: 'sig',
        alg: 'EdDSA',
      },
    ],
  })
  keys!: PublicJwk[];
}
