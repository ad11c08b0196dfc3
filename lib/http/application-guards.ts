import { type CanActivate, type ExecutionContext, ForbiddenException, Inject, Injectable } from '@nestjs/common';
import { isObservable, lastValueFrom } from 'rxjs';

/** The injection token of the guards that the option `loginGuards` names. */
export const LOGIN_GUARDS = 'MULTI_SESSION_LOGIN_GUARDS';

/** Asks guards of the application's own, one after the other. What one throws passes through; false is Nest's 403. */
export abstract class ApplicationGuards implements CanActivate {
  protected constructor(private readonly guards: readonly CanActivate[]) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    for (const guard of this.guards) {
      const answer = guard.canActivate(context);
      if (!(await (isObservable(answer) ? lastValueFrom(answer) : answer))) throw new ForbiddenException();
    }
    return true;
  }
}

/** The guards of the option `loginGuards`, before a password is looked at. */
@Injectable()
export class LoginGuards extends ApplicationGuards {
  constructor(@Inject(LOGIN_GUARDS) guards: readonly CanActivate[]) {
    super(guards);
  }
}
