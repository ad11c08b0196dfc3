import { Inject, Injectable } from '@nestjs/common';
import type { AccessCall } from '../binding/access-sender.js';
import { AccessVerifier } from '../session/access-verifier.js';
import type { SessionClaims } from '../token/access-token.js';
import { IssuerClient } from '../verifier/issuer-client.js';
import { translated } from './translated.js';

/** Answers the guards from the keys and the feed of the issuer, with the errors of Nest. */
@Injectable()
export class RemoteAccessVerifier extends AccessVerifier {
  constructor(@Inject(IssuerClient) private readonly issuer: IssuerClient) {
    super();
  }

  verify(token: string, call?: AccessCall): SessionClaims | Promise<SessionClaims> {
    return translated(() => this.issuer.access.verify(token, call));
  }

  now(): number {
    return translated(() => this.issuer.access.now());
  }
}
