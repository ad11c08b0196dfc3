import { type ExecutionContext, HttpException, HttpStatus, Injectable } from '@nestjs/common';
import {
  hours,
  minutes,
  ThrottlerGuard,
  type ThrottlerLimitDetail,
  type ThrottlerModuleOptions,
} from '@nestjs/throttler';
import { sessionRouteOf } from 'nestjs-multisession';

/** Passwords per address and minute, at each of the two routes. */
const PER_ADDRESS = 60;
/** Passwords per user name and hour, at both routes together. It is the limit of NIST SP 800-63B-4, section 3.2.2. */
const PER_USER = 100;

type Members = Readonly<Record<string, unknown>>;

/**
 * Limits the passwords that a client may try at `login/` and at `reauthenticate/`, by address and by user name. Other routes
 * are not limited.
 */
export function loginThrottling(isOn: boolean, usernameField = 'username'): ThrottlerModuleOptions {
  const checksNoPassword = (context: ExecutionContext) => !isOn || !sessionRouteOf(context)?.checksPassword;
  const userOf = ({ body }: Members) => usernameIn(body, usernameField);
  return {
    throttlers: [
      { limit: PER_ADDRESS, ttl: minutes(1) },
      {
        name: 'user',
        limit: PER_USER,
        ttl: hours(1),
        getTracker: (request) => userOf(request) ?? '',
        // The same count for both routes.
        generateKey: (_context, user) => `user ${user}`,
        setHeaders: false,
        skipIf: (context) =>
          checksNoPassword(context) || userOf(context.switchToHttp().getRequest<Members>()) === undefined,
      },
    ],
    skipIf: checksNoPassword,
  };
}

/** Letters of any case count as one user, because some databases compare names like that. */
function usernameIn(body: unknown, field: string): string | undefined {
  const name = (body as Members | null | undefined)?.[field];
  return typeof name === 'string' ? name.trim().normalize('NFKC').toLowerCase() : undefined;
}

/** Refuses with a body like the library's own errors. */
@Injectable()
export class LoginThrottlerGuard extends ThrottlerGuard {
  protected override throwThrottlingException(context: ExecutionContext, detail: ThrottlerLimitDetail): Promise<void> {
    const body = {
      statusCode: HttpStatus.TOO_MANY_REQUESTS,
      error: 'Too Many Requests',
      message: 'Too many logins, try again later',
      code: 'too_many_requests',
    };
    // For a throttler with a name, @nestjs/throttler would call it `Retry-After-user`.
    this.setResponseHeader(this.getRequestResponse(context).res, 'Retry-After', detail.timeToBlockExpire);
    throw new HttpException(body, body.statusCode);
  }
}
