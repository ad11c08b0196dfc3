import {
  type CanActivate,
  type CustomDecorator,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { HeaderNotPermittedError } from '../../errors.js';
import { HTTP_CONFIG, type HttpConfig } from '../../http/options.js';
import type { CredentialsCarrier } from '../../http/request.js';

const PERMITS_PERMANENT_TOKEN = 'multi-session:permits-permanent-token';

/** Lets a route receive the header with the permanent token. `PermittedHeadersGuard` refuses it on all other routes. */
export const PermitsPermanentToken = (): CustomDecorator => SetMetadata(PERMITS_PERMANENT_TOKEN, true);

/**
 * Refuses a request that carries a permanent token to a route that does not need it. If a client sends the token with every
 * request by mistake, its developers notice at the first request, and not only after the token has leaked.
 *
 * Bind it globally: `{ provide: APP_GUARD, useClass: PermittedHeadersGuard }`. It corresponds to
 * `PermittedHeadersMiddleware` of drf-jwt-devices.
 * @throws HeaderNotPermittedError (400) with the name of the header, but not its value
 */
@Injectable()
export class PermittedHeadersGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
  ) {}

  canActivate(context: ExecutionContext): boolean {
    if (context.getType() !== 'http') return true;
    const { headers } = context.switchToHttp().getRequest<CredentialsCarrier>();
    const { permanentTokenHeader } = this.config;
    if (headers?.[permanentTokenHeader.toLowerCase()] === undefined) return true;
    const targets = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<boolean | undefined>(PERMITS_PERMANENT_TOKEN, targets)) return true;
    throw new HeaderNotPermittedError(permanentTokenHeader);
  }
}
