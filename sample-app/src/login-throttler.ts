import { HttpException, HttpStatus, Injectable } from '@nestjs/common';
import { seconds, ThrottlerGuard, type ThrottlerModuleOptions } from '@nestjs/throttler';
import { SessionsController } from 'nestjs-multisession';

/** One address may try sixty logins a minute; no other route is counted. */
export function loginThrottling(isOn: boolean): ThrottlerModuleOptions {
  return {
    throttlers: [{ limit: 60, ttl: seconds(60) }],
    skipIf: (context) => !isOn || context.getHandler() !== SessionsController.prototype.login,
  };
}

/** Refuses with the shape of the library's own errors; `Retry-After` is set by the guard of @nestjs/throttler. */
@Injectable()
export class LoginThrottlerGuard extends ThrottlerGuard {
  protected override throwThrottlingException(): Promise<void> {
    const body = {
      statusCode: HttpStatus.TOO_MANY_REQUESTS,
      error: 'Too Many Requests',
      message: 'Too many logins, try again later',
      code: 'too_many_requests',
    };
    throw new HttpException(body, body.statusCode);
  }
}
