import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { SessionClaims } from 'nestjs-multisession';
import { UsersAuthenticator } from './users.authenticator.js';

/** The injection token of the names of the users who are administrators. */
export const ADMINS = Symbol('ADMINS');

/** Lets only administrators pass. It reads the users' table at each request. Put `JwtAuthGuard` before it. */
@Injectable()
export class AdministratorGuard implements CanActivate {
  constructor(
    private readonly users: UsersAuthenticator,
    @Inject(ADMINS) private readonly admins: readonly string[],
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { user } = context.switchToHttp().getRequest<{ user?: SessionClaims }>();
    if (!user || !(await this.users.findActive(user.userId))) return false;
    const name = (await this.users.describeUsers([user.userId])).get(user.userId);
    return name !== undefined && this.admins.includes(name);
  }
}
