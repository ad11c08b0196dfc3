import { accessTokenLifetime } from '../token/options.js';
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
import { type AssuranceLevel, checkAssurance } from './assurance.js';

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
  /** How long an access token lives, at most as long as its session. Default: `jwt.accessTokenLifetime`. `ACCESS_TOKEN_LIFETIME`. */
  accessTokenLifetime?: Duration | undefined;
  /** Whether each refresh hands out a new refresh token. Default: true. `ROTATE_REFRESH_TOKENS`. */
  rotateRefreshTokens?: boolean | undefined;
  /**
   * Whether the `jti` of a superseded refresh token is written to the blacklist table, for other services to read.
   * Default: false. `BLACKLIST_AFTER_ROTATION`.
   */
  blacklistAfterRotation?: boolean | undefined;
  /** Whether a refresh sets the session's `lastUpdate`. Default: true. `UPDATE_LAST_LOGIN`. */
  updateLastLogin?: boolean | undefined;
  /**
   * Whether a refresh restores the session's full lifetime: never, at each refresh, or if less than the given span remains.
   * Default: false. `EXTEND_SESSION`, `EXTEND_SESSION_EVERY_TIME`, `EXTEND_SESSION_ONCE_AFTER_EACH`.
   */
  extendSession?: false | 'every-refresh' | { whenRemainingBelow: Duration } | undefined;
  /** How many active sessions of this type a user may have. Default: no limit. `MAX_NUMBER_ACTIVE_SESSIONS`. */
  maxActiveSessions?: number | undefined;
  /** What a login does if a limit is reached. Default: `'destroy-oldest'`. `DESTROY_OLDEST_ACTIVE_SESSION`. */
  whenFull?: 'destroy-oldest' | 'refuse' | undefined;
  /**
   * Whether a client may ask for this type at `login/`. Set it to `false` if only your own code creates such sessions, with
   * `SessionService`. Default: true.
   */
  login?: boolean | undefined;
  /** Maximum lifetime of a session, counted from the login, however often it is extended. Default: no maximum. */
  absoluteLifetime?: Duration | undefined;
  /**
   * How long after a rotation the superseded token still gets the same successor. For as long after that, it gets only an access
   * token, and the session does not rotate. Default: `'10s'`. With 0, two concurrent refreshes with one token end the session.
   * At most an hour, and shorter than half of `refreshTokenLifetime`.
   */
  reuseGrace?: Duration | undefined;
  /** What each guarded request is checked against. Default: `'blacklist'`. */
  accessCheck?: AccessCheck | undefined;
  /**
   * Whether the refresh token never changes and contains no expiry. The session then expires `refreshTokenLifetime` after
   * its last refresh. The expiry is only in its row. Cannot be combined with rotation or `extendSession`. Default: false. As
   * in drf-jwt-devices.
   */
  permanent?: boolean | undefined;
  /**
   * For permanent sessions: a refresh writes to the database at most once in this span. A session may expire earlier by up to
   * this span. At most half of `refreshTokenLifetime`. Default: `'30m'`.
   * `JWT_PERMANENT_TOKEN_EXPIRATION_ACCURACY`.
   */
  touchInterval?: Duration | undefined;
  /**
   * Whether a backend may renew access tokens with the client's refresh token (`POST renew/`): true, or for how long after the
   * last refresh. Servers that render pages need it. Default: false.
   */
  renewal?: boolean | { within: Duration } | undefined;
  /**
   * Whether sessions are bound to a key on the user's device, so that a copied token is worthless. `prefer`: if the client can.
   * `require`: a session that is not bound within `bindWithin` is refused at its next refresh. Default: `'off'`. A session that
   * is bound stays bound, whatever this option says later.
   */
  binding?: 'off' | 'prefer' | 'require' | undefined;
  /**
   * How long after the login a browser may register its key, and how long a session may be unbound with `binding: 'require'`. At
   * least 10 seconds, at most an hour. Default: `'2m'`.
   */
  bindWithin?: Duration | undefined;
  /**
   * The assurance level of NIST SP 800-63B-4 that sessions of this type are for. The application does not start if the lifetimes
   * break the timeouts of that level: 30 days after the login for AAL1; 24 hours, or one without activity, for AAL2; 12 hours, or
   * 15 minutes without activity, for AAL3. It does not check how users log in. Default: none.
   */
  assurance?: AssuranceLevel | undefined;
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
  readonly login: boolean;
  readonly absoluteLifetime?: number;
  readonly reuseGrace: number;
  readonly accessCheck: AccessCheck;
  readonly permanent: boolean;
  /** Only used by permanent sessions. */
  readonly touchInterval: number;
  /** How long after the last refresh a backend may renew access tokens. 0 means never, Infinity as long as the session lives. */
  readonly renewalWithin: number;
  readonly binding: 'off' | 'prefer' | 'require';
  readonly bindWithin: number;
  readonly assurance?: AssuranceLevel;
}

/** A browser needs a few requests to register its key, also on a slow network. In milliseconds. */
const MIN_BIND_WITHIN = 10_000;
/** Until the key is registered, a stolen token works without it. */
const MAX_BIND_WITHIN = [3_600_000, '1 hour'] as const;
const DEFAULT_BIND_WITHIN = 120_000;

