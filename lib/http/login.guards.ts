import { type CanActivate, type ExecutionContext, ForbiddenException, Inject, Injectable } from '@nestjs/common';
import { isObservable, lastValueFrom } from 'rxjs';

/** The injection token of the guards that the option `loginGuards` names. */
export const LOGIN_GUARDS = 'MULTI_SESSION_LOGIN_GUARDS';

/**
 * Asks the application's own guards, one after the other, before a password is looked at. What one throws passes through;
 * false is Nest's 403.
 */
@Injectable()
export class LoginGuards implements CanActivate {
  constructor(@Inject(LOGIN_GUARDS) private readonly guards: readonly CanActivate[]) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    for (const guard of this.guards) {
      const answer = guard.canActivate(context);
      if (!(await (isObservable(answer) ? lastValueFrom(answer) : answer))) throw new ForbiddenException();
    }
    return true;
  }
}
