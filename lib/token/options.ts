import { createPrivateKey, createPublicKey, createSecretKey, type KeyLike, type KeyObject } from 'node:crypto';
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

/** The algorithms for keys. A token never chooses its algorithm, and `none` is not supported (RFC 8725 section 3.1). */
export const ALGORITHMS = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
] as const;

/** The name of a signing algorithm, as in the header of a token. */
export type JwtAlgorithm = (typeof ALGORITHMS)[number];

/** One key of `jwt.keys`. The first one signs. All of them verify, each for its own algorithm only. */
export interface JwtKeyOptions {
  /** The key's id in the header of a token. Default: derived from the key, so it is the same on every process. */
  kid?: string;
  /** Default: `HS256`. Simplejwt's `ALGORITHM`. */
  algorithm?: JwtAlgorithm;
  /** The secret of an HS algorithm, at least 32 bytes. */
  secret?: string | Buffer | KeyObject;
  /** The key that signs with any other algorithm: PEM or a KeyObject. Simplejwt's `SIGNING_KEY`. */
  privateKey?: KeyLike;
  /** The key that verifies with any other algorithm. Default: derived from `privateKey`. Simplejwt's `VERIFYING_KEY`. */
  publicKey?: KeyLike;
}

/** Signing keys that the library creates, stores encrypted in the database, and rotates. */
export interface ManagedKeyOptions {
  /**
   * The secret that encrypts the keys (AES-256-GCM): at least 32 bytes, the same on every process. If you give several, the
   * first one encrypts and all of them decrypt, so that you can replace one.
   */
  encryptionKey: string | string[];
  /** The age at which a key is replaced. Default: `'7d'`. */
  rotateEvery?: Duration;
  /** The algorithm of new keys. Default: `HS256`. */
  algorithm?: JwtAlgorithm;
}

/** The `jwt` option. Set `managed`, `secret` or `keys` to choose the source of the signing key. */
export interface JwtOptions {
  /** Keys that the library creates and rotates. Tokens of a `secret` or `keys` beside it are still accepted. Default: none. */
  managed?: ManagedKeyOptions;
  /** The signing secret, at least 32 bytes. Short for `keys: [{ secret }]`. Simplejwt's `SIGNING_KEY`. */
  secret?: string | Buffer | KeyObject;
  /** The algorithm of `secret`. Default: `HS256`. */
  algorithm?: JwtAlgorithm;
  /** An ordered list of keys, in place of `secret`. */
  keys?: JwtKeyOptions[];
  /** The lifetime of an access token, unless the policy sets its own. Default: `'5m'`. Simplejwt's `ACCESS_TOKEN_LIFETIME`. */
  accessTokenLifetime?: Duration;
  /** Written to `iss` and required in every token. Default: none. Simplejwt's `ISSUER`. */
  issuer?: string;
  /** Written to `aud`. Every token must name at least one of these audiences. Default: none. Simplejwt's `AUDIENCE`. */
  audience?: string | string[];
  /** The clock skew that is allowed for `exp` and `nbf`. Default: 0. Simplejwt's `LEEWAY`. */
  clockTolerance?: Duration;
  /** The claim that holds the user's id. Default: `sub`. Simplejwt's `USER_ID_CLAIM`, whose default is `user_id`. */
  userIdClaim?: string;
  /** The claim that holds `access` or `refresh`. Default: `token_type`. Simplejwt's `TOKEN_TYPE_CLAIM`. */
  tokenTypeClaim?: string;
  /** The claim that holds the token's id. Default: `jti`. Simplejwt's `JTI_CLAIM`. */
  jtiClaim?: string;
  /** The header that carries the access token. */
  header?: {
    /** Default: `'authorization'`. Simplejwt's `AUTH_HEADER_NAME`. */
    name?: string;
    /** The schemes before the token, in any case. Default: `['Bearer', 'JWT']`. Simplejwt's `AUTH_HEADER_TYPES`. */
    schemes?: string | string[];
  };
}

/** A user's id, as the application uses it. */
export type UserId = string | number;

/** A key, imported once at start. */
export interface JwtKey {
  readonly kid?: string;
  readonly algorithm: JwtAlgorithm;
  /** Undefined if the key can only verify. */
  readonly signingKey?: KeyObject;
  readonly verifyingKey: KeyObject;
}

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
  readonly userIdClaim: string;
  readonly tokenTypeClaim: string;
  readonly jtiClaim: string;
  readonly header: { readonly name: string; readonly schemes: readonly string[] };
  readonly userIdType: 'string' | 'number';
}

/** The claims that the library writes under fixed names. Three more have names that the options can change. */
const FIXED_CLAIMS = ['iss', 'aud', 'exp', 'nbf', 'iat', 'sid', 'gen', 'session_type', 'auth_time', 'amr'] as const;

/** The claim names that an application must not use. */
export function reservedClaims(config: TokenConfig): readonly string[] {
  return [...FIXED_CLAIMS, 'sub', config.userIdClaim, config.tokenTypeClaim, config.jtiClaim];
}

