import {
  boolean,
  checkObject,
  duration,
  type Duration,
  oneOf,
  type OptionFaults,
  optional,
  positiveInteger,
  required,
  wholeSeconds,
  withDefault,
} from '../option-check.js';

/** What a request to a guarded route is checked against, beyond the token's signature. */
export type AccessCheck = 'signature' | 'blacklist' | 'session';

/**
 * The policy of one session type. Time spans: a number is seconds, a string such as `'30d'` has its unit. The names in capitals
 * are those of simplejwt_multisessions.
 */
export interface SessionPolicyOptions {
  /** How long a session lives. Required. `REFRESH_TOKEN_LIFETIME`; `JWT_PERMANENT_TOKEN_EXPIRATION_DELTA`. */
  refreshTokenLifetime: Duration;
  /** How long an access token lives. Default: `jwt.accessTokenLifetime`. `ACCESS_TOKEN_LIFETIME`. */
  accessTokenLifetime?: Duration;
  /** Whether each refresh hands out a new refresh token. Default: true. `ROTATE_REFRESH_TOKENS`. */
  rotateRefreshTokens?: boolean;
  /** Whether a superseded token's `jti` is written to the blacklist table, for others to read. Default: false. `BLACKLIST_AFTER_ROTATION`. */
  blacklistAfterRotation?: boolean;
  /** Whether a refresh sets the session's `lastUpdate`. Default: true. `UPDATE_LAST_LOGIN`. */
  updateLastLogin?: boolean;
  /**
   * Whether a refresh gives the session its whole lifetime again: never, each time, or once less than so much of it is left.
   * Default: false. `EXTEND_SESSION`, `EXTEND_SESSION_EVERY_TIME`, `EXTEND_SESSION_ONCE_AFTER_EACH`.
   */
  extendSession?: false | 'every-refresh' | { whenRemainingBelow: Duration };
  /** How many sessions of this type a user may have. Default: any number. `MAX_NUMBER_ACTIVE_SESSIONS`. */
  maxActiveSessions?: number;
  /** What a login does when they are reached. Default: `'destroy-oldest'`. `DESTROY_OLDEST_ACTIVE_SESSION`. */
  whenFull?: 'destroy-oldest' | 'refuse';
  /** What extension never goes past, counted from the login. Default: no bound. */
  absoluteLifetime?: Duration;
  /**
   * For how long after a rotation the superseded token still gets the same successor. Default: `'10s'`. With 0, two
   * refreshes at once with one token cost the session.
   */
  reuseGrace?: Duration;
  /** Default: `'blacklist'`. */
  accessCheck?: AccessCheck;
  /**
   * Whether the refresh token stays the same and states no end: the session lives `refreshTokenLifetime` from its last refresh,
   * and its row decides. Neither rotation nor `extendSession` goes with it. Default: false. drf-jwt-devices.
   */
  permanent?: boolean;
  /**
   * Of a permanent session: how often a refresh is written down at most, so that most write nothing. A session may end by so
   * much earlier than its lifetime after the last refresh; at most half of it. Default: `'30m'`.
   * `JWT_PERMANENT_TOKEN_EXPIRATION_ACCURACY`.
   */
  touchInterval?: Duration;
}

/** `SessionPolicyOptions`, checked and completed; time spans in milliseconds. */
export interface SessionPolicyConfig {
  readonly refreshTokenLifetime: number;
  readonly accessTokenLifetime: number;
  readonly rotateRefreshTokens: boolean;
  readonly blacklistAfterRotation: boolean;
  readonly updateLastLogin: boolean;
  /** A session is extended when less than so much of it is left; 0 for never. */
  readonly extendBelow: number;
  readonly maxActiveSessions: number;
  readonly whenFull: 'destroy-oldest' | 'refuse';
  readonly absoluteLifetime?: number;
  readonly reuseGrace: number;
  readonly accessCheck: AccessCheck;
  readonly permanent: boolean;
  /** Of a permanent session. */
  readonly touchInterval: number;
}

/** The `cleanup` part of the options; `false` leaves it to the application, which calls `SessionCleanup.run()`. */
export interface CleanupOptions {
  /** How often each process looks; one at a time does the work. Default: `'10m'`. */
  interval?: Duration;
  /** How many rows one statement deletes. Default: 100. */
  batchSize?: number;
}

/** `CleanupOptions`, checked and completed; the interval in milliseconds, 0 for never. */
export interface CleanupConfig {
  readonly interval: number;
  readonly batchSize: number;
}

const DEFAULT_TOUCH_INTERVAL = 1_800_000;

