import type { SubjectIdentifier } from '../session/provider-login.js';
import { isObject } from './signed-signal.js';

/** The subject of a signal: a user, a session of the provider, or the session of a user. */
export interface SignalSubject {
  /** Undefined if only a session is named. */
  readonly user?: SubjectIdentifier;
  /** The provider's id of its session. Undefined if all of the user's sessions are meant. */
  readonly sid?: string;
}

const MAX_TEXT = 1000;

/**
 * Reads a subject identifier.
 * @returns undefined if it is malformed or of a format that we do not know
 */
export function readSubjectIdentifier(value: unknown): SubjectIdentifier | undefined {
  if (!isObject(value)) return undefined;
  const { format, iss, sub, email, id } = value;
  if (format === 'iss_sub' && isText(iss) && isText(sub)) return { format, iss, sub };
  if (format === 'email' && isText(email)) return { format, email };
  if (format === 'opaque' && isText(id)) return { format, id };
  return undefined;
}

/**
 * Reads the subject of a security event: the claim `sub_id`. Its members for devices, tenants and groups are not read, so an
 * event about some sessions of a user may end more of them.
 * @returns undefined if it names neither a user nor a session
 */
export function readSignalSubject(value: unknown): SignalSubject | undefined {
  if (!isObject(value)) return undefined;
  if (value.format !== 'complex') {
    const user = readSubjectIdentifier(value);
    return user && { user };
  }
  const user = readSubjectIdentifier(value.user);
  const session = readSubjectIdentifier(value.session);
  // Without knowing the session or the user that it names, the event would end other sessions than it means.
  if ((value.user !== undefined && !user) || (value.session !== undefined && session?.format !== 'opaque'))
    return undefined;
  if (!user && !session) return undefined;
  return { ...(user && { user }), ...(session?.format === 'opaque' && { sid: session.id }) };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT;
}
