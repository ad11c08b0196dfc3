import {
  applyDecorators,
  createParamDecorator,
  type CustomDecorator,
  type ExecutionContext,
  type PipeTransform,
  SetMetadata,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { MultiSessionConfigurationError } from '../errors.js';
import { type Duration, duration, OptionFaults } from '../option-check.js';
import type { SessionClaims } from '../token/access-token.js';
import { sessionOf } from './callers.js';
import { DeviceProofGuard } from './device-proof.guard.js';
import { JwtAuthGuard } from './jwt-auth.guard.js';
import {
  ACCESS_RULE,
  type AccessRule,
  ALLOWED_TYPES,
  DEVICE_PROOF,
  nameOfHandler,
  RECENT_LOGIN,
  rulesOf,
} from './route-rules.js';

/**
 * Opens a route, or all routes of a controller, if `JwtAuthGuard` is bound globally. The guard then ignores tokens, and the
 * handler never gets a session.
 */
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
 * The decorator binds `JwtAuthGuard`, so the route is protected even if you bind no guard, or `AuthGuard('jwt')` of Passport.
 * It contradicts `@Public()` and `@OptionalSession()`, and an application with such a route does not start.
 *
 * @param types names of session types, in any case
 */
export const SessionTypes = (...types: string[]): MethodDecorator & ClassDecorator =>
  applyDecorators(
    SetMetadata(
      ALLOWED_TYPES,
      types.map((type) => type.trim().toUpperCase()),
    ),
    UseGuards(JwtAuthGuard),
  );

/**
 * Requires a recent login or `reauthenticate/`. If it was too long ago, the client gets 401 `reauthentication_required`. The
 * same applies to a token without the time of the login, such as one from an earlier version of the library.
 *
 * The decorator binds `JwtAuthGuard`, so the route is protected even if you bind no guard, or `AuthGuard('jwt')` of Passport.
 * It contradicts `@Public()` and `@OptionalSession()`, and an application with such a route does not start.
 *
 * @param maxAge maximum age of the login: a number of seconds, or a string with a unit such as `'10m'`
 * @throws {@link MultiSessionConfigurationError} if `maxAge` is not a time span
 */
export function RequireRecentLogin(maxAge: Duration): MethodDecorator & ClassDecorator {
  return applyDecorators(SetMetadata(RECENT_LOGIN, timeSpan(maxAge, '@RequireRecentLogin')), UseGuards(JwtAuthGuard));
}

/**
 * Requires that the user's device has proved its key recently. Sessions that are not bound to a device (option `binding`) never
 * pass. If the last proof is too old, the client gets 401 `device_proof_required`. It then calls `dbsc/step-up`, so that the
 * browser sends a new proof, and repeats its request. With DPoP, each request carries a proof anyway.
 *
 * The decorator binds `JwtAuthGuard`, so the route is protected even if you bind no guard, or `AuthGuard('jwt')` of Passport.
 * It contradicts `@Public()` and `@OptionalSession()`, and an application with such a route does not start.
 *
 * @param maxAge maximum age of the proof: a number of seconds, or a string with a unit such as `'1m'`
 * @throws {@link MultiSessionConfigurationError} if `maxAge` is not a time span
 */
export function RequireDeviceProof(maxAge: Duration): MethodDecorator & ClassDecorator {
  return applyDecorators(
    SetMetadata(DEVICE_PROOF, timeSpan(maxAge, '@RequireDeviceProof')),
    UseGuards(JwtAuthGuard, DeviceProofGuard),
  );
}

function timeSpan(given: Duration, name: string): number {
  const faults = new OptionFaults();
  const milliseconds = duration()(given, name, faults);
  if (faults.list.length > 0) throw new MultiSessionConfigurationError(faults.list);
  return milliseconds;
}

// An explicit type, because the type that TypeScript infers with Nest 12 uses names that Nest 11 does not have.
type MemberOrPipe = keyof SessionClaims | Type<PipeTransform> | PipeTransform | undefined;

/**
 * Injects the caller's session into a handler, or one member of it: `@CurrentSession() session: SessionClaims`,
 * `@CurrentSession('userId') userId: string`. It works in handlers of HTTP, GraphQL, WebSockets and microservices.
 *
 * If no guard has identified the caller, the call fails with a `MultiSessionConfigurationError`, which is 500 in HTTP. Only in
 * a handler that is `@OptionalSession()` or `@Public()` is the value undefined then, so include undefined in its type there.
 */
export const CurrentSession: (...memberOrPipes: MemberOrPipe[]) => ParameterDecorator = createParamDecorator(
  (member: keyof SessionClaims | undefined, context: ExecutionContext) => {
    const session = sessionOf(context);
    if (!session && rulesOf(context).access === 'required') throw noCaller(context);
    return member === undefined ? session : session?.[member];
  },
);

function noCaller(context: ExecutionContext): MultiSessionConfigurationError {
  return new MultiSessionConfigurationError(
    [
      `${nameOfHandler(context.getHandler(), context.getClass())}: @CurrentSession() has no session, because no guard of ` +
        'this library has identified the caller; add @UseGuards(JwtAuthGuard), or @OptionalSession() if anonymous callers may pass',
    ],
    'runtime',
  );
}
