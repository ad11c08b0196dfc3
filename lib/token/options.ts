import type { KeyObject } from 'node:crypto';
import { MAX_CLOCK_TOLERANCE } from '../engine/timing.js';
import {
  type Duration,
  checkObject,
  duration,
  oneOf,
  type OptionFaults,
  optional,
  required,
  text,
  texts,
  wholeSeconds,
  withDefault,
} from '../option-check.js';
import { ALGORITHMS, type JwtAlgorithm, type JwtKey, type JwtKeyOptions, readKeys } from './key-options.js';
import { weaknessOf } from './weak-secret.js';

/** Signing keys that the library creates, stores encrypted in the database, and rotates. */
export interface ManagedKeyOptions {
  /**
   * The secret that encrypts the keys (AES-256-GCM): at least 32 bytes, the same on every process. If you give several, the
   * first one encrypts and all of them decrypt, so that you can replace one.
   */
  encryptionKey: string | string[];
  /** The age at which a key is replaced. Default: `'7d'`. */
  rotateEvery?: Duration | undefined;
  /** The algorithm of new keys. Default: `HS256`. */
  algorithm?: JwtAlgorithm | undefined;
}

/** The `jwt` option. Set `managed`, `secret` or `keys` to choose the source of the signing key. */
export interface JwtOptions {
  /** Keys that the library creates and rotates. Tokens of a `secret` or `keys` beside it are still accepted. Default: none. */
  managed?: ManagedKeyOptions | undefined;
  /** The signing secret, at least 32 bytes. Short for `keys: [{ secret }]`. Simplejwt's `SIGNING_KEY`. */
  secret?: string | Buffer | KeyObject | undefined;
  /** The algorithm of `secret`. Default: `HS256`. */
  algorithm?: JwtAlgorithm | undefined;
  /** An ordered list of keys, in place of `secret`. */
  keys?: JwtKeyOptions[] | undefined;
  /** The lifetime of an access token, unless the policy sets its own. Default: `'5m'`. Simplejwt's `ACCESS_TOKEN_LIFETIME`. */
  accessTokenLifetime?: Duration | undefined;
  /** Written to `iss` and required in every token. Default: none. Simplejwt's `ISSUER`. */
  issuer?: string | undefined;
  /** Written to `aud`. Every token must name at least one of these audiences. Default: none. Simplejwt's `AUDIENCE`. */
  audience?: string | string[] | undefined;
  /** The clock skew that is allowed for `exp` and `nbf`, at most a minute. Default: 0. Simplejwt's `LEEWAY`. */
  clockTolerance?: Duration | undefined;
  /**
   * The longest access token lifetime that version 0.1.0 was configured with. Its sessions do not record the lifetime of
   * their access tokens, so a revocation entry of such a session is kept for this long. Default: `'1h'`.
   */
  assumedAccessLifetime?: Duration | undefined;
  /** The claim that holds the user's id. Default: `sub`. Simplejwt's `USER_ID_CLAIM`, whose default is `user_id`. */
  userIdClaim?: string | undefined;
  /** The claim that holds `access` or `refresh`. Default: `token_type`. Simplejwt's `TOKEN_TYPE_CLAIM`. */
  tokenTypeClaim?: string | undefined;
  /** The claim that holds the token's id. Default: `jti`. Simplejwt's `JTI_CLAIM`. */
  jtiClaim?: string | undefined;
  /** The header that carries the access token. */
  header?:
    | {
        /** Default: `'authorization'`. Simplejwt's `AUTH_HEADER_NAME`. */
        name?: string | undefined;
        /** The schemes before the token, in any case. Default: `['Bearer', 'JWT']`. Simplejwt's `AUTH_HEADER_TYPES`. */
        schemes?: string | string[] | undefined;
      }
    | undefined;
}

/** A user's id, as the application uses it. */
export type UserId = string | number;

/** `ManagedKeyOptions`, checked and completed. Time spans are in milliseconds. */
export interface ManagedKeyConfig {
  readonly encryptionKeys: readonly string[];
  readonly rotateEvery: number;
  readonly algorithm: JwtAlgorithm;
}

