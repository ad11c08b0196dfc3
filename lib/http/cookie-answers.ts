import { Injectable } from '@nestjs/common';
import { Clock } from '../database/clock.js';
import type { IssuedSession } from '../session/new-session.js';
import { SessionPolicies } from '../session/policies.js';
import type { RefreshedSession } from '../session/refreshed-session.js';
import { expiryOf } from '../token/access-token.js';
import type { CookieAnswer } from './sessions.dto.js';

/** Makes the body of an answer whose tokens travel in cookies. */
@Injectable()
export class CookieAnswers {
  constructor(
    private readonly policies: SessionPolicies,
    private readonly clock: Clock,
  ) {}

  /** Tells the client what it must know of tokens that it cannot read. */
  of({ session, access }: IssuedSession | RefreshedSession): CookieAnswer {
    const now = this.clock.now();
    const end = this.policies.get(session.type)?.endAfterUse(session, now) ?? session.expiresAt.getTime();
    return {
      session_id: session.id,
      session_type: session.type,
      expires_in: secondsUntil(expiryOf(access), now),
      session_expires_in: secondsUntil(end, now),
    };
  }
}

/** Rounds down, so that a client never takes an expired token for a valid one. */
export function secondsUntil(time: number, now: number): number {
  return Math.max(0, Math.floor((time - now) / 1000));
}
