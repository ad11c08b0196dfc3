import { type CanActivate, Inject, Injectable } from '@nestjs/common';
import { ApplicationGuards } from '../http/application-guards.js';

/** The injection token of the guards that the option `admin` names. */
export const ADMIN_GUARDS = 'MULTI_SESSION_ADMIN_GUARDS';

/** The guards of the option `admin`. The option is refused where it names none, so there always is one. */
@Injectable()
export class AdminGuards extends ApplicationGuards {
  constructor(@Inject(ADMIN_GUARDS) guards: readonly CanActivate[]) {
    super(guards);
  }
}
