import type { SessionPolicyOptions } from './options.js';

/**
 * Two session types for a start: `SHORT` for a shared or unknown device, `LONG` for "keep me logged in". Refresh tokens rotate,
 * so that the library detects stolen ones. `nestjs-multisession/django` has the values of simplejwt_multisessions' README.
 */
export const SHORT_AND_LONG = {
  SHORT: {
    refreshTokenLifetime: '1d',
    rotateRefreshTokens: true,
    extendSession: false,
    maxActiveSessions: 2,
    whenFull: 'destroy-oldest',
  },
  LONG: {
    refreshTokenLifetime: '30d',
    rotateRefreshTokens: true,
    extendSession: { whenRemainingBelow: '15d' },
    absoluteLifetime: '180d',
    maxActiveSessions: 5,
    whenFull: 'destroy-oldest',
  },
} as const satisfies Record<string, SessionPolicyOptions>;

/** A session type with the defaults of drf-jwt-devices: `policies: { DEVICE: PERMANENT_DEVICE }`. */
export const PERMANENT_DEVICE = {
  permanent: true,
  refreshTokenLifetime: '7d',
  touchInterval: '30m',
} as const satisfies SessionPolicyOptions;