/** The session types of simplejwt_multisessions' README, with its values. */
export const SHORT_AND_LONG = {
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

/** A session type as drf-jwt-devices has it, with its defaults: `policies: { DEVICE: PERMANENT_DEVICE }`. */
export const PERMANENT_DEVICE = {
  permanent: true,
  refreshTokenLifetime: '7d',
  touchInterval: '30m',
} as const satisfies SessionPolicyOptions;

/** @returns the policies by the name of their type */
export function readPolicies(
  given: unknown,
  accessTokenLifetime: number,
  faults: OptionFaults,
): Map<string, SessionPolicyConfig> {
  if (given === null || typeof given !== 'object' || Object.keys(given).length === 0) {
    faults.add('policies', "must name one session type or more, for example { LONG: { refreshTokenLifetime: '30d' } }");
    return new Map();
  }
  const types = Object.keys(given);
  checkTypeNames(types, faults);
  return new Map(
    Object.entries(given).map(([type, policy]) => [
      type,
      readPolicy(policy, `policies.${type}`, accessTokenLifetime, faults),
    ]),
  );
}

function checkTypeNames(types: readonly string[], faults: OptionFaults): void {
  const seen = new Map<string, string>();
  for (const type of types) {
    const folded = type.trim().toUpperCase();
    const twin = seen.get(folded);
    if (folded === 'ALL') faults.add(`policies.${type}`, 'ALL stands for every type and cannot be one');
    if (twin !== undefined)
      faults.add(`policies.${type}`, `differs from ${twin} only in case; types are matched whatever their case`);
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(type))
      faults.add(`policies.${type}`, 'a type is 1 to 64 letters, digits, - and _');
    seen.set(folded, type);
  }
}

function readPolicy(
  given: unknown,
  name: string,
  accessTokenLifetime: number,
  faults: OptionFaults,
): SessionPolicyConfig {
  const before = faults.list.length;
  const isPermanent = (given as Partial<SessionPolicyOptions> | null)?.permanent === true;
  const { extendSession, ...policy } = checkObject(given, name, faults, {
    refreshTokenLifetime: required(wholeSeconds, "say how long its sessions live, for example '30d'"),
    accessTokenLifetime: withDefault(accessTokenLifetime, wholeSeconds),
    rotateRefreshTokens: withDefault(!isPermanent, boolean),
    blacklistAfterRotation: withDefault(false, boolean),
    updateLastLogin: withDefault(true, boolean),
    extendSession: withDefault<false | 'every-refresh' | number>(false, readExtension),
    maxActiveSessions: withDefault(Infinity, positiveInteger),
    whenFull: withDefault('destroy-oldest', oneOf('destroy-oldest', 'refuse')),
    absoluteLifetime: optional(wholeSeconds),
    reuseGrace: withDefault(10_000, duration('zero')),
    accessCheck: withDefault('blacklist', oneOf('signature', 'blacklist', 'session')),
    permanent: withDefault(false, boolean),
    touchInterval: optional(duration()),
  });
  const { refreshTokenLifetime: lifetime, absoluteLifetime } = policy;
  if (faults.list.length === before) {
    if (typeof extendSession === 'number' && extendSession > lifetime) {
      faults.add(`${name}.extendSession.whenRemainingBelow`, 'is above refreshTokenLifetime');
    }
    if (absoluteLifetime !== undefined && absoluteLifetime < lifetime) {
      faults.add(`${name}.absoluteLifetime`, 'is below refreshTokenLifetime');
    }
    if (absoluteLifetime !== undefined && extendSession === false && !isPermanent) {
      faults.add(`${name}.absoluteLifetime`, 'has no use without extendSession or permanent');
    }
    if (policy.reuseGrace >= lifetime) faults.add(`${name}.reuseGrace`, 'must be below refreshTokenLifetime');
  }
  const { touchInterval = DEFAULT_TOUCH_INTERVAL } = policy;
  if (isPermanent) checkPermanent({ ...policy, extendSession, touchInterval }, name, faults);
  else if (policy.touchInterval !== undefined)
    faults.add(`${name}.touchInterval`, 'has no use without permanent: true');
  return {
    ...policy,
    touchInterval,
    extendBelow: extendSession === 'every-refresh' ? Infinity : Number(extendSession),
  };
}

function checkPermanent(
  policy: Pick<SessionPolicyConfig, 'refreshTokenLifetime' | 'touchInterval'> &
    Pick<SessionPolicyOptions, 'rotateRefreshTokens' | 'blacklistAfterRotation' | 'updateLastLogin'> & {
      extendSession: unknown;
    },
  name: string,
  faults: OptionFaults,
): void {
  const never = (option: string) => faults.add(`${name}.${option}`, 'does not go with permanent: true');
  if (policy.rotateRefreshTokens) never('rotateRefreshTokens');
  if (policy.blacklistAfterRotation) never('blacklistAfterRotation');
  if (policy.extendSession !== false) never('extendSession');
  if (policy.updateLastLogin === false) never('updateLastLogin');
  if (policy.touchInterval > policy.refreshTokenLifetime / 2)
    faults.add(`${name}.touchInterval`, 'is above half of refreshTokenLifetime');
}

function readExtension(value: unknown, name: string, faults: OptionFaults): false | 'every-refresh' | number {
  if (value === false || value === 'every-refresh') return value;
  if (value === null || typeof value !== 'object') {
    faults.add(name, "must be false, 'every-refresh' or { whenRemainingBelow }");
    return false;
  }
  return checkObject(value, name, faults, { whenRemainingBelow: required(duration(), "for example '15d'") })
    .whenRemainingBelow;
}

export function readCleanupOptions(given: unknown, faults: OptionFaults): CleanupConfig {
  if (given === false) return { interval: 0, batchSize: 100 };
  return checkObject(given ?? {}, 'cleanup', faults, {
    interval: withDefault(600_000, duration()),
    batchSize: withDefault(100, positiveInteger),
  });
}
