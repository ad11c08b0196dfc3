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

/**
 * What each guarded request is checked against, in addition to the token's signature and expiry. `blacklist` adds the ended
 * sessions in memory, and `session` adds the session's row.
 */
export type AccessCheck = 'signature' | 'blacklist' | 'session';

/**
 * The policy of one session type. A time span is a number of seconds or a string with a unit, such as `'30d'`. The names in
 * capitals are the matching settings of simplejwt_multisessions.
 */
export interface SessionPolicyOptions {
  /** How long a session lives. Required. `REFRESH_TOKEN_LIFETIME`; `JWT_PERMANENT_TOKEN_EXPIRATION_DELTA`. */
  refreshTokenLifetime: Duration;
  /** How long an access token lives. Default: `jwt.accessTokenLifetime`. `ACCESS_TOKEN_LIFETIME`. */
  accessTokenLifetime?: Duration;
  /** Whether each refresh hands out a new refresh token. Default: true. `ROTATE_REFRESH_TOKENS`. */
  rotateRefreshTokens?: boolean;
  /**
   * Whether the `jti` of a superseded refresh token is written to the blacklist table, for other services to read.
   * Default: false. `BLACKLIST_AFTER_ROTATION`.
   */
  blacklistAfterRotation?: boolean;
  /** Whether a refresh sets the session's `lastUpdate`. Default: true. `UPDATE_LAST_LOGIN`. */
  updateLastLogin?: boolean;
  /**
   * Whether a refresh restores the session's full lifetime: never, at each refresh, or if less than the given span remains.
   * Default: false. `EXTEND_SESSION`, `EXTEND_SESSION_EVERY_TIME`, `EXTEND_SESSION_ONCE_AFTER_EACH`.
   */
  extendSession?: false | 'every-refresh' | { whenRemainingBelow: Duration };
  /** How many active sessions of this type a user may have. Default: no limit. `MAX_NUMBER_ACTIVE_SESSIONS`. */
  maxActiveSessions?: number;
  /** What a login does if a limit is reached. Default: `'destroy-oldest'`. `DESTROY_OLDEST_ACTIVE_SESSION`. */
  whenFull?: 'destroy-oldest' | 'refuse';
  /** Maximum lifetime of a session, counted from the login, however often it is extended. Default: no maximum. */
  absoluteLifetime?: Duration;
  /**
   * How long after a rotation the superseded token still gets the same successor. Default: `'10s'`. With 0, two concurrent
   * refreshes with one token end the session.
   */
  reuseGrace?: Duration;
  /** What each guarded request is checked against. Default: `'blacklist'`. */
  accessCheck?: AccessCheck;
  /**
   * Whether the refresh token never changes and contains no expiry. The session then expires `refreshTokenLifetime` after
   * its last refresh. The expiry is only in its row. Cannot be combined with rotation or `extendSession`. Default: false. As
   * in drf-jwt-devices.
   */
  permanent?: boolean;
  /**
   * For permanent sessions: a refresh writes to the database at most once in this span. A session may expire earlier by up to
   * this span. At most half of `refreshTokenLifetime`. Default: `'30m'`.
   * `JWT_PERMANENT_TOKEN_EXPIRATION_ACCURACY`.
   */
  touchInterval?: Duration;
}

/** `SessionPolicyOptions`, checked and completed. Time spans are in milliseconds. */
export interface SessionPolicyConfig {
  readonly refreshTokenLifetime: number;
  readonly accessTokenLifetime: number;
  readonly rotateRefreshTokens: boolean;
  readonly blacklistAfterRotation: boolean;
  readonly updateLastLogin: boolean;
  /** A refresh extends the session if less than this remains. 0 means never, Infinity at every refresh. */
  readonly extendBelow: number;
  readonly maxActiveSessions: number;
  readonly whenFull: 'destroy-oldest' | 'refuse';
  readonly absoluteLifetime?: number;
  readonly reuseGrace: number;
  readonly accessCheck: AccessCheck;
  readonly permanent: boolean;
  /** Only used by permanent sessions. */
  readonly touchInterval: number;
}

/** The option `cleanup`. With `false`, no timer runs: call `SessionCleanup.run()` yourself. */
export interface CleanupOptions {
  /** How often each process tries to clean up. Only one process at a time cleans up. Default: `'10m'`. */
  interval?: Duration;
  /** How many rows one batch deletes. Default: 100. */
  batchSize?: number;
}

/** `CleanupOptions`, checked and completed. The interval is in milliseconds; 0 means never. */
export interface CleanupConfig {
  readonly interval: number;
  readonly batchSize: number;
}

const DEFAULT_TOUCH_INTERVAL = 1_800_000;

/** The two session types of simplejwt_multisessions' README, with its values. */
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

/** A session type with the defaults of drf-jwt-devices: `policies: { DEVICE: PERMANENT_DEVICE }`. */
export const PERMANENT_DEVICE = {
  permanent: true,
  refreshTokenLifetime: '7d',
  touchInterval: '30m',
} as const satisfies SessionPolicyOptions;

/**
 * Checks the option `policies`, and adds the faults that it finds to `faults`.
 * @param accessTokenLifetime the default for every type, in milliseconds
 * @returns the policies by the name of their type
 */
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
    if (folded === 'ALL') faults.add(`policies.${type}`, 'is reserved: ALL stands for every type; choose another name');
    if (twin !== undefined)
      faults.add(
        `policies.${type}`,
        `differs from ${twin} only in case, and types are matched in any case; choose another name`,
      );
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(type))
      faults.add(`policies.${type}`, 'is not a valid type name; use 1 to 64 letters, digits, - and _');
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
      faults.add(`${name}.extendSession.whenRemainingBelow`, 'is longer than refreshTokenLifetime; make it shorter');
    }
    if (absoluteLifetime !== undefined && absoluteLifetime < lifetime) {
      faults.add(`${name}.absoluteLifetime`, 'is shorter than refreshTokenLifetime; make it longer');
    }
    if (absoluteLifetime !== undefined && extendSession === false && !isPermanent) {
      faults.add(
        `${name}.absoluteLifetime`,
        'has no effect without extendSession or permanent; set one of them or remove it',
      );
    }
    if (policy.reuseGrace >= lifetime) faults.add(`${name}.reuseGrace`, 'must be shorter than refreshTokenLifetime');
  }
  const { touchInterval = DEFAULT_TOUCH_INTERVAL } = policy;
  if (isPermanent) checkPermanent({ ...policy, extendSession, touchInterval }, name, faults);
  else if (policy.touchInterval !== undefined)
    faults.add(`${name}.touchInterval`, 'has no effect without permanent: true; remove it');
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
  const never = (option: string) =>
    faults.add(`${name}.${option}`, 'cannot be combined with permanent: true; remove it');
  if (policy.rotateRefreshTokens) never('rotateRefreshTokens');
  if (policy.blacklistAfterRotation) never('blacklistAfterRotation');
  if (policy.extendSession !== false) never('extendSession');
  if (policy.updateLastLogin === false) never('updateLastLogin');
  if (policy.touchInterval > policy.refreshTokenLifetime / 2)
    faults.add(`${name}.touchInterval`, 'is more than half of refreshTokenLifetime; make it shorter');
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