/** `JwtOptions`, checked and completed. Time spans are in milliseconds. */
export interface TokenConfig {
  readonly managed?: ManagedKeyConfig;
  readonly keys: readonly JwtKey[];
  readonly accessTokenLifetime: number;
  readonly issuer?: string;
  readonly audience?: readonly string[];
  readonly clockTolerance: number;
  readonly assumedAccessLifetime: number;
  readonly userIdClaim: string;
  readonly tokenTypeClaim: string;
  readonly jtiClaim: string;
  readonly header: { readonly name: string; readonly schemes: readonly string[] };
  readonly userIdType: 'string' | 'number';
}

/** The claims that the library writes under fixed names. Three more have names that the options can change. */
const FIXED_CLAIMS = [
  'iss',
  'aud',
  'exp',
  'nbf',
  'iat',
  'sid',
  'gen',
  'session_type',
  'auth_time',
  'amr',
  'ep',
  'prt',
  'cnf',
] as const;

/** The claim names that an application must not use. */
export function reservedClaims(config: TokenConfig): readonly string[] {
  return [...FIXED_CLAIMS, 'sub', config.userIdClaim, config.tokenTypeClaim, config.jtiClaim];
}

/** A token is accepted this much longer than it says, and every entry of an ended session is kept for as long. */
const CLOCK_TOLERANCE_LIMIT = [MAX_CLOCK_TOLERANCE, '1 minute'] as const;
/** Its seconds must fit a column of 32 bits. Nobody can take such a token back, if `accessCheck` is `'signature'`. */
const MAX_ACCESS_LIFETIME = [31_557_600_000, '1 year'] as const;

/** Reads the lifetime of an access token, in milliseconds. */
export function accessTokenLifetime(value: unknown, name: string, faults: OptionFaults): number {
  return wholeSeconds(value, name, faults, MAX_ACCESS_LIFETIME);
}

/** Checks and completes the `jwt` option. Faults are added to `faults`. */
export function readTokenOptions(given: unknown, userIdType: 'string' | 'number', faults: OptionFaults): TokenConfig {
  const read = checkObject(given, 'jwt', faults, {
    managed: optional(readManaged),
    // `readKeys` checks `secret`, `algorithm` and `keys`.
    secret: (value) => value,
    algorithm: (value) => value,
    keys: (value) => value,
    accessTokenLifetime: withDefault(300_000, accessTokenLifetime),
    issuer: optional(text),
    audience: optional(texts),
    clockTolerance: withDefault(0, duration('zero', CLOCK_TOLERANCE_LIMIT)),
    assumedAccessLifetime: withDefault(3_600_000, accessTokenLifetime),
    userIdClaim: withDefault('sub', text),
    tokenTypeClaim: withDefault('token_type', text),
    jtiClaim: withDefault('jti', text),
    header: (value: unknown, name: string) =>
      checkObject(value ?? {}, name, faults, {
        name: withDefault('authorization', text),
        schemes: withDefault(['Bearer', 'JWT'], texts),
      }),
  });
  const { secret, algorithm, keys, ...rest } = read;
  const isManaged = rest.managed !== undefined;
  const config = { ...rest, keys: readKeys({ secret, algorithm, keys }, isManaged, faults), userIdType };
  const names: string[] = [...FIXED_CLAIMS, config.userIdClaim, config.tokenTypeClaim, config.jtiClaim];
  for (const name of new Set(names.filter((entry, at) => names.indexOf(entry) !== at))) {
    faults.add('jwt', `two claims would have the name "${name}". Choose other names`);
  }
  return config;
}

function readManaged(given: unknown, name: string, faults: OptionFaults): ManagedKeyConfig {
  const { encryptionKey, rotateEvery, algorithm } = checkObject(given, name, faults, {
    encryptionKey: required(texts, 'give at least 32 random bytes, the same on every process'),
    rotateEvery: withDefault(604_800_000, duration()),
    algorithm: withDefault('HS256', oneOf(...ALGORITHMS)),
  });
  const encryptionKeys = encryptionKey ?? [];
  for (const key of encryptionKeys) {
    const bytes = Buffer.from(key);
    const weakness = bytes.length < 32 ? 'must have at least 32 bytes per key' : weaknessOf(bytes);
    if (weakness !== undefined) faults.add(`${name}.encryptionKey`, weakness);
  }
  return { encryptionKeys, rotateEvery, algorithm };
}