/** Within the grace, a stolen token is not detected. A client needs it only until its answer has arrived. */
const MAX_REUSE_GRACE = [3_600_000, '1 hour'] as const;
const DEFAULT_TOUCH_INTERVAL = 1_800_000;

/**
 * Checks the option `policies`, and adds the faults that it finds to `faults`.
 * @param accessLifetime the lifetime of access tokens for types that do not set one, in milliseconds
 * @param isGiven whether the options name that lifetime. The library's own default is shortened to that of a shorter session.
 * Default: false
 * @returns the policies by the name of their type
 */
export function readPolicies(
  given: unknown,
  accessLifetime: number,
  faults: OptionFaults,
  isGiven = false,
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
      readPolicy(policy, `policies.${type}`, accessLifetime, faults, isGiven),
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
  accessLifetime: number,
  faults: OptionFaults,
  isGiven: boolean,
): SessionPolicyConfig {
  const before = faults.list.length;
  const isPermanent = (given as Partial<SessionPolicyOptions> | null)?.permanent === true;
  const { extendSession, renewal, ...policy } = checkObject(given, name, faults, {
    refreshTokenLifetime: required(wholeSeconds, "say how long its sessions live, for example '30d'"),
    accessTokenLifetime: optional(accessTokenLifetime),
    rotateRefreshTokens: withDefault(!isPermanent, boolean),
    blacklistAfterRotation: withDefault(false, boolean),
    updateLastLogin: withDefault(true, boolean),
    extendSession: withDefault<false | 'every-refresh' | number>(false, readExtension),
    maxActiveSessions: withDefault(Infinity, positiveInteger),
    whenFull: withDefault('destroy-oldest', oneOf('destroy-oldest', 'refuse')),
    login: withDefault(true, boolean),
    absoluteLifetime: optional(wholeSeconds),
    reuseGrace: withDefault(10_000, duration('zero', MAX_REUSE_GRACE)),
    accessCheck: withDefault('blacklist', oneOf('signature', 'blacklist', 'session')),
    permanent: withDefault(false, boolean),
    touchInterval: optional(duration()),
    renewal: withDefault(0, readRenewal),
    binding: withDefault('off', oneOf('off', 'prefer', 'require')),
    bindWithin: optional(duration('positive', MAX_BIND_WITHIN)),
    assurance: optional(oneOf('AAL1', 'AAL2', 'AAL3')),
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
    const { accessTokenLifetime: own = isGiven ? accessLifetime : 0 } = policy;
    if (own > lifetime) {
      const origin = policy.accessTokenLifetime === undefined ? ', from jwt.accessTokenLifetime,' : '';
      faults.add(
        `${name}.accessTokenLifetime`,
        `is ${own / 1000} s${origin} and longer than refreshTokenLifetime (${lifetime / 1000} s); make it shorter`,
      );
    }
    if (Number.isFinite(renewal) && renewal > 0 && !policy.rotateRefreshTokens && !policy.updateLastLogin)
      faults.add(
        `${name}.renewal.within`,
        'needs rotateRefreshTokens or updateLastLogin, because a session of this type does not show its last refresh; set one of them, or set renewal to true',
      );
    checkBinding(policy, renewal, name, faults);
    // A session rotates only after twice the grace, and must not expire before.
    if (2 * policy.reuseGrace >= lifetime)
      faults.add(`${name}.reuseGrace`, 'must be shorter than half of refreshTokenLifetime');
  }
  const { touchInterval = DEFAULT_TOUCH_INTERVAL } = policy;
  const extendBelow = extendSession === 'every-refresh' ? Infinity : Number(extendSession);
  if (policy.assurance && faults.list.length === before)
    checkAssurance(policy.assurance, { ...policy, extendBelow }, name, faults);
  if (isPermanent) checkPermanent({ ...policy, extendSession, touchInterval }, name, faults);
  else if (policy.touchInterval !== undefined)
    faults.add(`${name}.touchInterval`, 'has no effect without permanent: true; remove it');
  return {
    ...policy,
    accessTokenLifetime: policy.accessTokenLifetime ?? Math.min(accessLifetime, lifetime),
    touchInterval,
    bindWithin: policy.bindWithin ?? DEFAULT_BIND_WITHIN,
    renewalWithin: renewal,
    extendBelow,
  };
}

function checkBinding(
  { binding, bindWithin }: Pick<SessionPolicyConfig, 'binding'> & { readonly bindWithin?: number },
  renewal: number,
  name: string,
  faults: OptionFaults,
): void {
  if (bindWithin !== undefined && binding === 'off')
    faults.add(
      `${name}.bindWithin`,
      "has no effect without binding; remove it, or set binding to 'prefer' or 'require'",
    );
  if (bindWithin !== undefined && bindWithin < MIN_BIND_WITHIN)
    faults.add(
      `${name}.bindWithin`,
      `must be at least ${MIN_BIND_WITHIN / 1000} s, because a browser needs time to register its key; got ${bindWithin / 1000} s`,
    );
  if (renewal > 0 && binding === 'require')
    faults.add(
      `${name}.renewal`,
      "cannot be combined with binding: 'require', because a renderer has no key of a session; remove it, or choose 'prefer'",
    );
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

function readRenewal(value: unknown, name: string, faults: OptionFaults): number {
  if (typeof value === 'boolean') return value ? Infinity : 0;
  return checkObject(value, name, faults, { within: required(duration(), "for example '1d'") }).within;
}
