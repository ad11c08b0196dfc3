import type { EndReason } from '../session/events.js';
import type { Claims } from '../token/claims.js';
import type { DurableEvent, DurableEventName } from './durable-event.js';

/** Signs the claims of a security event token for an audience, and states our issuer. */
export type SecurityEventSigner = (claims: Claims, audience: string) => string;

/** The name of the events in which a stream proves that it works. They go to no other destination. */
export const STREAM_VERIFIED = 'stream.verification';

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type';
const SSF = 'https://schemas.openid.net/secevent/ssf/event-type';

/** The events that a stream can send, by the names that they have as security events. */
export const SECURITY_EVENT_TYPES = {
  'session.ended': `${CAEP}/session-revoked`,
  'session.created': `${CAEP}/session-established`,
} as const satisfies Partial<Record<DurableEventName, string>>;

/** Why a session ended, for the administrators of the receiver. */
const REASONS: Readonly<Record<EndReason, string>> = {
  logout: 'The user logged out.',
  destroyed: 'The user or the application ended the session.',
  evicted: 'A newer session took its place.',
  mismatch: 'The refresh token does not match the session.',
  reuse: 'An old refresh token was used again.',
  expired: 'The session expired.',
  'user-inactive': 'The user is not active any more.',
  reauthenticated: 'The user logged in again, and a new session took its place.',
  replaced: 'Another login in the same browser took its place.',
  'binding-conflict': 'A second device tried to bind the session.',
  'identity-provider': 'The identity provider ended the login.',
  admin: 'An administrator ended the session.',
  failover: 'The session had ended before, and a fail-over of the database lost that.',
};

/**
 * Returns the claims of a security event token (RFC 8417), without `iss` and `aud`.
 * @param issuer our issuer, which names the users
 * @param stream the name of the stream
 * @param now the database's time, in milliseconds since 1970
 */
export function securityEventClaims(event: DurableEvent, issuer: string, stream: string, now: number): Claims {
  const { id } = event;
  const content = (event.name as string) === STREAM_VERIFIED ? verification(event, stream) : change(event, issuer);
  return { jti: id, iat: Math.floor(now / 1000), txn: id, ...content };
}

/** The end of a session that has expired is not sent: nobody has revoked it. */
export function isSecurityEvent({ name, reason }: { readonly name: string; readonly reason: string | null }): boolean {
  return name !== 'session.ended' || reason !== 'expired';
}

function verification({ details: { state } }: DurableEvent, stream: string): Claims {
  return {
    sub_id: { format: 'opaque', id: stream },
    events: { [`${SSF}/verification`]: state === null ? {} : { state } },
  };
}

function change({ name, at, sessionId, userId, reason, initiator, details }: DurableEvent, issuer: string): Claims {
  const isEnd = name === 'session.ended';
  const event = {
    event_timestamp: Math.floor(at.getTime() / 1000),
    initiating_entity: initiator,
    ...(isEnd && reason !== null && { reason_admin: { en: REASONS[reason as EndReason] } }),
    ...(!isEnd && Array.isArray(details.amr) && { amr: details.amr as unknown[] }),
  };
  return {
    sub_id: {
      format: 'complex',
      session: { format: 'opaque', id: sessionId },
      user: { format: 'iss_sub', iss: issuer, sub: String(userId) },
    },
    events: { [SECURITY_EVENT_TYPES[isEnd ? 'session.ended' : 'session.created']]: event },
  };
}
