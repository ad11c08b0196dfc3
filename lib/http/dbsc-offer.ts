import { Inject, Injectable } from '@nestjs/common';
import { DbscChallenges } from '../binding/dbsc-challenge.js';
import { challengeHeader, registrationHeader } from '../binding/dbsc-headers.js';
import { Clock } from '../database/clock.js';
import type { IssuedSession } from '../session/new-session.js';
import { SessionPolicies } from '../session/policies.js';
import type { RefreshedSession } from '../session/refreshed-session.js';
import { CookieEvidence } from './cookie-evidence.js';
import { CookiePath } from './cookie-path.js';
import { HTTP_CONFIG, type HttpConfig } from './options.js';

/**
 * How old a session may be at most when its login offers a binding, in milliseconds. It tells the answer of a login from that of
 * a later refresh, which must not offer another one: of two keys for one session, one seems to be a thief's.
 */
const MAX_AGE_OF_NEW_SESSION = 10_000;

/** Writes the headers with which the server asks a browser for a key, and for proofs of it. */
@Injectable()
export class DbscOffer {
  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    private readonly policies: SessionPolicies,
    private readonly clock: Clock,
    private readonly path: CookiePath,
    private readonly challenges: DbscChallenges,
    private readonly evidence: CookieEvidence,
  ) {}

  /** Whether the sessions of any type are bound. */
  get isOn(): boolean {
    const { policies } = this;
    return this.config.cookies !== false && policies.types.some((type) => policies.get(type)?.config.binding !== 'off');
  }

  /**
   * Returns the header that asks the browser to register a key, for the answer of a login.
   * @returns undefined if the policy of the session does not bind it, or it is not a new session
   */
  registration({ session, refresh }: IssuedSession | RefreshedSession): string | undefined {
    const policy = this.policies.get(session.type);
    if (!policy || policy.config.binding === 'off' || session.bound || refresh === undefined) return undefined;
    const madeAt = this.clock.now();
    if (madeAt - session.createdAt.getTime() > MAX_AGE_OF_NEW_SESSION) return undefined;
    const content = this.evidence.contentOf(refresh);
    if (content?.sessionId !== session.id || content.generation !== 0) return undefined;
    const path = this.path.ofDbsc('register');
    return path && registrationHeader(path, this.challenges.write('register', { ...content, madeAt }));
  }

  /**
   * Returns the header with the challenge for the next proof.
   * @param generation of the refresh token that the browser will send with that proof
   */
  challenge(sessionId: string, generation: number): string {
    const challenge = this.challenges.write('refresh', { sessionId, generation, madeAt: this.clock.now() });
    return challengeHeader(challenge, sessionId);
  }
}
