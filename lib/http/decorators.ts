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

/** How `JwtAuthGuard` treats a route that carries no decorator of these: `required`. */
export type AccessRule = 'required' | 'optional' | 'public';

/** Opens a route, or all of a controller, where `JwtAuthGuard` is bound globally. No token is looked at. */
export const Public = (): CustomDecorator => SetMetadata(ACCESS_RULE, 'public' satisfies AccessRule);

/**
 * Lets a request without an access token pass, with no current session. A token that is there must be valid: a client whose
 * token has expired learns so and refreshes it, and is not taken for nobody.
 */
export const OptionalSession = (): CustomDecorator => SetMetadata(ACCESS_RULE, 'optional' satisfies AccessRule);

/** Demands an access token, where the controller is `@Public()` or `@OptionalSession()` and one of its routes is not. */
export const RequireSession = (): CustomDecorator => SetMetadata(ACCESS_RULE, 'required' satisfies AccessRule);

/** Lets only sessions of these types pass, whatever their case; others get 403 `session_type_not_allowed`. */
export const SessionTypes = (...types: string[]): CustomDecorator =>
  SetMetadata(
    ALLOWED_TYPES,
    types.map((type) => type.trim().toUpperCase()),
  );

/**
 * Lets pass only who has logged in, or asked for `reauthenticate/`, no longer ago than this; others get 401
 * `reauthentication_required`. A token of an earlier version of the library, which does not say when, counts as too old.
 * @param maxAge a number is seconds, a string such as `'10m'` has its unit
 * @throws MultiSessionConfigurationError where it is no time span
 */
export function RequireRecentLogin(maxAge: Duration): CustomDecorator {
  const faults = new OptionFaults();
  const milliseconds = duration()(maxAge, '@RequireRecentLogin', faults);
  if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
  return SetMetadata(RECENT_LOGIN, milliseconds);
}

// Written out, since the type that Nest 12 infers has names that Nest 11 does not know.
type MemberOrPipe = keyof SessionClaims | Type<PipeTransform> | PipeTransform | undefined;

/**
 * The session that asks, or one member of it: `@CurrentSession() session`, `@CurrentSession('userId') userId`. Undefined where
 * the route is open and nobody is logged in. Works in HTTP, GraphQL and WebSocket handlers.
 */
export const CurrentSession: (...memberOrPipes: MemberOrPipe[]) => ParameterDecorator = createParamDecorator(
  (member: keyof SessionClaims | undefined, context: ExecutionContext) => {
    const session = credentialsCarrierOf(context)?.user as SessionClaims | undefined;
    return member === undefined ? session : session?.[member];
  },
);
