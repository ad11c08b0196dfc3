import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { assertNotForged } from './csrf.guard.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { transportOf } from './refresh-transport.js';
import type { CredentialsCarrier } from './request.js';
import { SecretKeyGuard } from './secret-key.guard.js';

/**
 * Checks callers of login, refresh and logout. If the tokens travel in the body, the caller must know the secret key. If they
 * travel in cookies, the request must pass the CSRF check instead, because a browser cannot keep a secret key.
 */
@Injectable()
export class CallerGuard implements CanActivate {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly secretKey: SecretKeyGuard,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<CredentialsCarrier>();
    if (transportOf(request, this.config) !== 'cookie') return this.secretKey.canActivate(context);
    assertNotForged(request, this.config.cookies);
    return true;
  }
}