/** Checks and completes the `jwt` option. Faults are added to `faults`. */
export function readTokenOptions(given: unknown, userIdType: 'string' | 'number', faults: OptionFaults): TokenConfig {
  const read = checkObject(given, 'jwt', faults, {
    managed: optional(readManaged),
    // `readKeys` checks `secret`, `algorithm` and `keys`.
    secret: (value) => value,
    algorithm: (value) => value,
    keys: (value) => value,
    accessTokenLifetime: withDefault(300_000, wholeSeconds),
    issuer: optional(text),
    audience: optional(texts),
    clockTolerance: withDefault(0, duration('zero')),
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
  if (encryptionKeys.some((key) => Buffer.byteLength(key) < 32))
    faults.add(`${name}.encryptionKey`, 'must have at least 32 bytes per key');
  return { encryptionKeys, rotateEvery, algorithm };
}

function readKeys(
  given: { secret: unknown; algorithm: unknown; keys: unknown },
  isManaged: boolean,
  faults: OptionFaults,
): JwtKey[] {
  if (given.keys !== undefined) {
    if ((given.secret ?? given.algorithm) !== undefined)
      faults.add('jwt', 'give either secret and algorithm, or keys, not both');
    if (!Array.isArray(given.keys) || given.keys.length === 0) {
      faults.add('jwt.keys', 'must be a list of at least one key');
      return [];
    }
    const keys = given.keys.flatMap((entry, at) => readKey(entry, `jwt.keys[${at}]`, faults));
    if (!isManaged && keys.length === given.keys.length && !keys[0].signingKey) {
      faults.add('jwt.keys[0]', 'must be able to sign: give its secret or its privateKey');
    }
    return keys;
  }
  if (given.secret === undefined) {
    if (isManaged) return [];
    faults.add(
      'jwt.secret',
      'is missing; give at least 32 random bytes, for example from: node -p "crypto.randomBytes(32).toString(\'base64url\')", or set jwt.managed to let the library create its keys',
    );
    return [];
  }
  return readKey({ secret: given.secret, algorithm: given.algorithm }, 'jwt', faults);
}

/** Returns a list with the key, or an empty list if it has a fault. */
function readKey(given: unknown, name: string, faults: OptionFaults): JwtKey[] {
  const before = faults.list.length;
  const read = checkObject(given, name, faults, {
    kid: optional(text),
    algorithm: withDefault('HS256', oneOf(...ALGORITHMS)),
    secret: (value) => value as JwtKeyOptions['secret'],
    privateKey: (value) => value as JwtKeyOptions['privateKey'],
    publicKey: (value) => value as JwtKeyOptions['publicKey'],
  });
  if (faults.list.length > before) return [];
  try {
    const key = read.algorithm.startsWith('HS') ? importSecret(read) : importKeyPair(read);
    if (typeof key !== 'string') return [key];
    faults.add(name, key);
  } catch {
    // Do not show the error's own message, because it could quote the key.
    faults.add(name, 'could not be read as a key. Give a PEM, a KeyObject, or a secret for an HS algorithm');
  }
  return [];
}

type ReadKey = Required<Pick<JwtKeyOptions, 'algorithm'>> & JwtKeyOptions;

/** Returns the key, or its fault. */
function importSecret({ kid, algorithm, secret, privateKey, publicKey }: ReadKey): JwtKey | string {
  if (secret === undefined || privateKey !== undefined || publicKey !== undefined) {
    return `${algorithm} takes a secret, and neither privateKey nor publicKey`;
  }
  const key =
    typeof secret === 'string'
      ? createSecretKey(secret, 'utf8')
      : Buffer.isBuffer(secret)
        ? createSecretKey(secret)
        : secret;
  if (key.type !== 'secret') return `${algorithm} takes a secret`;
  if ((key.symmetricKeySize ?? 0) < 32) return 'a secret must have at least 32 bytes (RFC 7518 section 3.2)';
  return { kid, algorithm, signingKey: key, verifyingKey: key };
}

function importKeyPair({ kid, algorithm, secret, privateKey, publicKey }: ReadKey): JwtKey | string {
  if (secret !== undefined || (privateKey ?? publicKey) === undefined) {
    return `${algorithm} takes a privateKey, a publicKey or both, and no secret`;
  }
  const signingKey = privateKey === undefined ? undefined : toKeyObject(privateKey, createPrivateKey);
  const verifyingKey =
    publicKey === undefined ? createPublicKey(signingKey as KeyObject) : toKeyObject(publicKey, createPublicKey);
  if (signingKey && !createPublicKey(signingKey).equals(verifyingKey)) return 'publicKey does not belong to privateKey';
  const wanted = algorithm.startsWith('ES') ? ['ec'] : algorithm.startsWith('PS') ? ['rsa', 'rsa-pss'] : ['rsa'];
  if (!wanted.includes(verifyingKey.asymmetricKeyType ?? ''))
    return `${algorithm} takes a key of type ${wanted.join(' or ')}`;
  const details = verifyingKey.asymmetricKeyDetails;
  if ((details?.modulusLength ?? 2048) < 2048) return 'an RSA key must have at least 2048 bits (RFC 7518 section 3.3)';
  const curve = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' }[algorithm as string];
  if (curve !== undefined && details?.namedCurve !== curve) return `${algorithm} takes a key on the curve ${curve}`;
  return { kid, algorithm, signingKey, verifyingKey };
}

function toKeyObject(key: KeyLike, parse: (key: string | Buffer) => KeyObject): KeyObject {
  if (typeof key !== 'string' && !Buffer.isBuffer(key)) return key;
  return parse(key);
}
