import { createPublicKey, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import {
  checkObject,
  boolean,
  kindOf,
  oneOf,
  type OptionFaults,
  optional,
  show,
  text,
  withDefault,
} from '../option-check.js';
import { LEGACY_SYSTEMS, type LegacySystem } from '../session/alias.js';
import { ALGORITHMS, type JwtAlgorithm } from '../token/key-options.js';
import type { TokenConfig } from '../token/options.js';

/** One entry of the option `legacyTokens`: a system that you have moved away from, and how to read its tokens. */
export interface LegacyTokenOptions {
  /** The system whose sessions you have imported. */
  system: LegacySystem;
  /**
   * The key of its tokens. simplejwt-multisessions: `SIGNING_KEY`, or the public key if the algorithm is not an HS one.
   * supertokens-django-ref-jwt: the `key_value` of `refresh_token_key` in the table `signing_key`. django-token-manager:
   * Django's `SECRET_KEY`. drf-jwt-devices: none, because its permanent tokens are not signed.
   */
  signingKey?: string | undefined;
  /** The algorithm of `signingKey`. Only for simplejwt-multisessions. Default: `'HS256'`. */
  algorithm?: JwtAlgorithm | undefined;
  /** The claim that holds the user's id. Only for simplejwt-multisessions, where it is `USER_ID_CLAIM`. Default: `'user_id'`. */
  userIdClaim?: string | undefined;
  /** When its tokens stop working, such as `'2027-06-30'` or `'2027-06-30T12:00:00Z'`, in UTC. Default: never. */
  until?: string | undefined;
  /**
   * Whether the first refresh with an old refresh token hands out one of ours, even if the policy would not. Default: false,
   * so the old token works until the policy hands out another one.
   */
  replaceAtFirstUse?: boolean | undefined;
}

/** `LegacyTokenOptions`, checked and completed. */
export interface LegacyTokenConfig {
  readonly system: LegacySystem;
  /** The key as the options give it. Empty for a system without one. */
  readonly signingKey: string;
  /** Verifies JWTs of the system. Undefined for a system without them. */
  readonly verifyingKey?: KeyObject;
  readonly algorithm: JwtAlgorithm;
  readonly userIdClaim: string;
  /** Milliseconds since 1970. Infinity: never. */
  readonly until: number;
  readonly replaceAtFirstUse: boolean;
}

/** Checks and completes the option `legacyTokens`. Faults are added to `faults`. */
export function readLegacyTokens(given: unknown, name: string, faults: OptionFaults): LegacyTokenConfig[] {
  if (given === undefined) return [];
  if (!Array.isArray(given)) {
    faults.add(
      name,
      `must be a list, such as [{ system: 'simplejwt-multisessions', signingKey }]; got ${kindOf(given)}`,
    );
    return [];
  }
  const read = given.map((entry, at) => readEntry(entry, `${name}[${at}]`, faults));
  read.forEach(({ system }, at) => {
    const first = read.findIndex((other) => other.system === system);
    if (first < at && system !== undefined)
      faults.add(
        `${name}[${at}].system`,
        `is ${show(system)}, as in another entry, number ${first + 1}; give each system once`,
      );
  });
  return read;
}

function readEntry(given: unknown, name: string, faults: OptionFaults): LegacyTokenConfig {
  const before = faults.list.length;
  const { signingKey, until, ...read } = checkObject(given, name, faults, {
    system: oneOf(...LEGACY_SYSTEMS),
    signingKey: optional(text),
    algorithm: optional(oneOf(...ALGORITHMS)),
    userIdClaim: optional(text),
    until: optional(instant),
    replaceAtFirstUse: withDefault(false, boolean),
  });
  const { system, algorithm = 'HS256', userIdClaim = 'user_id' } = read;
  const config = { ...read, algorithm, userIdClaim, until: until ?? Infinity, signingKey: signingKey ?? '' };
  if (faults.list.length > before) return config;
  if (system !== 'simplejwt-multisessions') {
    for (const option of ['algorithm', 'userIdClaim'] as const) {
      if (read[option] !== undefined) faults.add(`${name}.${option}`, 'is only for simplejwt-multisessions; remove it');
    }
  }
  if (system === 'drf-jwt-devices') {
    if (signingKey !== undefined)
      faults.add(`${name}.signingKey`, 'is not used: permanent tokens of drf-jwt-devices are not signed; remove it');
    return config;
  }
  if (signingKey === undefined) {
    faults.add(`${name}.signingKey`, `is missing; ${REMEDIES[system]}`);
    return config;
  }
  if (system === 'supertokens-django-ref-jwt') return config;
  const verifyingKey = importKey(signingKey, algorithm);
  if (verifyingKey) return { ...config, verifyingKey };
  faults.add(`${name}.signingKey`, `could not be read as a key for ${algorithm}; give the public key as PEM`);
  return config;
}

const REMEDIES = {
  'simplejwt-multisessions': 'give SIGNING_KEY of the settings, or the public key if the algorithm is not an HS one',
  'supertokens-django-ref-jwt': 'give key_value of refresh_token_key in the table signing_key',
  'django-token-manager': "give Django's SECRET_KEY",
} as const;

/** Returns the key that verifies, or undefined if it cannot be one. The error of OpenSSL could quote it. */
function importKey(key: string, algorithm: JwtAlgorithm): KeyObject | undefined {
  if (algorithm.startsWith('HS')) return createSecretKey(key, 'utf8');
  try {
    const imported = createPublicKey(key);
    const type = algorithm.startsWith('ES') ? 'ec' : 'rsa';
    return imported.asymmetricKeyType === type ? imported : undefined;
  } catch {
    return undefined;
  }
}

const DATE = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))?$/;

