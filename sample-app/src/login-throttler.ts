import { HttpException, HttpStatus, Injectable } from '@nestjs/common';
import { seconds, ThrottlerGuard, type ThrottlerModuleOptions } from '@nestjs/throttler';
import { SessionsController } from 'nestjs-multisession';

/** Allows sixty logins per minute and address. Other routes are not limited. */
export function loginThrottling(isOn: boolean): ThrottlerModuleOptions {
  return {
    throttlers: [{ limit: 60, ttl: seconds(60) }],
    skipIf: (context) => !isOn || context.getHandler() !== SessionsController.prototype.login,
  };
}

/** Refuses with a body like the library's own errors. @nestjs/throttler sets `Retry-After`. */
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
