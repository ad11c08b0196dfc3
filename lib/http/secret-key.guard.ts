import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { type CanActivate, type ExecutionContext, Inject, Injectable, Optional } from '@nestjs/common';
import { SecretKeyInvalidError } from '../errors.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** The header that may carry the secret key instead of the body's `secret_key`. */
export const SECRET_KEY_HEADER = 'x-secret-key';

/**
 * Requires a secret key, in the header `X-Secret-Key` or as `secret_key` in the body. If the option `secretKey` is `false`,
 * every caller passes.
 */
@Injectable()
export class SecretKeyGuard implements CanActivate {
  @Optional() @Inject(Telemetry) private readonly telemetry?: Telemetry;
  // The guard compares digests, not keys: digests have equal lengths, so the comparison takes the same time for every input.
  private readonly digestKey = randomBytes(32);
  private readonly digests: readonly Buffer[] | false;

  constructor(@Inject(HTTP_CONFIG) config: HttpConfig) {
    this.digests = config.secretKeys && config.secretKeys.map((key) => this.digest(key));
  }

  canActivate(context: ExecutionContext): boolean {
    if (this.digests === false) return true;
    const request = context.switchToHttp().getRequest<CredentialsCarrier>();
    const digest = this.digest(givenSecretKey(request) ?? '');
    // Compares every key, even after a match, so that the duration does not reveal which one matched.
    const matches = this.digests.map((known) => timingSafeEqual(known, digest));
    if (matches.includes(true)) return true;
    return this.refuse();
  }

  protected refuse(): never {
    const error = new SecretKeyInvalidError();
    this.telemetry?.refused('SecretKeyGuard', error);
    throw error;
  }

  private digest(text: string): Buffer {
    return createHmac('sha256', this.digestKey).update(text).digest();
  }
}

/** Like `SecretKeyGuard`, but refuses every caller if the option `secretKey` is `false`. For routes that must never be open. */
@Injectable()
export class RequiredSecretKeyGuard extends SecretKeyGuard {
  constructor(@Inject(HTTP_CONFIG) private readonly config: HttpConfig) {
    super(config);
  }

  override canActivate(context: ExecutionContext): boolean {
    if (this.config.secretKeys === false) this.refuse();
    return super.canActivate(context);
  }
}

function givenSecretKey(request: CredentialsCarrier): string | undefined {
  const fromHeader = headerOf(request, SECRET_KEY_HEADER);
  if (fromHeader !== undefined) return fromHeader;
  const fromBody = (request.body as { secret_key?: unknown } | null | undefined)?.secret_key;
  return typeof fromBody === 'string' ? fromBody : undefined;
}
