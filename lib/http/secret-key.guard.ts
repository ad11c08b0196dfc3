import { type CanActivate, type ExecutionContext, Inject, Injectable, Optional } from '@nestjs/common';
import { SecretKeyInvalidError } from '../errors.js';
import { markBackend } from './client-info.js';
import { KeyList } from './key-list.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';
import { Telemetry } from '../telemetry/telemetry.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** The header that may carry the secret key instead of the body's `secret_key`. */
export const SECRET_KEY_HEADER = 'x-secret-key';

/**
 * Requires a secret key, in the header `X-Secret-Key` or as `secret_key` in the body. A backend key (option `backendKeys`) is
 * accepted as well. If the option `secretKey` is `false`, every caller passes.
 */
@Injectable()
export class SecretKeyGuard implements CanActivate {
  @Optional() @Inject(Telemetry) private readonly telemetry?: Telemetry;
  private readonly secretKeys: KeyList;
  private readonly backendKeys: KeyList;

  constructor(@Inject(HTTP_CONFIG) private readonly config: HttpConfig) {
    this.secretKeys = new KeyList(config.secretKeys || []);
    this.backendKeys = new KeyList(config.backendKeys ?? []);
  }

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<CredentialsCarrier>();
    if (this.recognize(request) || this.config.secretKeys === false) return true;
    return this.secretKeys.includes(givenKey(request)) || this.refuse();
  }

  /** Whether the option `backendKeys` is set. */
  protected get hasBackendKeys(): boolean {
    return this.backendKeys.size > 0;
  }

  /**
   * Tells whether the caller knows a backend key. If so, `clientInfoOf` trusts the headers with which the caller passes its
   * user's client on.
   */
  recognize(request: CredentialsCarrier): boolean {
    const isBackend = this.hasBackendKeys && this.backendKeys.includes(givenKey(request));
    if (isBackend) markBackend(request);
    return isBackend;
  }

  protected refuse(): never {
    const error = new SecretKeyInvalidError();
    this.telemetry?.refused('SecretKeyGuard', error);
    throw error;
  }
}

/**
 * Requires a key that only backends know, for routes that must never be open. Requires one of the option `backendKeys`, or of
 * `secretKey` if that option is not set. If there is neither, refuses every caller.
 */
@Injectable()
export class BackendKeyGuard extends SecretKeyGuard {
  constructor(@Inject(HTTP_CONFIG) private readonly http: HttpConfig) {
    super(http);
  }

  override canActivate(context: ExecutionContext): boolean {
    if (!this.hasBackendKeys && this.http.secretKeys !== false) return super.canActivate(context);
    return this.recognize(context.switchToHttp().getRequest<CredentialsCarrier>()) || this.refuse();
  }
}

/** Requires one of the option `backendKeys`. If the option is not set, refuses every caller. */
@Injectable()
export class OwnBackendKeyGuard extends SecretKeyGuard {
  override canActivate(context: ExecutionContext): boolean {
    return this.recognize(context.switchToHttp().getRequest<CredentialsCarrier>()) || this.refuse();
  }
}

/** Recognizes backends on routes whose other guards may not. Lets every caller pass. */
@Injectable()
export class BackendCallers implements CanActivate {
  constructor(private readonly keys: SecretKeyGuard) {}

  canActivate(context: ExecutionContext): boolean {
    this.keys.recognize(context.switchToHttp().getRequest<CredentialsCarrier>());
    return true;
  }
}

/** Returns the key that the caller sent, or an empty string, which is no key. */
function givenKey(request: CredentialsCarrier): string {
  const fromHeader = headerOf(request, SECRET_KEY_HEADER);
  if (fromHeader !== undefined) return fromHeader;
  const fromBody = (request.body as { secret_key?: unknown } | null | undefined)?.secret_key;
  return typeof fromBody === 'string' ? fromBody : '';
}
