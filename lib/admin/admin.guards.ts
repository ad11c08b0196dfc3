import { type CanActivate, Inject, Injectable } from '@nestjs/common';
import { ApplicationGuards } from '../http/application-guards.js';

/** Injection token of the guards in the option `admin`. */
export const ADMIN_GUARDS = 'MULTI_SESSION_ADMIN_GUARDS';

/** Runs the guards of the option `admin`. The module does not start if the option names no guard. */
@Injectable()
export class AdminGuards extends ApplicationGuards {
  constructor(@Inject(ADMIN_GUARDS) guards: readonly CanActivate[]) {
    super(guards);
  }
}
