import {
  createParamDecorator,
  type CustomDecorator,
  type ExecutionContext,
  type PipeTransform,
  SetMetadata,
  type Type,
} from '@nestjs/common';
import type { SessionClaims } from '../token/access-token.js';
import { MultiSessionConfigurationError } from '../errors.js';
import { type Duration, duration, OptionFaults } from '../option-check.js';
import { credentialsCarrierOf } from './request.js';

export const ACCESS_RULE = 'multi-session:access-rule';
export const ALLOWED_TYPES = 'multi-session:allowed-types';
export const RECENT_LOGIN = 'multi-session:recent-login';

/** How `JwtAuthGuard` treats a route. Default: `required`. */
export type AccessRule = 'required' | 'optional' | 'public';

/** Opens a route, or all routes of a controller, if `JwtAuthGuard` is bound globally. The guard then ignores tokens. */
export const Public = (): CustomDecorator => SetMetadata(ACCESS_RULE, 'public' satisfies AccessRule);

/**
 * Lets a request without an access token pass as anonymous. If the request has a token, it must be valid. A client with an
 * expired token gets 401, so that it refreshes the token instead of continuing as anonymous.
 */
export const OptionalSession = (): CustomDecorator => SetMetadata(ACCESS_RULE, 'optional' satisfies AccessRule);

/** Requires an access token on one route of a controller that is `@Public()` or `@OptionalSession()`. */
export const RequireSession = (): CustomDecorator => SetMetadata(ACCESS_RULE, 'required' satisfies AccessRule);

/**
 * Lets only sessions of these types pass. Others get 403 `session_type_not_allowed`.
 *
 * @param types names of session types, in any case
 */
export const SessionTypes = (...types: string[]): CustomDecorator =>
  SetMetadata(
    ALLOWED_TYPES,
    types.map((type) => type.trim().toUpperCase()),
  );

/**
 * Requires a recent login or `reauthenticate/`. If it was too long ago, the client gets 401 `reauthentication_required`. The
 * same applies to a token without the time of the login, such as one from an earlier version of the library.
 *
 * @param maxAge maximum age of the login: a number of seconds, or a string with a unit such as `'10m'`
 * @throws {@link MultiSessionConfigurationError} if `maxAge` is not a time span
 */
export function RequireRecentLogin(maxAge: Duration): CustomDecorator {
  const faults = new OptionFaults();
  const milliseconds = duration()(maxAge, '@RequireRecentLogin', faults);
  if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
  return SetMetadata(RECENT_LOGIN, milliseconds);
}

// An explicit type, because the type that TypeScript infers with Nest 12 uses names that Nest 11 does not have.
type MemberOrPipe = keyof SessionClaims | Type<PipeTransform> | PipeTransform | undefined;

/**
 * Injects the caller's session into a handler, or one member of it: `@CurrentSession() session: SessionClaims`,
 * `@CurrentSession('userId') userId: string`. The value is undefined if the guard has identified no caller. It works in HTTP,
 * GraphQL and WebSocket handlers.
 */
export const CurrentSession: (...memberOrPipes: MemberOrPipe[]) => ParameterDecorator = createParamDecorator(
  (member: keyof SessionClaims | undefined, context: ExecutionContext) => {
    const session = credentialsCarrierOf(context)?.user as SessionClaims | undefined;
    return member === undefined ? session : session?.[member];
  },
);
