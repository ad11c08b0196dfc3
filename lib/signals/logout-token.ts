import type { SignedSignal } from './signed-signal.js';
import { isObject } from './signed-signal.js';
import { SignalRefusedError } from './signal-error.js';

const EVENT = 'http://schemas.openid.net/event/backchannel-logout';

/** The header `typ`. The specification only recommends it, and older providers send that of any JWT. */
export const LOGOUT_TYPES = ['logout+jwt', 'jwt', ''] as const;

/** How old a logout token may be, in milliseconds. */
export const MAX_LOGOUT_AGE = 600_000;

/** Whom a provider has logged out. With `sid`, only that session of the user. */
export interface Logout {
  readonly subject?: string;
  readonly sid?: string;
}

/**
 * Reads the claims of a logout token (OpenID Connect Back-Channel Logout 1.0).
 * @throws SignalRefusedError if it is another kind of token, such as an ID token
 */
export function readLogout({ events, claims }: SignedSignal): Logout {
  const { sub, sid, nonce } = claims;
  const refuse = (message: string): never => {
    throw new SignalRefusedError('invalid_request', message);
  };
  if (!isObject(events[EVENT])) refuse('The claim events does not have the event of a logout');
  // An ID token has one, so that none can be used as a logout token.
  if (nonce !== undefined) refuse('A logout token must not have the claim nonce');
  const isGood = (claim: unknown) => claim === undefined || (typeof claim === 'string' && claim !== '');
  if (!isGood(sub) || !isGood(sid)) refuse('The claims sub and sid must be texts');
  if (sub === undefined && sid === undefined) refuse('The token has neither the claim sub nor the claim sid');
  return { ...(typeof sub === 'string' && { subject: sub }), ...(typeof sid === 'string' && { sid }) };
}
