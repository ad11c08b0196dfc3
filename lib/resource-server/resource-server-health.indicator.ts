import { Inject, Injectable } from '@nestjs/common';
import { IssuerClient, type VerifierHealth } from '../verifier/issuer-client.js';

/**
 * Reports whether access tokens can be verified in this process. Inject it, and pass its result to @nestjs/terminus 11 or later:
 *
 * ```ts
 * this.health.check([() => this.issuer.check('sessions')]);
 * ```
 *
 * Use it for readiness and alerts, and not for liveness: a restart does not bring the issuer back.
 */
@Injectable()
export class ResourceServerHealthIndicator {
  constructor(@Inject(IssuerClient) private readonly issuer: IssuerClient) {}

  /**
   * Checks the knowledge about the issuer. It sends no request.
   * @param key the name of the indicator in the result. Default: `'sessions'`
   */
  check<const Key extends string = 'sessions'>(key?: Key): Record<Key, VerifierHealth> {
    return { [key ?? 'sessions']: this.issuer.health() } as Record<Key, VerifierHealth>;
  }
}
