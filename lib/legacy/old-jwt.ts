import type { KeyObject } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';
import type { Claims } from '../token/claims.js';
import type { JwtAlgorithm } from '../token/key-options.js';

/**
 * Verifies the JWTs of an old system, which have one key and no `kid`. The key is pinned to its algorithm.
 *
 * It does not check times: the row of the session decides when a refresh token ends.
 */
export class OldJwts {
  private readonly jwt: JwtService;

  constructor(key: KeyObject, algorithm: JwtAlgorithm) {
    this.jwt = new JwtService({
      publicKey: key as never,
      verifyOptions: { algorithms: [algorithm], ignoreExpiration: true, ignoreNotBefore: true },
    });
  }

  /**
   * Verifies a signature.
   * @returns the claims, or undefined if the old system has not signed the text. One of our own tokens has a `sid`, and is not
   * an old one whatever signed it
   */
  verify(text: string): Claims | undefined {
    try {
      const claims: unknown = this.jwt.verify<Claims>(text);
      const isOld = claims !== null && typeof claims === 'object' && !('sid' in claims);
      return isOld ? (claims as Claims) : undefined;
    } catch {
      return undefined;
    }
  }
}
