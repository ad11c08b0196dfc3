import { SignalRefusedError } from './signal-error.js';
import { isObject, type SignedSignal } from './signed-signal.js';
import { readSignalSubject, type SignalSubject } from './subject.js';

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type';
const RISC = 'https://schemas.openid.net/secevent/risc/event-type';

/** The header `typ` of a security event token (RFC 8417). */
export const SECURITY_EVENT_TYPES = ['secevent+jwt'] as const;

/** How old an event may be, in milliseconds. A transmitter that could not reach us tries again for days. */
export const MAX_EVENT_AGE = 7 * 86_400_000;

/** What to end because of an event. */
export interface SessionsToEnd {
  readonly subject: SignalSubject;
  /** Whether a subject that is no user may be a session of the provider. */
  readonly mayBeSession: boolean;
}

/**
 * Reads a security event.
 * @returns undefined if no session ends because of it, for example because it only verifies the stream
 * @throws SignalRefusedError if it does not conform to its definition
 */
export function readSecurityEvent({ events, claims }: SignedSignal): SessionsToEnd | undefined {
  const names = Object.keys(events);
  if (names.length !== 1)
    throw new SignalRefusedError('invalid_request', 'The claim events must have exactly one event');
  const [name] = names;
  const event = events[name];
  if (!isObject(event)) throw new SignalRefusedError('invalid_request', 'The event must be an object');
  if (!endsSessions(name, event)) return undefined;
  const subject = readSignalSubject(claims.sub_id);
  if (!subject)
    throw new SignalRefusedError('invalid_request', 'The claim sub_id must name a user or a session in a known format');
  return { subject, mayBeSession: name === `${CAEP}/session-revoked` };
}

function endsSessions(name: string, event: Readonly<Record<string, unknown>>): boolean {
  switch (name) {
    case `${CAEP}/session-revoked`:
    case `${RISC}/account-disabled`:
      return true;
    case `${CAEP}/credential-change`:
      // A further credential does not make the sessions suspicious.
      return event.change_type !== 'create';
    default:
      return false;
  }
}
