import {
  type CanActivate,
  type CustomDecorator,
  type ExecutionContext,
  Inject,
  Injectable,
  SetMetadata,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { HTTP_CONFIG, type HttpConfig } from '../../http/options.js';
import type { CredentialsCarrier } from '../../http/request.js';
import { HeaderNotPermittedError } from '../../errors.js';

const PERMITS_PERMANENT_TOKEN = 'multi-session:permits-permanent-token';

/** Marks a route that takes the permanent token from its header, so that `PermittedHeadersGuard` lets it pass. */
export const PermitsPermanentToken = (): CustomDecorator => SetMetadata(PERMITS_PERMANENT_TOKEN, true);

/**
 * Refuses requests that carry a permanent token to any other route than those that take it: a client that sends it along
 * everywhere is found out at its first request. To be bound globally: `{ provide: APP_GUARD, useClass: PermittedHeadersGuard }`.
 * drf-jwt-devices' `PermittedHeadersMiddleware`.
 * @throws HeaderNotPermittedError (400), which names the header and never its value
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