/** Reads a point in time: a date, or a date and a time with its zone. */
function instant(value: unknown, name: string, faults: OptionFaults): number {
  const time = typeof value === 'string' && DATE.test(value) ? Date.parse(value) : NaN;
  if (Number.isNaN(time))
    faults.add(name, `must be a date such as '2027-06-30' or '2027-06-30T12:00:00Z'; got ${show(value)}`);
  return time;
}

/** The other options that must agree with `legacyTokens`. */
interface OtherOptions {
  readonly tokens: TokenConfig;
  readonly http: { readonly secretKeys: readonly string[] | false };
  readonly legacyTokens: readonly LegacyTokenConfig[];
}

/**
 * Checks that the old keys differ from the present ones. In simplejwt_multisessions, each client may know the signing key,
 * because its README sets `SECRET` to it. That is harmless for old tokens, whose `jti` must be known too.
 */
export function checkLegacyTokens({ tokens, http, legacyTokens }: OtherOptions, faults: OptionFaults): void {
  const secrets = tokens.keys.flatMap(({ verifyingKey }) =>
    verifyingKey.type === 'secret' ? [verifyingKey.export()] : [],
  );
  legacyTokens.forEach(({ system, signingKey }, at) => {
    const name = `legacyTokens[${at}]`;
    if (secrets.some((secret) => isSame(secret, signingKey)))
      faults.add(
        `${name}.signingKey`,
        'must differ from the keys in jwt, which nobody else may know; choose a new jwt key',
      );
    if (system !== 'django-token-manager') return;
    if (http.secretKeys && http.secretKeys.some((key) => isSame(Buffer.from(key), signingKey)))
      faults.add(
        `${name}.signingKey`,
        'must differ from secretKey: whoever knows it could sign tokens; choose another secretKey',
      );
    if (!tokens.header.schemes.some((scheme) => scheme.toUpperCase() === 'JWT'))
      faults.add('jwt.header.schemes', "must include 'JWT', which the clients of django-token-manager send; add it");
  });
}

function isSame(secret: Buffer, key: string): boolean {
  const bytes = Buffer.from(key);
  return bytes.length === secret.length && timingSafeEqual(bytes, secret);
}
