import type { SessionPolicyOptions } from '../../session/options.js';

/**
 * The two session types of simplejwt_multisessions' README, with its values, for front ends that do not store the refresh
 * token of a refresh.
 *
 * Refresh tokens do not rotate, so the library cannot detect stolen ones. A stolen refresh token works until its session
 * expires or somebody ends it, and with `LONG`, the thief can extend the session for ever. If your front end stores the
 * refresh token that a refresh returns, use `SHORT_AND_LONG`.
 */
export const DJANGO_SHORT_AND_LONG = {
  SHORT: {
    refreshTokenLifetime: '1d',
    rotateRefreshTokens: false,
    updateLastLogin: true,
    blacklistAfterRotation: true,
    extendSession: false,
    maxActiveSessions: 2,
    whenFull: 'destroy-oldest',
  },
  LONG: {
    refreshTokenLifetime: '30d',
    rotateRefreshTokens: false,
    updateLastLogin: false,
    blacklistAfterRotation: false,
    extendSession: { whenRemainingBelow: '15d' },
    maxActiveSessions: 5,
    whenFull: 'destroy-oldest',
  },
} as const satisfies Record<string, SessionPolicyOptions>;
