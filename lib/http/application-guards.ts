import { type CanActivate, type ExecutionContext, ForbiddenException, Inject, Injectable } from '@nestjs/common';
import { isObservable, lastValueFrom } from 'rxjs';

/** Injection token of the guards in the option `loginGuards`. */
export const LOGIN_GUARDS = 'MULTI_SESSION_LOGIN_GUARDS';

/**
 * Runs guards of the application, one after the other.
 *
 * An exception that a guard throws passes through. If a guard returns false, the client gets Nest's own 403.
 */
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

/** Runs the guards of the option `loginGuards`, before the password is checked. */
@Injectable()
export class LoginGuards extends ApplicationGuards {
  constructor(@Inject(LOGIN_GUARDS) guards: readonly CanActivate[]) {
    super(guards);
  }
}
