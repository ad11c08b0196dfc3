import type { Contract } from '../http/contract.js';

/** The routes of `SignalsController`. Identity providers call them. */
export const SIGNAL_ROUTES = {
  logout: {
    summary: 'End the sessions that a logout token names (OpenID Connect Back-Channel Logout 1.0)',
    method: 'POST',
    path: 'signals/logout',
    auth: 'identity-provider',
  },
  event: {
    summary: 'End the sessions that a security event names (CAEP 1.0 and RISC, pushed by RFC 8935)',
    method: 'POST',
    path: 'signals/events',
    auth: 'identity-provider',
  },
  revoke: {
    summary: 'End all sessions of a user (Global Token Revocation)',
    method: 'POST',
    path: 'signals/revoke',
    auth: 'identity-provider',
  },
} as const satisfies Contract;
