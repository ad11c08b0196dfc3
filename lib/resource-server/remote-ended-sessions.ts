import { Inject, Injectable } from '@nestjs/common';
import { EndedSessions } from '../session/ended-sessions.js';
import type { SessionClaims } from '../token/access-token.js';
import { IssuerClient } from '../verifier/issuer-client.js';
import { translated } from './translated.js';

/** Tells which sessions have ended, as the feed of the issuer does, with the errors of Nest. */
@Injectable()
export class RemoteEndedSessions extends EndedSessions {
  constructor(@Inject(IssuerClient) private readonly issuer: IssuerClient) {
    super();
  }

  onEnded(listener: (sessionId: string) => void): () => void {
    return this.issuer.onEnded(listener);
  }

  check(session: SessionClaims): void {
    translated(() => this.issuer.access.check(session));
  }
}
